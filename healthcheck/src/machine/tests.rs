//! The machine's table, row by row, and what must hold whatever comes.

use std::time::SystemTime;

use portolan_config::model::Probe;
use proptest::prelude::*;

use super::*;
use crate::fixture::{check, target};

const INTERVAL: Duration = Duration::from_secs(1);
const FAST: Duration = Duration::from_millis(200);

fn thresholds(healthy: u8, unhealthy: u8) -> Thresholds {
    Thresholds {
        healthy: NonZeroU8::new(healthy).unwrap(),
        unhealthy: NonZeroU8::new(unhealthy).unwrap(),
        fast_interval: FAST,
    }
}

fn refused() -> Input {
    Input::Fail(Failure::Refused)
}

fn local() -> Input {
    Input::Local(Failure::Local("too many open files".into()))
}

fn burst() -> Input {
    Input::Burst(Failure::TimedOut)
}

/// A machine with a clock that the test moves.
struct Bench {
    machine: Machine,
    now: Instant,
}

impl Bench {
    fn new(healthy: u8, unhealthy: u8) -> Self {
        let now = Instant::now();
        Self {
            machine: Machine::new(thresholds(healthy, unhealthy), now),
            now,
        }
    }

    /// A result that is known as soon as it was asked for.
    fn on(&mut self, input: Input) -> bool {
        let evidence = Evidence {
            input,
            sent: self.now,
            seen: self.now,
        };
        self.machine.on(evidence, self.now)
    }

    fn after(&mut self, pause: Duration, input: Input) -> bool {
        self.now += pause;
        self.on(input)
    }

    /// From UP to DOWN and as many passes as it takes to come up again.
    fn flap(&mut self) -> u32 {
        assert_eq!(self.machine.state(), HealthState::Up);
        self.after(FAST, burst());
        let mut passes = 0;
        while self.machine.state() == HealthState::Down {
            self.after(FAST, Input::Pass);
            passes += 1;
            assert!(passes < 10_000, "never comes up");
        }
        passes
    }
}

#[test]
fn the_table() {
    const UNKNOWN: State = State::Unknown;
    const fn up(failed: u32) -> State {
        State::Up { failed }
    }
    const fn down(passed: u32) -> State {
        State::Down { passed }
    }
    // Two passes up, three failures down.
    let table = [
        (UNKNOWN, Input::Pass, up(0)),
        (UNKNOWN, refused(), down(0)),
        (UNKNOWN, local(), UNKNOWN),
        (UNKNOWN, burst(), down(0)),
        (up(0), Input::Pass, up(0)),
        (up(0), refused(), up(1)),
        (up(0), local(), up(0)),
        (up(0), burst(), down(0)),
        (up(1), Input::Pass, up(0)),
        (up(1), refused(), up(2)),
        (up(1), local(), up(1)),
        (up(1), burst(), down(0)),
        (up(2), Input::Pass, up(0)),
        (up(2), refused(), down(0)),
        (up(2), local(), up(2)),
        (up(2), burst(), down(0)),
        (down(0), Input::Pass, down(1)),
        (down(0), refused(), down(0)),
        (down(0), local(), down(0)),
        (down(0), burst(), down(0)),
        (down(1), Input::Pass, up(0)),
        (down(1), refused(), down(0)),
        (down(1), local(), down(1)),
        (down(1), burst(), down(0)),
    ];
    for (before, input, after) in table {
        let mut bench = Bench::new(2, 3);
        bench.machine.state = before;
        let row = format!("{before:?} on {input:?}");
        let changed = bench.on(input);
        assert_eq!(bench.machine.state, after, "{row}");
        let health = |state| std::mem::discriminant(&state);
        assert_eq!(changed, health(before) != health(after), "{row}");
        assert_eq!(bench.machine.transitions(), u64::from(changed), "{row}");
    }
}

#[test]
fn probes_go_fast_only_while_a_change_is_counted_towards() {
    let mut bench = Bench::new(2, 3);
    assert_eq!(bench.machine.pace(), Pace::Fast);
    bench.on(Input::Pass);
    assert_eq!(bench.machine.pace(), Pace::Regular);
    bench.after(INTERVAL, refused());
    assert_eq!(bench.machine.pace(), Pace::Fast);
    bench.after(FAST, refused());
    bench.after(FAST, refused());
    assert_eq!(
        (bench.machine.state(), bench.machine.pace()),
        (HealthState::Down, Pace::Regular)
    );
    bench.after(INTERVAL, Input::Pass);
    assert_eq!(bench.machine.pace(), Pace::Fast);
}

