//! The burst's table, with a clock that jumps.

use std::net::SocketAddr;

use portolan_config::snapshot::AddressId;
use proptest::prelude::*;

use super::*;

const RTT: Duration = Duration::from_millis(80);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn port(port: u16) -> EndpointAddr {
    EndpointAddr(SocketAddr::from(([192, 0, 2, 1], port)))
}

/// A suspect with a clock that the test moves.
struct Bench {
    suspect: Suspect,
    live: Arc<AddressLive>,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self {
            suspect: Suspect::new(),
            live: Arc::new(AddressLive::new(AddressId(1))),
            // Apart from the beginning of the clock that `heard` counts from.
            now: clock::start() + Duration::from_secs(100),
        }
    }

    fn signal(&mut self, kind: SignalKind) -> Option<Decision> {
        self.signal_to(kind, port(80))
    }

    fn signal_to(&mut self, kind: SignalKind, to: EndpointAddr) -> Option<Decision> {
        let live = Arc::clone(&self.live);
        self.suspect.on_signal(
            kind,
            Ground {
                to,
                raised: self.now,
                live,
            },
        )
    }

    fn reset_from(&mut self, source: &str) {
        self.signal(SignalKind::ResetBeforeFirstByte {
            source: source.parse().unwrap(),
        });
    }

    fn wait(&mut self, pause: Duration) {
        self.now += pause;
    }

    fn poll(&mut self) -> Option<Connect> {
        self.suspect.poll(Some(RTT), self.now)
    }

    /// All connects of the burst that is due; ends when the last was made.
    fn whole_burst(&mut self) -> Vec<Connect> {
        let mut made = Vec::new();
        while let Some(at) = self.suspect.wake_at() {
            self.now = self.now.max(at);
            made.extend(self.poll());
        }
        made
    }

    fn outcomes(&mut self, failures: &[Option<Failure>]) -> Option<Decision> {
        let number = self.suspect.bursts;
        let mut decision = None;
        for failure in failures {
            assert_eq!(decision, None, "decided before {failure:?}");
            decision = self.suspect.on_outcome(number, failure.clone());
        }
        decision
    }

    fn hear(&self) {
        self.live.heard(clock::millis(self.now));
    }
}

const REFUSED: Option<Failure> = Some(Failure::Refused);
const SILENT: Option<Failure> = Some(Failure::TimedOut);
const UNREACHABLE: Option<Failure> = Some(Failure::Unreachable);

fn local() -> Option<Failure> {
    Some(Failure::Local("no descriptors".into()))
}

fn failure_of(decision: Option<Decision>) -> Option<Failure> {
    match decision {
        Some(Decision::Dead { failure, .. }) => Some(failure),
        Some(Decision::Lifted | Decision::Undecided | Decision::Hangs { .. }) | None => None,
    }
}

#[test]
fn a_burst_is_three_connects_10_ms_apart() {
    let mut bench = Bench::new();
    let began = bench.now;
    bench.signal(SignalKind::Refused);
    let mut at = Vec::new();
    while let Some(due) = bench.suspect.wake_at() {
        bench.now = due;
        let connect = bench.poll().unwrap();
        assert_eq!(
            (connect.to, connect.timeout),
            (port(80), ms(140)),
            "1.5 × 80 ms + 20 ms"
        );
        assert_eq!(bench.poll(), None, "one at a time");
        at.push(due - began);
    }
    assert_eq!(at, [ms(0), ms(10), ms(20)]);
}

#[test]
fn the_timeout_goes_by_probes_then_by_live_connects_then_by_a_guess() {
    let mut bench = Bench::new();
    bench.signal(SignalKind::Slow);
    assert_eq!(
        bench.suspect.poll(None, bench.now).unwrap().timeout,
        ms(320)
    );
    bench.wait(ms(10));
    bench.live.connected(ms(40));
    assert_eq!(bench.suspect.poll(None, bench.now).unwrap().timeout, ms(80));
    bench.wait(ms(20));
    assert_eq!(bench.poll().unwrap().timeout, ms(140));
}

