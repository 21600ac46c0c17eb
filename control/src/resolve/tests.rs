//! The schedule of asking and what is kept, over a clock that jumps.

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

struct Case {
    names: Names,
    now: Instant,
}

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter()
        .map(|ip| ip.parse().expect("an address"))
        .collect()
}

fn some(list: &[&str], seconds: u64) -> Family {
    Family::Addresses {
        addresses: ips(list),
        ttl: Duration::from_secs(seconds),
    }
}

fn nothing() -> Family {
    Family::None("no such name".into())
}

fn silent() -> Family {
    Family::Failed("timeout".into())
}

impl Case {
    fn new() -> Case {
        let mut case = Case {
            names: Names::default(),
            now: Instant::now(),
        };
        case.names.want(["web".into()].into(), case.now);
        case
    }

    fn due(&mut self) -> usize {
        self.names.take_due(self.now).len()
    }

    fn pass(&mut self, seconds: u64) -> &mut Case {
        self.now += Duration::from_secs(seconds);
        self
    }

    fn answer(&mut self, v4: Family, v6: Family) -> bool {
        self.names
            .answered("web", Answer { v4, v6 }, HOUR, self.now)
    }

    /// Seconds until the name is asked again.
    fn wait(&self) -> u64 {
        let due = self.names.next_due().expect("a time");
        due.saturating_duration_since(self.now).as_secs()
    }

    fn addresses(&self) -> Vec<IpAddr> {
        self.names.resolved("web").addresses
    }
}

#[test]
fn a_new_name_is_asked_at_once_and_only_once_at_a_time() {
    let mut case = Case::new();
    assert_eq!(case.due(), 1);
    assert_eq!(case.pass(100).due(), 0);
    assert_eq!(case.names.next_due(), None);
    assert!(case.answer(some(&["10.0.0.2", "10.0.0.1"], 60), nothing()));
    assert_eq!(case.addresses(), ips(&["10.0.0.1", "10.0.0.2"]));
    assert_eq!(case.names.resolved("web").error, None);
}

#[test]
fn it_is_asked_again_by_ttl_between_a_floor_and_a_cap() {
    for (ttl, wait) in [(0, 1), (1, 1), (60, 60), (86_400, 300)] {
        let mut case = Case::new();
        case.answer(some(&["10.0.0.1"], ttl), nothing());
        assert_eq!(case.wait(), wait, "TTL {ttl}");
    }
    let mut case = Case::new();
    case.answer(some(&["10.0.0.1"], 60), some(&["fd00::1"], 20));
    assert_eq!(case.wait(), 20, "the shorter of both families");
}

#[test]
fn one_that_never_resolved_is_asked_every_one_to_five_seconds() {
    let mut case = Case::new();
    for expected in [1, 2, 3, 4, 5, 5, 5] {
        case.due();
        case.answer(nothing(), silent());
        assert_eq!(case.wait(), expected);
        case.pass(expected);
    }
    assert!(case.addresses().is_empty());
    assert_eq!(case.names.resolved("web").error.as_deref(), Some("timeout"));
}

#[test]
fn the_last_answer_is_kept_while_it_is_not_too_old() {
    for failure in [
        (silent(), silent()),
        (nothing(), nothing()),
        (nothing(), silent()),
    ] {
        let mut case = Case::new();
        case.answer(some(&["10.0.0.1"], 60), nothing());
        assert!(
            case.pass(60).answer(failure.0.clone(), failure.1.clone()),
            "the error is news"
        );
        assert!(!case.pass(1).answer(failure.0.clone(), failure.1.clone()));
        assert_eq!(case.addresses(), ips(&["10.0.0.1"]));
        assert!(case.pass(3539).answer(failure.0, failure.1));
        assert!(case.addresses().is_empty());
    }
}

#[test]
fn trouble_with_one_family_keeps_its_addresses() {
    let mut case = Case::new();
    case.answer(some(&["10.0.0.1"], 60), some(&["fd00::1"], 60));
    assert!(!case.pass(60).answer(some(&["10.0.0.1"], 60), silent()));
    assert_eq!(case.addresses(), ips(&["10.0.0.1", "fd00::1"]));
    assert_eq!(case.wait(), 5);
    assert!(
        case.answer(some(&["10.0.0.1"], 60), nothing()),
        "a definite none is believed"
    );
    assert_eq!(case.addresses(), ips(&["10.0.0.1"]));
}

#[test]
fn sixteen_addresses_are_used_and_the_rest_counted() {
    let mut case = Case::new();
    let many: Vec<String> = (1..=20).map(|n| format!("10.0.0.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    case.answer(some(&many, 60), nothing());
    let resolved = case.names.resolved("web");
    assert_eq!((resolved.addresses.len(), resolved.unused), (16, 4));
}

#[test]
fn few_are_asked_at_once() {
    let mut names = Names::default();
    let now = Instant::now();
    names.want((0..200).map(|n| n.to_string().into()).collect(), now);
    assert_eq!(names.take_due(now).len(), IN_FLIGHT);
    assert_eq!(names.take_due(now).len(), 0);
    assert_eq!(names.next_due(), None);
    names.want(HashSet::new(), now);
    assert!(
        !names.answered(
            "1",
            Answer {
                v4: nothing(),
                v6: nothing()
            },
            HOUR,
            now
        ),
        "nobody asks for it any more"
    );
}

#[test]
fn a_successor_begins_with_the_addresses_of_before_and_asks_all_the_same() {
    let now = Instant::now();
    let mut old = Case::new();
    let (web, late): (Arc<str>, Arc<str>) = ("web".into(), "late".into());
    let answer = Answer {
        v4: some(&["192.0.2.1"], 60),
        v6: nothing(),
    };
    old.names.want([web.clone(), late.clone()].into(), now);
    for name in ["web", "late"] {
        old.names.answered(name, answer.clone(), HOUR, now);
    }
    let mut new = Names::default();
    new.recall(old.names.known(now), now);
    new.want([web.clone()].into(), now);
    assert_eq!(new.resolved("web").addresses, ips(&["192.0.2.1"]));
    assert_eq!(new.take_due(now), std::slice::from_ref(&web));
    // Stale as the predecessor's would be, and no sooner.
    let failed = Answer {
        v4: silent(),
        v6: silent(),
    };
    new.answered("web", failed.clone(), HOUR, now + HOUR / 2);
    assert_eq!(new.resolved("web").addresses, ips(&["192.0.2.1"]));
    new.answered("web", failed, HOUR, now + HOUR);
    assert!(new.resolved("web").addresses.is_empty());
    // The API's names come a moment later; much later nothing is recalled.
    new.want([web.clone(), late.clone()].into(), now + RECALL_FOR);
    assert_eq!(new.resolved("late").addresses, ips(&["192.0.2.1"]));
    new.want([web.clone()].into(), now);
    new.want([web, late].into(), now + RECALL_FOR * 2);
    assert!(new.resolved("late").addresses.is_empty());
}