#[test]
fn remembers_when_the_run_of_failures_began() {
    let mut bench = Bench::new(1, 3);
    bench.on(Input::Pass);
    bench.after(INTERVAL, refused());
    bench.after(FAST, Input::Pass);
    assert_eq!(bench.machine.first_evidence(), None);
    bench.after(INTERVAL, refused());
    let first = bench.now;
    bench.after(FAST, refused());
    bench.after(FAST, Input::Fail(Failure::TimedOut));
    assert_eq!(bench.machine.first_evidence(), Some(first));
    assert_eq!(bench.machine.since(), bench.now);
    assert_eq!(bench.machine.failure(), Some(&Failure::TimedOut));
    bench.after(FAST, refused());
    assert_eq!(
        bench.machine.first_evidence(),
        Some(first),
        "later failures do not move it"
    );
    assert_eq!(
        bench.machine.failure(),
        Some(&Failure::Refused),
        "but the reason is the newest"
    );
    bench.after(INTERVAL, Input::Pass);
    assert_eq!(
        (bench.machine.first_evidence(), bench.machine.failure()),
        (None, None)
    );
}

#[test]
fn a_burst_joins_the_run_that_probes_began() {
    let mut bench = Bench::new(1, 3);
    bench.on(Input::Pass);
    bench.after(INTERVAL, refused());
    let first = bench.now;
    bench.after(FAST, burst());
    assert!(bench.machine.decided_by_burst());
    assert_eq!(bench.machine.first_evidence(), Some(first));
    bench.after(INTERVAL, Input::Pass);
    assert!(!bench.machine.decided_by_burst());
}

#[test]
fn an_overtaken_result_that_contradicts_the_newer_is_dropped() {
    let mut bench = Bench::new(1, 1);
    let sent = bench.now;
    bench.after(INTERVAL, Input::Pass);
    let slow = Evidence {
        input: Input::Fail(Failure::TimedOut),
        sent,
        seen: sent,
    };
    assert!(!bench.machine.on(slow, bench.now + INTERVAL));
    assert_eq!(bench.machine.state(), HealthState::Up);

    bench.after(INTERVAL, burst());
    let slow = Evidence {
        input: Input::Pass,
        sent: bench.now - FAST,
        seen: bench.now,
    };
    assert!(!bench.machine.on(slow, bench.now));
    assert_eq!(bench.machine.state(), HealthState::Down);
}

#[test]
fn an_overtaken_failure_that_agrees_still_counts() {
    let mut bench = Bench::new(1, 2);
    bench.on(Input::Pass);
    let sent = bench.now + INTERVAL;
    bench.after(INTERVAL * 2, refused());
    let slow = Evidence {
        input: Input::Fail(Failure::TimedOut),
        sent,
        seen: sent,
    };
    assert!(bench.machine.on(slow, bench.now));
    assert_eq!(bench.machine.first_evidence(), Some(sent));
}

#[test]
fn the_way_up_doubles_from_the_third_flap_and_ends_at_a_minute() {
    let mut bench = Bench::new(3, 1);
    bench.on(Input::Pass);
    let passes: Vec<u32> = (0..9).map(|_| bench.flap()).collect();
    // A minute is 300 passes 200 ms apart.
    assert_eq!(passes, [3, 3, 6, 12, 24, 48, 96, 192, 300]);
}

#[test]
fn another_process_remembers_the_flaps() {
    let mut bench = Bench::new(3, 1);
    bench.on(Input::Pass);
    let passes: Vec<u32> = (0..3).map(|_| bench.flap()).collect();
    assert_eq!(passes, [3, 3, 6]);
    let target = target("192.0.2.1:80".parse().unwrap(), check(Probe::Tcp));
    let known = AddressHealth {
        state: bench.machine.state(),
        flaps: bench.machine.flaps(),
        ..AddressHealth::initial(&target, bench.now, SystemTime::now())
    };
    bench.machine = Machine::recalled(thresholds(3, 1), &known);
    assert_eq!(bench.flap(), 12);
}

#[test]
fn flaps_are_forgotten_after_five_minutes() {
    let mut bench = Bench::new(3, 1);
    bench.on(Input::Pass);
    for _ in 0..4 {
        bench.flap();
    }
    bench.after(FLAP_MEMORY, Input::Pass);
    assert_eq!(bench.flap(), 3);
}

#[test]
fn a_threshold_that_takes_longer_than_a_minute_is_not_cut() {
    let mut bench = Bench::new(200, 1);
    bench.machine.thresholds.fast_interval = INTERVAL;
    bench.on(Input::Pass);
    for _ in 0..4 {
        assert_eq!(bench.flap(), 200);
    }
}

#[test]
fn another_check_keeps_the_state_but_not_the_count() {
    let mut bench = Bench::new(2, 3);
    bench.on(Input::Pass);
    bench.after(INTERVAL, refused());
    bench.after(FAST, refused());
    let (since, transitions) = (bench.machine.since(), bench.machine.transitions());
    let mut machine = bench.machine.clone().under(thresholds(2, 2));
    assert_eq!(machine.state, State::Up { failed: 0 });
    assert_eq!(
        (machine.since(), machine.transitions()),
        (since, transitions)
    );
    assert!(machine.settle_up(bench.now) == (machine.state() != HealthState::Up));
}

