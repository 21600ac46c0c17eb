//! What becomes of flows, case by case, over a clock that jumps and a world that is told what it holds.

use std::cell::RefCell;

use super::*;

const A: AddressId = AddressId(1);
const B: AddressId = AddressId(2);
const DRAIN: Duration = Duration::from_secs(300);

/// One listener with one other endpoint.
struct Setting {
    others: RefCell<Others>,
}

impl World for Setting {
    fn listener_of(&self, address: AddressId) -> Option<usize> {
        (address != AddressId(99)).then_some(0)
    }

    fn others(&self, _: usize, _: Instant) -> Others {
        *self.others.borrow()
    }
}

struct Case {
    verdicts: Verdicts,
    world: Setting,
    now: Instant,
    policy: OnUnhealthy,
}

impl Case {
    fn new() -> Case {
        let now = Instant::now() + Duration::from_secs(3600);
        let others = Others {
            available: true,
            life: None,
            patience: Duration::ZERO,
        };
        Case {
            verdicts: Verdicts::new(),
            world: Setting {
                others: RefCell::new(others),
            },
            now,
            policy: OnUnhealthy::Reset,
        }
    }

    fn with(policy: OnUnhealthy) -> Case {
        Case {
            policy,
            ..Case::new()
        }
    }

    fn pass(&mut self, millis: u64) -> &mut Case {
        self.now += Duration::from_millis(millis);
        self
    }

    fn falls(&mut self, address: AddressId, failure: Failure) -> &mut Case {
        let settings = GroupSettings {
            on_unhealthy: self.policy,
            drain_timeout: DRAIN,
            ..GroupSettings::default()
        };
        let fall = Fall {
            address,
            failure: Some(failure),
            first_evidence: Some(self.now - Duration::from_millis(100)),
            at: self.now,
            settings: Arc::new(settings),
        };
        self.verdicts.fell(fall, self.now);
        self
    }

    /// The others pass a probe at this very moment.
    fn others_live(&mut self) -> &mut Case {
        self.world.others.borrow_mut().life = Some(self.now);
        self
    }

    fn others_fall(&mut self) -> &mut Case {
        *self.world.others.borrow_mut() = Others::default();
        self
    }

    fn others_rise(&mut self) -> &mut Case {
        self.world.others.borrow_mut().available = true;
        self.others_live()
    }

    /// What is decided now, a letter each with its address: R, D or K.
    fn decided(&mut self) -> String {
        self.verdicts.settle(&self.world, self.now);
        let issued = self.verdicts.publish();
        let words = issued.iter().map(|verdict| {
            let fate = match verdict.fate {
                Fate::Reset { .. } => 'R',
                Fate::Drain { .. } => 'D',
                Fate::Keep => 'K',
            };
            format!("{fate}{}", verdict.address.0)
        });
        words.collect::<Vec<_>>().join(" ")
    }
}

#[test]
fn a_dead_path_resets_once_another_endpoint_has_shown_life() {
    for failure in [
        Failure::Refused,
        Failure::TimedOut,
        Failure::Unreachable,
        Failure::Reset,
    ] {
        let mut case = Case::new();
        case.others_live();
        assert_eq!(
            case.falls(A, failure).decided(),
            "",
            "life before the fall proves nothing"
        );
        assert!(case.verdicts.next_look(case.now).is_some());
        assert_eq!(case.pass(3).others_live().decided(), "R1");
        assert_eq!(case.verdicts.next_look(case.now), None);
        assert_eq!(case.pass(1).decided(), "", "once");
    }
}

#[test]
fn a_reset_says_since_when_silence_counts_and_how_it_is_paced() {
    let mut case = Case::new();
    let fell = case.now;
    case.falls(A, Failure::Refused)
        .pass(1)
        .others_live()
        .decided();
    let verdict = &case.verdicts.published()[0];
    assert_eq!(
        (verdict.number, verdict.address, verdict.decided),
        (1, A, case.now)
    );
    let expected = Fate::Reset {
        silent_since: fell - Duration::from_millis(100),
        over: Duration::from_secs(1),
        rate: 2000,
    };
    assert_eq!(verdict.fate, expected);
}

#[test]
fn when_all_fall_within_a_second_nothing_is_reset() {
    let mut case = Case::new();
    assert_eq!(case.falls(A, Failure::TimedOut).decided(), "");
    assert_eq!(case.pass(900).decided(), "");
    assert_eq!(case.falls(B, Failure::TimedOut).others_fall().decided(), "");
    assert_eq!(
        case.pass(10).others_rise().decided(),
        "",
        "a blip of the whole path resets nothing afterwards either"
    );
    assert_eq!(case.pass(60_000).decided(), "");
}

#[test]
fn with_nowhere_to_go_nothing_is_reset_or_drained() {
    for failure in [Failure::Refused, Failure::Answer("status 503".into())] {
        let mut case = Case::new();
        assert_eq!(case.others_fall().falls(A, failure).decided(), "");
        assert_eq!(case.pass(10).others_rise().decided(), "");
    }
}

#[test]
fn silence_of_the_others_is_waited_out() {
    for (patience, millis) in [(0, 1000), (2500, 2500), (60_000, 5000)] {
        let mut case = Case::new();
        case.world.others.borrow_mut().patience = Duration::from_millis(patience);
        case.falls(A, Failure::TimedOut);
        assert_eq!(case.pass(millis - 1).decided(), "", "{patience}");
        assert_eq!(case.pass(1).decided(), "R1", "{patience}");
    }
}

