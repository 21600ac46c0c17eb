//! The schedule, with a clock that jumps and a seeded generator.

use std::num::NonZeroU8;

use portolan_config::model::Probe;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;

const INTERVAL: Duration = Duration::from_secs(10);
const FAST: Duration = Duration::from_millis(200);

fn check(jitter: f64) -> HealthCheck {
    HealthCheck {
        probe: Probe::Tcp,
        port: None,
        interval: INTERVAL,
        fast_interval: FAST,
        timeout: Duration::from_secs(2),
        healthy_threshold: NonZeroU8::MIN,
        unhealthy_threshold: NonZeroU8::MIN,
        jitter,
    }
}

/// The times at which `probes` probes were asked, each `late` after it was due.
fn asked(
    schedule: &mut Schedule,
    rng: &mut SmallRng,
    probes: usize,
    late: Duration,
) -> Vec<Instant> {
    (0..probes)
        .map(|_| {
            let due = schedule.due();
            schedule.advance(rng, due + late);
            due
        })
        .collect()
}

#[test]
fn the_first_goes_at_once_and_the_rest_are_an_interval_apart_however_late_they_are() {
    let now = Instant::now();
    let mut rng = SmallRng::seed_from_u64(1);
    let mut schedule = Schedule::new(&check(0.0), &mut rng, now);
    let at = asked(&mut schedule, &mut rng, 6, Duration::from_secs(3));
    assert_eq!(at[0], now);
    for pair in at[1..].windows(2) {
        assert_eq!(pair[1] - pair[0], INTERVAL);
    }
}

#[test]
fn what_was_slept_through_is_not_made_up() {
    let now = Instant::now();
    let mut rng = SmallRng::seed_from_u64(2);
    let mut schedule = Schedule::new(&check(0.0), &mut rng, now);
    asked(&mut schedule, &mut rng, 2, Duration::ZERO);
    let woken = schedule.due() + INTERVAL * 100;
    schedule.advance(&mut rng, woken);
    assert_eq!(schedule.due(), woken);
    schedule.advance(&mut rng, woken);
    assert_eq!(schedule.due(), woken + INTERVAL);
}

#[test]
fn targets_that_begin_together_spread_over_the_interval() {
    let now = Instant::now();
    let mut rng = SmallRng::seed_from_u64(3);
    let mut tenths = [0; 10];
    for _ in 0..10_000 {
        let mut schedule = Schedule::new(&check(0.0), &mut rng, now);
        schedule.advance(&mut rng, now);
        let after = schedule.due() - now;
        assert!(after >= INTERVAL / 2 && after <= INTERVAL * 3 / 2);
        tenths[usize::try_from((after - INTERVAL / 2).as_secs())
            .unwrap()
            .min(9)] += 1;
    }
    assert!(tenths.iter().all(|n| (850..1150).contains(n)), "{tenths:?}");
}

#[test]
fn both_paces_count_from_the_last_probe() {
    let now = Instant::now();
    let mut rng = SmallRng::seed_from_u64(4);
    let mut schedule = Schedule::new(&check(0.0), &mut rng, now);
    let at = asked(&mut schedule, &mut rng, 3, Duration::ZERO);
    let last = at[2];
    let failed = last + Duration::from_millis(50);
    schedule.set_pace(Pace::Fast, &mut rng, failed);
    assert_eq!(schedule.due(), last + FAST);
    schedule.advance(&mut rng, last + FAST);
    assert_eq!(schedule.due(), last + FAST * 2);
    schedule.set_pace(
        Pace::Regular,
        &mut rng,
        last + FAST + failed.duration_since(last),
    );
    assert_eq!(schedule.due(), last + FAST + INTERVAL);
}

#[test]
fn a_probe_that_fails_late_is_followed_at_once() {
    let now = Instant::now();
    let mut rng = SmallRng::seed_from_u64(5);
    let mut schedule = Schedule::new(&check(0.0), &mut rng, now);
    let last = asked(&mut schedule, &mut rng, 2, Duration::ZERO)[1];
    let failed = last + Duration::from_secs(2);
    schedule.set_pace(Pace::Fast, &mut rng, failed);
    assert_eq!(schedule.due(), failed);
}

#[test]
fn fast_is_never_slower_than_regular() {
    let now = Instant::now();
    let mut rng = SmallRng::seed_from_u64(6);
    let mut slow = check(0.0);
    slow.fast_interval = INTERVAL * 5;
    let mut schedule = Schedule::new(&slow, &mut rng, now);
    asked(&mut schedule, &mut rng, 2, Duration::ZERO);
    let due = schedule.due();
    schedule.set_pace(Pace::Fast, &mut rng, due - INTERVAL / 2);
    assert_eq!(schedule.due(), due);
}

#[test]
fn an_extra_probe_leaves_the_schedule_alone() {
    let now = Instant::now();
    let mut rng = SmallRng::seed_from_u64(7);
    let mut schedule = Schedule::new(&check(0.0), &mut rng, now);
    let last = asked(&mut schedule, &mut rng, 2, Duration::ZERO)[1];
    let due = schedule.due();
    schedule.hasten(last + FAST);
    schedule.hasten(last + FAST * 2);
    assert_eq!(schedule.due(), last + FAST);
    schedule.advance(&mut rng, last + FAST);
    assert_eq!(schedule.due(), due);
}

#[test]
fn overlap_is_bounded_by_timeout_and_by_four() {
    let now = Instant::now();
    let mut rng = SmallRng::seed_from_u64(8);
    let mut schedule = Schedule::new(&check(0.0), &mut rng, now);
    schedule.advance(&mut rng, now);
    assert_eq!(schedule.overlap(), 2, "a timeout shorter than the interval");
    schedule.set_pace(Pace::Fast, &mut rng, now);
    assert_eq!(schedule.overlap(), 4, "ten times the fast interval");
    let mut equal = check(0.0);
    equal.timeout = INTERVAL * 2;
    assert_eq!(Schedule::new(&equal, &mut rng, now).overlap(), 3);
}

proptest! {
    #[test]
    fn gaps_are_an_interval_less_the_jitter_however_late_probes_are(
        seed: u64, jitter in 0.0..=1.0f64, lates in prop::collection::vec(0..9_000u64, 1..50),
    ) {
        let now = Instant::now();
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut schedule = Schedule::new(&check(jitter), &mut rng, now);
        schedule.advance(&mut rng, now);
        for late in lates {
            let due = schedule.due();
            let asked = due + Duration::from_millis(late);
            schedule.advance(&mut rng, asked);
            let gap = schedule.due() - due;
            prop_assert!(gap <= INTERVAL);
            prop_assert!(gap >= INTERVAL.mul_f64(1.0 - jitter) || schedule.due() == asked);
        }
    }
}
