//! Drains over a clock that jumps, and their file whole, absent and broken.

use super::*;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn id(name: &str) -> EndpointId {
    EndpointId::new(name)
}

fn region(name: &str) -> Region {
    Region::new(name)
}

#[test]
fn a_drain_covers_its_region_or_all() {
    let mut drains = Drains::default();
    drains.add(id("a"), None, None, at(0)).expect("room");
    drains
        .add(id("b"), Some(region("eu")), None, at(0))
        .expect("room");
    for (endpoint, place, expected) in [
        ("a", "eu", true),
        ("a", "us", true),
        ("b", "eu", true),
        ("b", "us", false),
        ("c", "eu", false),
    ] {
        assert_eq!(
            drains.covers(&id(endpoint), &region(place)),
            expected,
            "{endpoint} in {place}"
        );
    }
}

#[test]
fn a_drain_ends_when_its_time_is_over() {
    let mut drains = Drains::default();
    drains
        .add(id("a"), None, Some(Duration::from_secs(60)), at(0))
        .expect("room");
    drains.add(id("b"), None, None, at(0)).expect("room");
    assert_eq!(drains.expire(at(59)), []);
    let ended = drains.expire(at(60));
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].endpoint, id("a"));
    assert_eq!(drains.expire(at(1_000_000)), []);
    assert!(drains.covers(&id("b"), &region("eu")));
}

#[test]
fn the_same_drain_again_moves_its_end() {
    let mut drains = Drains::default();
    drains
        .add(id("a"), None, Some(Duration::from_secs(60)), at(0))
        .expect("room");
    drains.add(id("a"), None, None, at(30)).expect("room");
    assert_eq!(drains.endpoints().len(), 1);
    assert_eq!(drains.endpoints()[0].since, at(0));
    assert_eq!(drains.endpoints()[0].until, None);
}

#[test]
fn there_is_a_most() {
    let mut drains = Drains::default();
    for number in 0..MOST_DRAINS {
        drains
            .add(id(&number.to_string()), None, None, at(0))
            .expect("room");
    }
    assert_eq!(drains.add(id("one more"), None, None, at(0)), None);
    assert!(
        drains.add(id("0"), None, None, at(0)).is_some(),
        "a known one needs no room"
    );
}

#[test]
fn what_is_saved_is_loaded() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deeper").join("state.json");
    assert_eq!(load(&path).expect("none yet"), Drains::default());
    let mut drains = Drains {
        pop: true,
        ..Drains::default()
    };
    drains
        .add(
            id("web \"1\""),
            Some(region("eu")),
            Some(Duration::from_millis(1500)),
            at(0),
        )
        .expect("room");
    drains.add(id("b"), None, None, at(1)).expect("room");
    save(&path, &drains).expect("saved");
    save(&path, &drains).expect("saved over");
    assert_eq!(load(&path).expect("loaded"), drains);
    let names: Vec<_> = fs::read_dir(folder.path().join("deeper"))
        .expect("a folder")
        .collect();
    assert_eq!(names.len(), 1, "no temporary file stays: {names:?}");
}

#[test]
fn a_broken_file_is_an_error_that_names_it() {
    let path = Path::new("/var/lib/portolan/state.json");
    for (text, expected) in [
        ("", "not a state file"),
        ("{}", "not a state file"),
        (r#"{"version":2,"drains":"other"}"#, "version 2"),
        (
            r#"{"version":1,"drains":[{"endpoint":"a","since":"soon"}]}"#,
            "\"soon\" is not a time",
        ),
        (
            r#"{"version":1,"drains":[{"since":"2026-01-01T00:00:00Z"}]}"#,
            "not a state file",
        ),
    ] {
        let error = parse(text.as_bytes(), path).expect_err(text).to_string();
        assert!(
            error.contains(expected) && error.contains("state.json"),
            "{text}: {error}"
        );
    }
}

#[test]
fn times_that_the_format_cannot_say_are_cut() {
    assert_eq!(
        rfc3339(UNIX_EPOCH - Duration::from_secs(1)),
        "1970-01-01T00:00:00.000Z"
    );
    assert_eq!(
        rfc3339(UNIX_EPOCH + Duration::from_secs(1 << 40)),
        "9999-01-01T00:00:00.000Z"
    );
    let mut drains = Drains::default();
    let forever = drains
        .add(id("a"), None, Some(Duration::MAX), at(0))
        .expect("room");
    assert_eq!(forever.until, None);
}
