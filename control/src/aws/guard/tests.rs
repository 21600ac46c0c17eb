//! The guard as a table: what goes at once, what waits, and how long.

use super::*;

fn unit(name: &str) -> Unit {
    Unit::accelerator(name)
}

/// `"a us-east-1 3, b eu-west-1 2"`: accelerators, regions and how many endpoints each has.
fn endpoints(text: &str) -> Endpoints {
    let mut all = Endpoints::new();
    for part in text.split(", ").filter(|part| !part.is_empty()) {
        let words: Vec<&str> = part.split(' ').collect();
        let of_unit = all.entry(unit(words[0])).or_default();
        for number in 0..words[2].parse::<usize>().unwrap() {
            of_unit.insert(Served {
                listener: "l".into(),
                region: words[1].into(),
                endpoint: format!("i-{number}"),
            });
        }
    }
    all
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

#[test]
fn small_losses_go_at_once_and_large_ones_wait() {
    let cases = [
        ("a r1 10", "a r1 10", None),
        ("a r1 10", "a r1 11", None),
        ("a r1 10", "a r1 7", None),
        ("a r1 10", "a r1 6", Some("40 % of the accelerator's")),
        ("a r1 10, a r2 1", "a r1 10", Some("last endpoint of r2")),
        ("a r1 10, b r1 1", "a r1 10", Some("the accelerator's last")),
        ("a r1 10", "", Some("last endpoint of all")),
        ("a r1 10, a r2 10", "a r1 7, a r2 7", None),
        ("", "", None),
    ];
    for (kept, next, expected) in cases {
        let holds = judge(
            &endpoints(kept),
            &endpoints(next),
            &Holds::new(),
            false,
            at(0),
        );
        let reason = holds.values().next().map(|held| held.reason.clone());
        match expected {
            None => assert_eq!(reason, None, "{kept} -> {next}"),
            Some(part) => assert!(
                reason.as_deref().unwrap_or("").contains(part),
                "{kept} -> {next}: {reason:?}"
            ),
        }
        let accepted = judge(&endpoints(kept), &endpoints(next), &holds, true, at(0));
        assert!(accepted.is_empty(), "the operator's word");
    }
}

#[test]
fn a_loss_spread_over_many_accelerators_waits_by_its_share_of_all() {
    let kept: Vec<String> = (0..10).map(|n| format!("a{n} r1 10")).collect();
    let next: Vec<String> = (0..10).map(|n| format!("a{n} r1 7")).collect();
    let nine: Vec<String> = (0..10)
        .map(|n| format!("a{n} r1 {}", if n == 0 { 6 } else { 7 }))
        .collect();
    assert!(
        judge(
            &endpoints(&kept.join(", ")),
            &endpoints(&next.join(", ")),
            &Holds::new(),
            false,
            at(0)
        )
        .is_empty()
    );
    let holds = judge(
        &endpoints(&kept.join(", ")),
        &endpoints(&nine.join(", ")),
        &Holds::new(),
        false,
        at(0),
    );
    assert_eq!(holds.len(), 10, "31 % of all");
}

#[test]
fn a_loss_is_believed_after_three_readings_and_ten_minutes() {
    let (kept, next) = (endpoints("a r1 10, a r2 1"), endpoints("a r1 10"));
    let run = |times: &[u64]| {
        let mut holds = Holds::new();
        for seconds in times {
            holds = judge(&kept, &next, &holds, false, at(*seconds));
        }
        !holds.is_empty()
    };
    assert!(run(&[0, 60, 120]), "three readings, two minutes");
    assert!(run(&[0, 700]), "twelve minutes, two readings");
    assert!(run(&[0, 300, 599]));
    assert!(!run(&[0, 300, 600]), "believed");
    assert!(
        run(&[600, 300, 0]),
        "a clock that goes back confirms nothing"
    );
}

#[test]
fn another_answer_begins_the_wait_anew() {
    let kept = endpoints("a r1 10, a r2 1, a r3 1");
    let (one, both) = (endpoints("a r1 10, a r3 1"), endpoints("a r1 10"));
    let first = judge(&kept, &one, &Holds::new(), false, at(0));
    let second = judge(&kept, &both, &first, false, at(300));
    let held = &second[&unit("a")];
    assert_eq!((held.cycles, held.since), (1, at(300)));
    let back = judge(&kept, &kept, &second, false, at(400));
    assert!(back.is_empty(), "what comes back waits no more");
}

#[test]
fn everything_at_once_is_never_believed_without_the_operator() {
    let kept = endpoints("a r1 10, b r2 3");
    let mut holds = Holds::new();
    for hour in 0..100 {
        holds = judge(&kept, &Endpoints::new(), &holds, false, at(hour * 3600));
        assert_eq!(holds.len(), 2);
    }
    assert!(judge(&kept, &Endpoints::new(), &holds, true, at(0)).is_empty());
}

#[test]
fn an_acceptance_is_for_what_the_operator_could_see() {
    let kept = endpoints("a r1 10, a r2 1, b r1 3");
    let (shown, all) = (endpoints("a r1 10, b r1 3"), Endpoints::new());
    let waiting = judge(&kept, &shown, &Holds::new(), false, at(0));
    assert!(judge(&kept, &shown, &waiting, true, at(60)).is_empty());
    let held = judge(&kept, &all, &waiting, true, at(60));
    assert_eq!(held.len(), 2, "an answer that lost everything meanwhile");
    assert!(judge(&kept, &all, &held, true, at(120)).is_empty());
}

#[test]
fn accelerators_wait_each_for_itself() {
    let kept = endpoints("a r1 10, b r1 10, b r2 1");
    let holds = judge(
        &kept,
        &endpoints("a r1 9, b r1 10"),
        &Holds::new(),
        false,
        at(0),
    );
    assert_eq!(holds.keys().map(Unit::as_str).collect::<Vec<_>>(), ["b"]);
}