#[test]
fn up_again_before_the_verdict_drops_it() {
    let mut case = Case::new();
    case.falls(A, Failure::TimedOut).decided();
    case.pass(100);
    case.verdicts.rose(A, case.now);
    assert_eq!(case.others_live().decided(), "");
}

#[test]
fn an_endpoint_that_answers_is_drained_until_it_is_up_again() {
    let mut case = Case::new();
    assert_eq!(
        case.falls(A, Failure::Answer("status 503".into()))
            .decided(),
        "D1"
    );
    let until = Some(case.now + DRAIN);
    assert_eq!(case.verdicts.published()[0].fate, Fate::Drain { until });
    case.pass(1000);
    case.verdicts.rose(A, case.now);
    assert_eq!(case.decided(), "K1");
    case.verdicts.rose(A, case.now);
    assert_eq!(case.decided(), "");
}

#[test]
fn when_the_last_one_falls_those_that_answer_are_kept() {
    let mut case = Case::new();
    assert_eq!(
        case.falls(A, Failure::Answer("status 503".into()))
            .decided(),
        "D1"
    );
    assert_eq!(
        case.falls(B, Failure::Answer("status 503".into()))
            .others_fall()
            .decided(),
        "K1"
    );
}

#[test]
fn policies_have_their_way() {
    let mut keep = Case::with(OnUnhealthy::Keep);
    assert_eq!(
        keep.falls(A, Failure::Refused)
            .pass(2000)
            .others_live()
            .decided(),
        ""
    );
    let mut drain = Case::with(OnUnhealthy::Drain);
    assert_eq!(drain.falls(A, Failure::Refused).decided(), "D1");
}

#[test]
fn removed_and_drained_endpoints_drain_and_come_back() {
    for cause in [Cause::Left, Cause::Operator] {
        let mut case = Case::new();
        case.verdicts.drain(A, cause, DRAIN, case.now);
        case.verdicts.drain(A, cause, DRAIN, case.now);
        assert_eq!(case.decided(), "D1", "{cause:?}");
        case.pass(1000);
        case.verdicts.rose(A, case.now);
        assert_eq!(case.decided(), "", "health does not take it back");
        case.verdicts.release(A, cause, case.now);
        case.verdicts.release(A, cause, case.now);
        assert_eq!(case.decided(), "K1", "{cause:?}");
    }
}

#[test]
fn a_drain_with_two_causes_ends_with_the_last() {
    let mut case = Case::new();
    case.verdicts.drain(A, Cause::Operator, DRAIN, case.now);
    case.verdicts.drain(A, Cause::Left, DRAIN, case.now);
    assert_eq!(case.decided(), "D1 D1");
    case.verdicts.release(A, Cause::Operator, case.now);
    assert_eq!(case.decided(), "");
    case.verdicts.release(A, Cause::Left, case.now);
    assert_eq!(case.decided(), "K1");
}

#[test]
fn an_address_that_left_the_layout_is_forgotten_while_held() {
    let mut case = Case::new();
    assert_eq!(
        case.falls(AddressId(99), Failure::Refused)
            .pass(2000)
            .others_live()
            .decided(),
        ""
    );
    assert_eq!(case.verdicts.next_look(case.now), None);
}

#[test]
fn verdicts_are_published_for_their_life_and_numbered_on() {
    let mut case = Case::new();
    case.falls(A, Failure::Refused)
        .pass(1)
        .others_live()
        .decided();
    let first = case.verdicts.published().clone();
    case.pass(59_000);
    case.verdicts.expire(case.now);
    assert!(
        Arc::ptr_eq(case.verdicts.published(), &first),
        "nothing new is nothing new"
    );
    case.falls(B, Failure::Refused)
        .pass(1)
        .others_live()
        .decided();
    let numbers: Vec<u64> = case
        .verdicts
        .published()
        .iter()
        .map(|verdict| verdict.number)
        .collect();
    assert_eq!(numbers, [1, 2]);
    case.pass(2000);
    case.verdicts.expire(case.now);
    assert_eq!(case.verdicts.published().len(), 1);
    assert_eq!(case.verdicts.published()[0].number, 2);
}

#[test]
fn there_is_a_most() {
    let mut case = Case::new();
    for address in 0..(PUBLISHED as u64 + 10) {
        case.verdicts
            .drain(AddressId(1000 + address), Cause::Left, DRAIN, case.now);
    }
    case.decided();
    assert_eq!(case.verdicts.published().len(), PUBLISHED);
    assert_eq!(case.verdicts.published()[0].number, 11);
    case.pass(300_001);
    case.verdicts.expire(case.now);
    assert!(
        case.verdicts.draining.is_empty(),
        "addresses that left are forgotten with their flows"
    );
}

#[test]
fn an_address_that_left_is_forgotten_whatever_else_it_was_drained_for() {
    let mut case = Case::new();
    for cause in [Cause::Operator, Cause::Health, Cause::Left] {
        case.verdicts.drain(A, cause, DRAIN, case.now);
    }
    case.verdicts.drain(B, Cause::Operator, DRAIN, case.now);
    case.pass(300_001);
    case.verdicts.expire(case.now);
    let known: Vec<_> = case.verdicts.draining.keys().collect();
    assert_eq!(known, [&B], "the operator takes back what is there");
}