fn any_failure() -> impl Strategy<Value = Input> {
    prop_oneof![
        Just(refused()),
        Just(Input::Fail(Failure::TimedOut)),
        Just(Input::Fail(Failure::Unreachable)),
        Just(Input::Fail(Failure::Reset)),
        Just(Input::Fail(Failure::Answer("HTTP 503".into()))),
        Just(burst()),
    ]
}

fn any_input() -> impl Strategy<Value = Input> {
    prop_oneof![4 => Just(Input::Pass), 4 => any_failure(), 1 => Just(local())]
}

/// An input, how long after the last it came, and how long it was under way.
fn any_step() -> impl Strategy<Value = (Input, u64, u64)> {
    (any_input(), 0..5_000u64, 0..3_000u64)
}

fn step(bench: &mut Bench, (input, pause, age): (Input, u64, u64)) -> bool {
    bench.now += Duration::from_millis(pause);
    let sent = bench.now - Duration::from_millis(age);
    bench.machine.on(
        Evidence {
            input,
            sent,
            seen: sent,
        },
        bench.now,
    )
}

proptest! {
    #[test]
    fn failures_never_bring_it_up(
        history in prop::collection::vec(any_step(), 0..50),
        failures in prop::collection::vec((any_failure(), 0..5_000u64, 0..3_000u64), 1..50),
        healthy in 1..5u8,
        unhealthy in 1..5u8,
    ) {
        let mut bench = Bench::new(healthy, unhealthy);
        bench.now += Duration::from_secs(10);
        for one in history {
            step(&mut bench, one);
        }
        for one in failures {
            let before = bench.machine.state();
            step(&mut bench, one);
            prop_assert!(bench.machine.state() != HealthState::Up || before == HealthState::Up);
        }
    }

    #[test]
    fn passes_never_bring_it_down(history in prop::collection::vec(any_step(), 0..100)) {
        let mut bench = Bench::new(2, 2);
        bench.now += Duration::from_secs(10);
        for one in history {
            let (before, input) = (bench.machine.state(), one.0.clone());
            step(&mut bench, one);
            if input == Input::Pass && before != HealthState::Down {
                prop_assert_ne!(bench.machine.state(), HealthState::Down);
            }
        }
    }

    #[test]
    fn local_failures_change_nothing_but_the_reason_while_unknown(
        history in prop::collection::vec(any_step(), 0..50),
        pause in 0..400_000u64,
    ) {
        let mut bench = Bench::new(2, 2);
        bench.now += Duration::from_secs(10);
        for one in history {
            step(&mut bench, one);
        }
        let before = bench.machine.clone();
        let changed = step(&mut bench, (local(), pause, 0));
        prop_assert!(!changed);
        prop_assert_eq!(bench.machine.state, before.state);
        prop_assert_eq!(bench.machine.transitions(), before.transitions());
        prop_assert_eq!(bench.machine.first_evidence(), before.first_evidence());
        if before.state() != HealthState::Unknown {
            prop_assert_eq!(bench.machine.failure(), before.failure());
        }
    }

    #[test]
    fn alternating_results_never_change_it(
        healthy in 2..6u8, unhealthy in 2..6u8, starts_up: bool, rounds in 1..100u32,
    ) {
        let mut bench = Bench::new(healthy, unhealthy);
        bench.on(if starts_up { Input::Pass } else { refused() });
        let state = bench.machine.state();
        for _ in 0..rounds {
            bench.after(FAST, refused());
            bench.after(FAST, Input::Pass);
            prop_assert_eq!(bench.machine.state(), state);
        }
        prop_assert_eq!(bench.machine.transitions(), 1);
    }

    #[test]
    fn in_order_changes_come_exactly_at_the_thresholds(
        inputs in prop::collection::vec(any_input(), 0..200), healthy in 1..5u8, unhealthy in 1..5u8,
    ) {
        let mut bench = Bench::new(healthy, unhealthy);
        let (mut passes, mut failures) = (0u32, 0u32);
        for input in inputs {
            let before = bench.machine.state();
            // Far enough apart that no flap is remembered.
            let changed = bench.after(FLAP_MEMORY, input.clone());
            let due = match (&input, before) {
                (Input::Local(_), _) => false,
                (Input::Pass, _) => {
                    (passes, failures) = (passes + 1, 0);
                    before == HealthState::Unknown
                        || before == HealthState::Down && passes >= u32::from(healthy)
                }
                (Input::Fail(_), _) => {
                    (passes, failures) = (0, failures + 1);
                    before == HealthState::Unknown
                        || before == HealthState::Up && failures >= u32::from(unhealthy)
                }
                (Input::Burst(_), _) => {
                    (passes, failures) = (0, 0);
                    before != HealthState::Down
                }
            };
            prop_assert_eq!(changed, due);
        }
    }
}
