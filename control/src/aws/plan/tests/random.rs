//! Random worlds and faults: no fault empties or shrinks what is served.

use proptest::prelude::*;

use super::*;

/// Accelerators with up to three regions of up to four endpoints.
fn worlds() -> impl Strategy<Value = Picture> {
    let group = prop::collection::btree_set(0u8..6, 0..5);
    let groups = prop::collection::btree_map(
        prop::sample::select(vec!["us-east-1", "eu-west-1", "ap-south-1"]),
        group,
        0..4,
    );
    prop::collection::btree_map(
        prop::sample::select(vec!["shop", "mail", "news"]),
        groups,
        0..4,
    )
    .prop_map(|accelerators| {
        let texts: Vec<(String, String)> = accelerators
            .iter()
            .map(|(name, groups)| {
                let groups = groups.iter().map(|(region, ids)| {
                    let ids: Vec<String> = ids.iter().map(|id| format!("i-{id}")).collect();
                    format!("{region}:{}", ids.join(","))
                });
                ((*name).to_owned(), groups.collect::<Vec<_>>().join(" "))
            })
            .collect();
        let borrowed: Vec<(&str, &str)> = texts
            .iter()
            .map(|(name, groups)| (name.as_str(), groups.as_str()))
            .collect();
        world(&borrowed)
    })
}

/// What goes wrong with a reading: every kind leaves a mark that it was not whole.
#[derive(Clone, Debug)]
enum Fault {
    /// No identity: nothing of the reading counts, whatever is in it.
    Identity,
    /// The list of accelerators ends early.
    Accelerators(usize),
    /// The listeners of each accelerator end early.
    Listeners,
    /// The groups of each listener end early.
    Groups,
    /// Nothing is learnt of endpoints.
    Resources,
}

fn faults() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(Fault::Identity),
        (0usize..3).prop_map(Fault::Accelerators),
        Just(Fault::Listeners),
        Just(Fault::Groups),
        Just(Fault::Resources),
    ]
}

fn broken(mut reading: Reading, faults: &[Fault]) -> Reading {
    for fault in faults {
        match fault {
            Fault::Identity => reading.account = None,
            Fault::Accelerators(kept) => {
                reading.accelerators.whole = false;
                let gone: Vec<String> = reading
                    .accelerators
                    .seen
                    .keys()
                    .skip(*kept)
                    .cloned()
                    .collect();
                gone.iter()
                    .for_each(|arn| drop(reading.accelerators.seen.remove(arn)));
            }
            Fault::Listeners => reading
                .accelerators
                .seen
                .values_mut()
                .for_each(|seen| seen.listeners = Scope::default()),
            Fault::Groups => {
                let listeners = reading
                    .accelerators
                    .seen
                    .values_mut()
                    .flat_map(|seen| seen.listeners.seen.values_mut());
                listeners.for_each(|listener| listener.groups = Scope::default());
            }
            Fault::Resources => reading.resources.clear(),
        }
    }
    reading
}

fn holds_all(after: &Endpoints, before: &Endpoints) -> bool {
    let none = BTreeSet::new();
    before
        .iter()
        .all(|(unit, served)| after.get(unit).unwrap_or(&none).is_superset(served))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever is broken in a reading of the same world, and however often, everything goes on being served.
    #[test]
    fn faults_shrink_nothing(world in worlds(), rounds in prop::collection::vec(prop::collection::vec(faults(), 1..3), 1..20)) {
        let before = known(&world);
        let mut known = before.clone();
        for (round, faults) in rounds.iter().enumerate() {
            let reading = broken(reading(&world), faults);
            known = cycle(&known, &reading, &settings(), false, at(600 * (round as u64 + 1))).known;
            prop_assert!(holds_all(&served(&known), &served(&before)));
        }
    }

    /// A whole reading of any other world never takes more than the guard lets go, and never the last of a region.
    #[test]
    fn no_answer_takes_much_at_once(old in worlds(), new in worlds()) {
        let before = known(&old);
        let outcome = cycle(&before, &reading(&new), &settings(), false, at(60));
        let after = served(&outcome.known);
        let none = BTreeSet::new();
        for (unit, was) in served(&before) {
            let is = after.get(&unit).unwrap_or(&none);
            let lost: Vec<_> = was.difference(is).collect();
            prop_assert!(was.is_empty() || lost.len() < was.len(), "{unit:?} is empty");
            for one in lost {
                prop_assert!(is.iter().any(|e| e.region == one.region && e.listener == one.listener), "{one:?} was the last");
            }
        }
    }

    /// What is new is served at once, whatever waits.
    #[test]
    fn everything_new_comes_in(old in worlds(), new in worlds()) {
        let outcome = cycle(&known(&old), &reading(&new), &settings(), false, at(60));
        prop_assert!(holds_all(&served(&outcome.known), &map::served(&new, &settings())));
    }

    /// The same answer, again and again, is believed in the end, unless it takes everything; then the plan is empty.
    #[test]
    fn the_same_answer_is_believed_in_the_end(old in worlds(), new in worlds()) {
        let mut known = known(&old);
        for minute in 1..=12 {
            known = cycle(&known, &reading(&new), &settings(), false, at(minute * 60)).known;
        }
        let empties = map::served(&new, &settings()).values().all(BTreeSet::is_empty);
        if !empties {
            prop_assert_eq!(map::served(&known.picture, &settings()), map::served(&new, &settings()));
            let again = cycle(&known, &reading(&new), &settings(), false, at(13 * 60));
            prop_assert_eq!(again.changes, vec![]);
        }
    }

    /// What is kept on disk comes back as it was.
    #[test]
    fn what_is_known_survives_the_disk(old in worlds(), new in worlds()) {
        let known = cycle(&known(&old), &reading(&new), &settings(), false, at(60)).known;
        let text = serde_json::to_string(&known).expect("writable");
        prop_assert_eq!(serde_json::from_str::<Known>(&text).expect("readable"), known);
    }
}
