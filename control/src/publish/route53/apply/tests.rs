//! Applying, answer by answer; time and chance are arguments.

use super::super::model::{Kind, RecordSet};
use super::super::plan::{Action, Change, GroupPlan};
use super::*;

fn batch(names: &[&str]) -> Batch {
    let group = |name: &&str| GroupPlan {
        name: (*name).to_owned(),
        changes: vec![Change {
            action: Action::Create,
            old: None,
            new: Some(RecordSet::simple(
                *name,
                Kind::A,
                60,
                vec!["192.0.2.1".into()],
            )),
            why: "",
        }],
    };
    Batch {
        groups: names.iter().map(group).collect(),
    }
}

/// Runs to the end with answers by what is sent; also how long it waited, at the longest by chance.
fn run(batches: Vec<Batch>, mut answer: impl FnMut(&Batch) -> Answer) -> (Outcome, Duration) {
    let start = Instant::now();
    let mut now = start;
    let mut apply = Apply::new(batches);
    loop {
        match apply.next(now) {
            Step::Send(batch) => apply.answered(answer(&batch), now, 1.0),
            Step::Wait(until) => now = until,
            Step::Done => return (apply.outcome(), now - start),
        }
    }
}

fn accepted(batch: &Batch) -> Answer {
    Answer::Accepted(format!("change-{}", batch.names().next().expect("a group")))
}

#[test]
fn requests_go_one_after_the_other() {
    let mut apply = Apply::new(vec![batch(&["a"]), batch(&["b"])]);
    let now = Instant::now();
    let Step::Send(first) = apply.next(now) else {
        panic!("it sends")
    };
    apply.answered(accepted(&first), now, 0.5);
    let (outcome, _) = run(vec![batch(&["a", "b"]), batch(&["c"])], accepted);
    assert_eq!(outcome.applied, ["a", "b", "c"]);
    assert_eq!(outcome.changes, ["change-a", "change-c"]);
}

#[test]
fn a_bad_group_is_set_aside_and_the_others_go_on() {
    let mut requests = 0;
    let (outcome, _) = run(vec![batch(&["a", "b", "bad", "c", "d"])], |batch| {
        requests += 1;
        match batch.names().any(|name| name == "bad") {
            true => Answer::Refused("protected".into()),
            false => accepted(batch),
        }
    });
    assert_eq!(outcome.applied, ["a", "b", "c", "d"]);
    assert_eq!(outcome.set_aside.len(), 1);
    assert_eq!(outcome.set_aside[0].group, "bad");
    assert!(requests <= 7, "{requests}");
}

#[test]
fn not_now_is_waited_out_with_full_jitter() {
    let mut later = 4;
    let (outcome, waited) = run(vec![batch(&["a"])], |batch| {
        later -= 1;
        match later {
            0 => accepted(batch),
            _ => Answer::Later("PriorRequestNotComplete".into()),
        }
    });
    assert_eq!(outcome.applied, ["a"]);
    assert_eq!(waited, Duration::from_millis(500 + 1000 + 2000));
}

#[test]
fn not_now_for_ever_ends_within_bounds() {
    let mut requests = 0;
    let (outcome, waited) = run(vec![batch(&["a"]), batch(&["b"])], |_| {
        requests += 1;
        Answer::Later("Throttling".into())
    });
    assert!(outcome.stopped.is_some() && outcome.applied.is_empty());
    assert_eq!(requests, ATTEMPTS);
    assert!(waited < Duration::from_secs(120), "{waited:?}");
}

#[test]
fn denied_and_unknown_answers_end_it() {
    for answer in [
        Answer::Denied("AccessDenied".into()),
        Answer::Unknown("timeout".into()),
    ] {
        let mut requests = 0;
        let (outcome, _) = run(vec![batch(&["a"]), batch(&["b"])], |_| {
            requests += 1;
            answer.clone()
        });
        assert_eq!(requests, 1);
        assert!(outcome.stopped.is_some());
        assert_eq!(outcome.uncertain, matches!(answer, Answer::Unknown(_)));
    }
}