#[test]
fn the_table() {
    let dead = |failure: Failure| Some(failure);
    // What the three connects met, whether something was heard meanwhile, and what that makes of the endpoint.
    let table = [
        ([REFUSED, REFUSED, REFUSED], false, dead(Failure::Refused)),
        ([REFUSED, REFUSED, REFUSED], true, dead(Failure::Refused)),
        (
            [UNREACHABLE, UNREACHABLE, UNREACHABLE],
            true,
            dead(Failure::Unreachable),
        ),
        (
            [REFUSED, UNREACHABLE, REFUSED],
            true,
            dead(Failure::Refused),
        ),
        ([SILENT, SILENT, SILENT], false, dead(Failure::TimedOut)),
        (
            [SILENT, UNREACHABLE, SILENT],
            false,
            dead(Failure::Unreachable),
        ),
        ([local(), REFUSED, REFUSED], false, None),
        ([SILENT, SILENT, local()], false, None),
        ([local(), local(), local()], false, None),
    ];
    for (outcomes, heard, expected) in table {
        let mut bench = Bench::new();
        bench.signal(SignalKind::TimedOut);
        let raised = bench.now;
        bench.whole_burst();
        if heard {
            bench.hear();
        }
        let row = format!("{outcomes:?}, heard: {heard}");
        let decision = bench.outcomes(&outcomes);
        match &decision {
            Some(Decision::Dead {
                to,
                raised: at,
                sent,
                ..
            }) => {
                assert_eq!(
                    (*to, *at, *sent),
                    (port(80), raised, raised + ms(20)),
                    "{row}"
                );
            }
            other => assert_eq!(other, &Some(Decision::Undecided), "{row}"),
        }
        assert_eq!(failure_of(decision), expected, "{row}");
        assert!(!bench.suspect.is_bursting(), "{row}");
    }
}

#[test]
fn one_accepted_connect_lifts_it_at_once() {
    for before in [vec![], vec![REFUSED], vec![SILENT, REFUSED]] {
        let mut bench = Bench::new();
        bench.signal(SignalKind::Refused);
        bench.whole_burst();
        let mut outcomes = before;
        outcomes.push(None);
        assert_eq!(bench.outcomes(&outcomes), Some(Decision::Lifted));
        assert_eq!(bench.suspect.wake_at(), None);
    }
}

#[test]
fn an_accept_spares_the_connects_still_to_come() {
    let mut bench = Bench::new();
    bench.signal(SignalKind::Refused);
    bench.poll().unwrap();
    assert_eq!(bench.outcomes(&[None]), Some(Decision::Lifted));
    bench.wait(ms(10));
    assert_eq!(bench.poll(), None);
}

#[test]
fn silence_of_an_endpoint_that_was_heard_lifts_it() {
    let mut bench = Bench::new();
    bench.signal(SignalKind::Slow);
    bench.whole_burst();
    bench.hear();
    assert_eq!(bench.outcomes(&[SILENT]), Some(Decision::Lifted));
}

#[test]
fn what_was_heard_before_the_suspicion_does_not_count() {
    let mut bench = Bench::new();
    bench.hear();
    bench.wait(ms(1));
    bench.signal(SignalKind::Slow);
    bench.whole_burst();
    let decision = bench.outcomes(&[SILENT, SILENT, SILENT]);
    assert_eq!(failure_of(decision), Some(Failure::TimedOut));
}

#[test]
fn one_burst_in_half_a_second() {
    let mut bench = Bench::new();
    let began = bench.now;
    bench.signal(SignalKind::Refused);
    bench.whole_burst();
    bench.outcomes(&[None]);
    bench.wait(ms(10));
    bench.signal(SignalKind::Refused);
    assert_eq!(bench.poll(), None);
    assert_eq!(
        bench.suspect.wake_at(),
        Some(began + PAUSE),
        "it is put off, not forgotten"
    );
    bench.now = began + PAUSE;
    assert!(bench.poll().is_some());
}

#[test]
fn a_signal_from_before_the_accept_is_answered_by_it() {
    let mut bench = Bench::new();
    bench.signal(SignalKind::Refused);
    let raised = bench.now;
    bench.whole_burst();
    bench.outcomes(&[None]);
    let late = Ground {
        to: port(80),
        raised,
        live: Arc::clone(&bench.live),
    };
    bench.suspect.on_signal(SignalKind::TimedOut, late.clone());
    assert_eq!(bench.suspect.wake_at(), None);
    bench.suspect.on_signal(
        SignalKind::TimedOut,
        Ground {
            to: port(81),
            ..late
        },
    );
    assert!(
        bench.suspect.wake_at().is_some(),
        "another port was not asked"
    );
}

#[test]
fn outcomes_of_an_earlier_burst_are_ignored() {
    let mut bench = Bench::new();
    bench.signal(SignalKind::Refused);
    let first = bench.whole_burst()[0].burst;
    bench.outcomes(&[None]);
    bench.wait(PAUSE);
    bench.signal(SignalKind::Refused);
    bench.whole_burst();
    assert_eq!(bench.suspect.on_outcome(first, None), None);
    assert!(bench.suspect.is_bursting());
}

#[test]
fn no_room_puts_a_connect_off() {
    let mut bench = Bench::new();
    bench.signal(SignalKind::Refused);
    bench.suspect.put_off(bench.now + ms(5));
    assert_eq!(bench.poll(), None);
    bench.wait(ms(5));
    assert!(bench.poll().is_some());
}

