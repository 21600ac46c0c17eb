//! Tables over a clock that jumps: who is where, and when somebody overtakes.

use super::*;

const MS: fn(u64) -> Option<Duration> = |ms| Some(Duration::from_millis(ms));

struct Case {
    order: Order,
    now: Instant,
}

impl Case {
    fn new() -> Case {
        Case {
            order: Order::default(),
            now: Instant::now(),
        }
    }

    /// Measured milliseconds by region; 0 is nothing measured.
    fn measure(&mut self, groups: &[(&str, u64)]) -> String {
        let distances: Vec<Distance> = groups
            .iter()
            .map(|(region, ms)| Distance {
                region: Region::new(*region),
                configured: None,
                measured: MS(*ms).filter(|d| !d.is_zero()),
            })
            .collect();
        self.update(&distances)
    }

    fn update(&mut self, distances: &[Distance]) -> String {
        self.order.update(distances, self.now);
        let names = self
            .order
            .ranking()
            .iter()
            .map(|index| distances[*index].region.as_str());
        names.collect::<Vec<_>>().join(" ")
    }

    /// The same in another process.
    fn succeeded(&self) -> Case {
        let (groups, nearer) = self.order.known(self.now);
        let now = self.now + Duration::from_secs(1000);
        Case {
            order: Order::recalled(groups, nearer, now),
            now,
        }
    }

    fn pass(&mut self, seconds: u64) -> &mut Case {
        self.now += Duration::from_secs(seconds);
        self
    }
}

#[test]
fn the_first_order_does_not_wait() {
    let cases: &[(&[(&str, u64)], &str)] = &[
        (&[("a", 0), ("b", 0), ("c", 0)], "a b c"),
        (&[("a", 90), ("b", 10), ("c", 50)], "b c a"),
        (&[("a", 0), ("b", 10)], "b a"),
        (&[("a", 12), ("b", 10)], "a b"),
        (&[("a", 14), ("b", 10)], "b a"),
        (&[("a", 110), ("b", 100)], "a b"),
        (&[("a", 120), ("b", 100)], "b a"),
    ];
    for (groups, expected) in cases {
        assert_eq!(Case::new().measure(groups), *expected, "{groups:?}");
    }
}

#[test]
fn groups_are_placed_as_they_become_known() {
    let mut case = Case::new();
    assert_eq!(case.measure(&[("a", 0), ("b", 0), ("c", 80)]), "c a b");
    assert_eq!(case.measure(&[("a", 0), ("b", 20), ("c", 80)]), "b c a");
    assert_eq!(case.measure(&[("a", 21), ("b", 20), ("c", 80)]), "a b c");
}

#[test]
fn overtaking_takes_thirty_seconds_of_a_clear_difference() {
    let mut case = Case::new();
    assert_eq!(case.measure(&[("a", 20), ("b", 40)]), "a b");
    assert_eq!(case.measure(&[("a", 60), ("b", 40)]), "a b");
    assert_eq!(case.pass(29).measure(&[("a", 60), ("b", 40)]), "a b");
    assert_eq!(case.pass(1).measure(&[("a", 60), ("b", 40)]), "b a");
}

#[test]
fn a_difference_that_vanishes_starts_anew() {
    let mut case = Case::new();
    case.measure(&[("a", 20), ("b", 40)]);
    case.measure(&[("a", 60), ("b", 40)]);
    case.pass(29).measure(&[("a", 41), ("b", 40)]);
    assert_eq!(case.pass(2).measure(&[("a", 60), ("b", 40)]), "a b");
    assert_eq!(case.pass(29).measure(&[("a", 60), ("b", 40)]), "a b");
    assert_eq!(case.pass(1).measure(&[("a", 60), ("b", 40)]), "b a");
}

#[test]
fn noise_never_overtakes() {
    let mut case = Case::new();
    assert_eq!(case.measure(&[("a", 10), ("b", 12)]), "a b");
    assert_eq!(case.measure(&[("a", 13), ("b", 10)]), "a b");
    assert_eq!(case.pass(3600).measure(&[("a", 13), ("b", 10)]), "a b");
    assert_eq!(case.pass(1).measure(&[("a", 115), ("b", 100)]), "a b");
    assert_eq!(case.pass(3600).measure(&[("a", 115), ("b", 100)]), "a b");
}

#[test]
fn the_nearest_of_several_overtakes_first() {
    let mut case = Case::new();
    assert_eq!(case.measure(&[("a", 10), ("b", 20), ("c", 30)]), "a b c");
    case.measure(&[("a", 90), ("b", 50), ("c", 20)]);
    assert_eq!(
        case.pass(30).measure(&[("a", 90), ("b", 50), ("c", 20)]),
        "c b a"
    );
}

#[test]
fn one_passes_over_a_group_in_between_that_is_neither() {
    let mut case = Case::new();
    assert_eq!(case.measure(&[("a", 10), ("c", 11), ("b", 12)]), "a c b");
    case.measure(&[("a", 12), ("c", 10), ("b", 8)]);
    assert_eq!(
        case.pass(30).measure(&[("a", 12), ("c", 10), ("b", 8)]),
        "b a c"
    );
}

#[test]
fn all_down_keeps_the_last_distance() {
    let mut case = Case::new();
    assert_eq!(case.measure(&[("a", 20), ("b", 40)]), "a b");
    assert_eq!(case.pass(3600).measure(&[("a", 0), ("b", 40)]), "a b");
    assert_eq!(case.order.distance(0), MS(20));
}

#[test]
fn configured_latency_wins_and_its_change_acts_at_once() {
    let at = |a: Option<Duration>, b: Option<Duration>| {
        let one = |region: &str, configured| Distance {
            region: Region::new(region),
            configured,
            measured: MS(1),
        };
        [one("a", a), one("b", b)]
    };
    let mut case = Case::new();
    assert_eq!(case.update(&at(MS(50), MS(10))), "b a");
    assert_eq!(case.update(&at(MS(5), MS(10))), "a b");
    assert_eq!(case.update(&at(MS(5), None)), "b a");
    assert_eq!(
        case.update(&at(MS(2), MS(1))),
        "b a",
        "what the operator wrote is exact"
    );
    assert_eq!(case.update(&at(MS(1), MS(2))), "a b");
    assert_eq!(case.update(&at(MS(1), MS(1))), "a b", "ties go by the file");
}

#[test]
fn regions_come_and_go() {
    let mut case = Case::new();
    assert_eq!(case.measure(&[("a", 20), ("b", 40)]), "a b");
    assert_eq!(case.measure(&[("n", 0), ("b", 40), ("a", 20)]), "a b n");
    assert_eq!(case.measure(&[("n", 5), ("b", 40)]), "n b");
    assert_eq!(case.measure(&[]), "");
}

#[test]
fn a_successor_goes_on_with_order_and_patience() {
    let mut case = Case::new();
    assert_eq!(case.measure(&[("a", 10), ("b", 20)]), "a b");
    case.pass(5).measure(&[("a", 90), ("b", 20)]);
    let mut case = case.pass(20).succeeded();
    // As little is known of distances as a process knows that has just begun.
    assert_eq!(case.measure(&[("a", 0), ("b", 0)]), "a b");
    assert_eq!(case.pass(9).measure(&[("a", 90), ("b", 20)]), "a b");
    assert_eq!(case.pass(1).measure(&[("a", 90), ("b", 20)]), "b a");
}
