//! The machine of announcements as a table: what happens, when, and what is announced then.

use super::*;

const TIMES: Times = Times {
    drain: Duration::from_secs(10),
    hold: Duration::from_secs(5),
};

struct World {
    machine: Machine,
    wanted: BTreeSet<IpNet>,
    begun: Instant,
}

impl World {
    fn new(addresses: &[&str]) -> Self {
        let wanted = addresses
            .iter()
            .map(|a| IpNet::from(a.parse::<std::net::IpAddr>().expect("an address")));
        Self {
            machine: Machine::default(),
            wanted: wanted.collect(),
            begun: Instant::now(),
        }
    }

    fn at(&mut self, second: u64, check: &Check, mood: Mood) -> Vec<Style> {
        let now = self.begun + Duration::from_secs(second);
        let picture = self
            .machine
            .step(&self.wanted, |_| check.clone(), mood, TIMES, now);
        picture.into_values().collect()
    }
}

fn fails() -> Check {
    Check::Fails("nobody accepts".into())
}

#[test]
fn the_first_announcement_waits_for_the_first_check_and_no_longer() {
    let mut world = World::new(&["203.0.113.10"]);
    assert_eq!(world.at(0, &Check::Unknown, Mood::Serving), []);
    assert_eq!(world.at(1, &Check::Passes, Mood::Serving), [Style::Normal]);
    assert_eq!(world.at(2, &Check::Unknown, Mood::Serving), [Style::Normal]);
}

#[test]
fn what_cannot_be_served_goes_at_once_and_comes_back_after_the_hold() {
    let mut world = World::new(&["203.0.113.10"]);
    world.at(0, &Check::Passes, Mood::Serving);
    assert_eq!(world.at(1, &fails(), Mood::Serving), []);
    assert_eq!(world.at(2, &Check::Passes, Mood::Serving), []);
    assert_eq!(world.at(6, &Check::Passes, Mood::Serving), []);
    assert_eq!(world.at(7, &Check::Passes, Mood::Serving), [Style::Normal]);
}

#[test]
fn each_withdrawal_makes_the_wait_longer_up_to_a_bound() {
    let mut world = World::new(&["203.0.113.10"]);
    world.at(0, &Check::Passes, Mood::Serving);
    let mut second = 1;
    let mut waits = Vec::new();
    for _ in 0..9 {
        assert_eq!(world.at(second, &fails(), Mood::Serving), []);
        let well = second + 1;
        second = well;
        while world.at(second, &Check::Passes, Mood::Serving).is_empty() {
            second += 1;
        }
        waits.push(second - well);
        second += 1;
    }
    assert_eq!(waits[..4], [5, 10, 20, 40]);
    assert!(waits.iter().all(|wait| *wait <= 600), "{waits:?}");
}

#[test]
fn a_failure_while_it_waits_begins_the_wait_anew() {
    let mut world = World::new(&["203.0.113.10"]);
    world.at(0, &Check::Passes, Mood::Serving);
    world.at(1, &fails(), Mood::Serving);
    world.at(2, &Check::Passes, Mood::Serving);
    world.at(5, &fails(), Mood::Serving);
    assert_eq!(world.at(8, &Check::Passes, Mood::Serving), []);
    assert_eq!(world.at(12, &Check::Passes, Mood::Serving), []);
    assert_eq!(world.at(13, &Check::Passes, Mood::Serving), [Style::Normal]);
}

#[test]
fn a_drained_pop_is_left_then_withdrawn_and_comes_back_by_the_operators_word() {
    let mut world = World::new(&["203.0.113.10", "2001:db8::10"]);
    world.at(0, &Check::Passes, Mood::Serving);
    let leaving = [Style::Leaving, Style::Leaving];
    assert_eq!(world.at(1, &Check::Passes, Mood::Leaving), leaving);
    assert_eq!(world.at(10, &Check::Passes, Mood::Leaving), leaving);
    assert_eq!(world.at(11, &Check::Passes, Mood::Leaving), []);
    let normal = [Style::Normal, Style::Normal];
    assert_eq!(world.at(20, &Check::Passes, Mood::Serving), normal);
}

#[test]
fn a_drain_that_is_taken_back_halfway_withdraws_nothing() {
    let mut world = World::new(&["203.0.113.10"]);
    world.at(0, &Check::Passes, Mood::Serving);
    world.at(1, &Check::Passes, Mood::Leaving);
    assert_eq!(world.at(2, &Check::Passes, Mood::Serving), [Style::Normal]);
}

#[test]
fn a_pop_that_fails_while_it_is_left_goes_at_once() {
    let mut world = World::new(&["203.0.113.10"]);
    world.at(0, &Check::Passes, Mood::Serving);
    world.at(1, &Check::Passes, Mood::Leaving);
    assert_eq!(world.at(2, &fails(), Mood::Leaving), []);
    assert_eq!(world.at(30, &Check::Passes, Mood::Leaving), []);
}

#[test]
fn a_pop_that_begins_drained_announces_nothing() {
    let mut world = World::new(&["203.0.113.10"]);
    assert_eq!(world.at(0, &Check::Passes, Mood::Leaving), []);
    assert_eq!(world.at(1, &Check::Passes, Mood::Serving), [Style::Normal]);
}

#[test]
fn an_address_that_no_accelerator_has_is_forgotten() {
    let mut world = World::new(&["203.0.113.10"]);
    world.at(0, &Check::Passes, Mood::Serving);
    world.wanted.clear();
    assert_eq!(world.at(1, &Check::Passes, Mood::Serving), []);
    assert!(world.machine.standings(world.begun).is_empty());
}