#[test]
fn resets_count_from_three_sources_within_ten_seconds() {
    let mut bench = Bench::new();
    for _ in 0..10 {
        bench.reset_from("198.51.100.1");
    }
    bench.reset_from("::ffff:198.51.100.1");
    assert_eq!(bench.suspect.wake_at(), None, "one source, however often");
    bench.reset_from("2001:db8::1");
    bench.reset_from("2001:db8::2");
    assert_eq!(bench.suspect.wake_at(), None, "a /64 is one source");
    bench.wait(ms(9_999));
    bench.reset_from("198.51.100.2");
    assert!(bench.suspect.wake_at().is_some());

    let mut bench = Bench::new();
    bench.reset_from("198.51.100.1");
    bench.reset_from("198.51.100.2");
    bench.wait(RESET_MEMORY);
    bench.reset_from("198.51.100.3");
    assert_eq!(bench.suspect.wake_at(), None, "too long ago");
}

proptest! {
    #[test]
    fn sources_are_remembered_within_bounds(sources in prop::collection::vec(any::<IpAddr>(), 0..500)) {
        let mut bench = Bench::new();
        for source in sources {
            bench.signal(SignalKind::ResetBeforeFirstByte { source });
            prop_assert!(bench.suspect.resets.len() < RESET_SOURCES);
            bench.wait(ms(1));
        }
    }

    #[test]
    fn whatever_comes_dead_needs_three_failures_and_bursts_keep_their_distance(
        steps in prop::collection::vec((0..4u8, 0..100u64, any::<bool>()), 0..300),
    ) {
        let mut bench = Bench::new();
        let mut began: Option<Instant> = None;
        let mut failed = 0;
        for (what, pause, flag) in steps {
            bench.wait(ms(pause));
            match what {
                0 => {
                    let kind = if flag { SignalKind::Refused } else { SignalKind::Slow };
                    failed += usize::from(flag && bench.suspect.is_bursting());
                    if let Some(Decision::Dead { .. }) = bench.signal(kind) {
                        prop_assert_eq!(failed, OFFSETS.len());
                    }
                }
                1 => {
                    let before = bench.suspect.bursts;
                    let connect = bench.poll();
                    if bench.suspect.bursts != before {
                        prop_assert!(began.is_none_or(|began| bench.now - began >= PAUSE));
                        began = Some(bench.now);
                        failed = 0;
                    }
                    prop_assert!(connect.is_none_or(|c| c.burst == bench.suspect.bursts));
                }
                2 => {
                    let was_bursting = bench.suspect.is_bursting();
                    failed += usize::from(was_bursting);
                    let failure = if flag { REFUSED } else { SILENT };
                    let number = bench.suspect.bursts;
                    if let Some(Decision::Dead { .. }) = bench.suspect.on_outcome(number, failure) {
                        prop_assert_eq!(failed, OFFSETS.len());
                    }
                }
                _ => bench.hear(),
            }
        }
    }
}

#[test]
fn refusals_that_live_flows_meet_count_as_the_burst_s_own() {
    let mut bench = Bench::new();
    bench.signal(SignalKind::Refused);
    bench.poll().unwrap();
    assert_eq!(bench.outcomes(&[REFUSED]), None);
    assert_eq!(bench.signal(SignalKind::Refused), None);
    assert_eq!(
        bench.signal_to(SignalKind::Refused, port(81)),
        None,
        "elsewhere"
    );
    assert_eq!(
        bench.signal(SignalKind::Slow),
        None,
        "silence is no refusal"
    );
    let decision = bench.signal(SignalKind::Refused);
    assert_eq!(failure_of(decision), Some(Failure::Refused));
    assert_eq!(bench.outcomes(&[None]), None, "it is over");
}

#[test]
fn a_refusal_after_flows_ended_together_is_enough() {
    let mut bench = Bench::new();
    bench.signal(SignalKind::EndedTogether);
    bench.poll().unwrap();
    assert_eq!(
        failure_of(bench.outcomes(&[REFUSED])),
        Some(Failure::Refused)
    );

    let mut bench = Bench::new();
    bench.signal(SignalKind::EndedTogether);
    bench.whole_burst();
    assert_eq!(
        failure_of(bench.outcomes(&[None, REFUSED])),
        Some(Failure::Refused),
        "it accepted while it died"
    );

    let mut bench = Bench::new();
    bench.signal(SignalKind::EndedTogether);
    bench.whole_burst();
    assert_eq!(bench.outcomes(&[None, None]), None, "the last is awaited");
    assert_eq!(bench.outcomes(&[None]), Some(Decision::Lifted));

    let mut bench = Bench::new();
    bench.signal(SignalKind::EndedTogether);
    bench.whole_burst();
    assert_eq!(bench.outcomes(&[SILENT]), None, "silence needs all three");
}
