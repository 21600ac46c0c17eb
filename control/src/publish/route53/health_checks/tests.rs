//! Which check stands for which wish.

use super::*;

fn us() -> Publisher {
    Publisher {
        owner: "edge-eu".into(),
        pop: "fra1".into(),
    }
}

fn http(ip: &str) -> CheckConfig {
    let check = PopCheck {
        protocol: PopCheckProtocol::Http,
        port: 8088,
        path: "/readyz".into(),
        host: None,
        search: None,
        fast: false,
        threshold: 3,
    };
    CheckConfig::of(&check, ip.parse().expect("an address"))
}

fn there(id: &str, config: CheckConfig) -> CurrentCheck {
    CurrentCheck {
        id: id.into(),
        caller_reference: caller_reference(&us(), "Z1", &config, 7),
        version: 1,
        config,
        overridden: None,
        linked: false,
    }
}

fn wishes(wishes: &[CheckConfig]) -> BTreeSet<CheckConfig> {
    wishes.iter().cloned().collect()
}

#[test]
fn an_equal_check_is_taken_as_it_is() {
    let wished = wishes(&[http("203.0.113.1"), http("2001:db8::1")]);
    let current = [
        there("a", http("203.0.113.1")),
        there("b", http("2001:db8::1")),
    ];
    let matched = match_checks(&wished, &current, &HashSet::new());
    assert!(matched.changes(&wished, &HashSet::new()).is_empty());
    assert_eq!(
        matched.reference(&http("203.0.113.1")),
        CheckRef::Id("a".into())
    );
}

#[test]
fn what_can_change_is_changed_and_what_cannot_is_replaced() {
    let old = http("203.0.113.1");
    let mut slower = old.clone();
    slower.threshold = 5;
    let current = [there("a", old.clone())];
    let wished = wishes(&[slower.clone()]);
    let matched = match_checks(&wished, &current, &HashSet::new());
    assert_eq!(
        matched.changes(&wished, &HashSet::from(["a"])),
        [CheckChange::Update {
            id: "a".into(),
            version: 1,
            from: old.clone(),
            config: slower
        }]
    );

    let mut fast = old.clone();
    fast.interval = 10;
    let wished = wishes(&[fast.clone()]);
    let matched = match_checks(&wished, &current, &HashSet::new());
    assert!(matches!(matched.reference(&fast), CheckRef::Planned(_)));
    let create = CheckChange::Create {
        config: fast.clone(),
    };
    // As long as a record refers to the old one it stays.
    assert_eq!(
        matched.changes(&wished, &HashSet::from(["a"])),
        std::slice::from_ref(&create)
    );
    let delete = CheckChange::Delete {
        id: "a".into(),
        config: old,
    };
    assert_eq!(matched.changes(&wished, &HashSet::new()), [create, delete]);
}

#[test]
fn what_stays_keeps_its_check() {
    let current = [there("a", http("203.0.113.1"))];
    let mut other = http("203.0.113.1");
    other.path = Some("/other".into());
    let wished = wishes(&[other.clone()]);
    let pinned = match_checks(&wished, &current, &HashSet::from(["a"]));
    assert!(matches!(pinned.reference(&other), CheckRef::Planned(_)));
    let same = wishes(&[http("203.0.113.1")]);
    let shared = match_checks(&same, &current, &HashSet::from(["a"]));
    assert!(shared.changes(&same, &HashSet::from(["a"])).is_empty());
}

#[test]
fn checks_of_other_services_are_left_alone() {
    let mut linked = there("a", http("203.0.113.1"));
    linked.linked = true;
    let matched = match_checks(&BTreeSet::new(), &[linked], &HashSet::new());
    assert!(
        matched
            .changes(&BTreeSet::new(), &HashSet::new())
            .is_empty()
    );
}

#[test]
fn caller_references_fit_and_are_found_by_their_prefix() {
    let widest = Publisher {
        owner: "o".repeat(17),
        pop: "p".repeat(17),
    };
    let reference = caller_reference(&widest, "Z0123456789ABCDEFGHIJ", &http("::1"), u32::MAX);
    assert!(reference.len() <= 64, "{}", reference.len());
    assert!(reference.starts_with(&prefix(&widest, "Z0123456789ABCDEFGHIJ")));
    assert!(!reference.starts_with(&prefix(&us(), "Z0123456789ABCDEFGHIJ")));
    assert!(!reference.starts_with(&prefix(&widest, "Z2")));
}

#[test]
fn private_addresses_cannot_be_asked() {
    for (ip, reachable) in [
        ("10.0.0.1", false),
        ("127.0.0.1", false),
        ("100.64.0.1", false),
        ("fd00::1", false),
        ("203.0.113.1", true),
        ("2001:db8::1", true),
    ] {
        assert_eq!(http(ip).unreachable().is_none(), reachable, "{ip}");
    }
}
