//! The table against a plain model of it, and the cases that matter by name.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

const IDLE: Duration = Duration::from_secs(30);

fn place(number: u16) -> Place {
    SocketAddr::from((
        Ipv4Addr::new(10, 0, (number >> 8) as u8, number as u8),
        1000 + number,
    ))
    .into()
}

fn tuple(number: u16) -> Tuple {
    Tuple {
        client: place(number),
        local: place(0),
    }
}

fn table() -> (Table<u16>, Instant) {
    let now = Instant::now();
    (Table::new(now), now)
}

fn expired(table: &mut Table<u16>, now: Instant) -> Vec<u16> {
    let due = table.expired(now, |_| IDLE, |_, _| {});
    due.iter()
        .map(|id| table.remove(*id).unwrap().carried)
        .collect()
}

#[test]
fn addresses_of_both_families_come_back_as_they_were() {
    for address in [
        "10.1.2.3:4",
        "[2001:db8::1]:65535",
        "[fe80::1%7]:9",
        "0.0.0.0:0",
    ] {
        let address: SocketAddr = address.parse().unwrap();
        assert_eq!(SocketAddr::from(Place::from(address)), address);
    }
}

#[test]
fn a_declared_client_makes_another_flow_of_the_same_tuple() {
    let (mut table, now) = table();
    let declared = (place(7), place(8));
    let plain = table.insert(tuple(1), None, 1, IDLE, now);
    let told = table.insert(tuple(1), Some(declared), 2, IDLE, now);
    assert_eq!(table.find(&tuple(1), None), Some(plain));
    assert_eq!(table.find(&tuple(1), Some(&declared)), Some(told));
    table.remove(plain);
    assert_eq!(table.find(&tuple(1), None), None);
    assert_eq!(table.find(&tuple(1), Some(&declared)), Some(told));
}

#[test]
fn a_flow_goes_when_nothing_has_passed_for_its_idle_timeout() {
    let (mut table, now) = table();
    let id = table.insert(tuple(1), None, 1, IDLE, now);
    assert!(expired(&mut table, now + IDLE / 2).is_empty());
    table.touch(id, now + IDLE / 2);
    assert!(expired(&mut table, now + IDLE + IDLE / 4).is_empty());
    assert_eq!(expired(&mut table, now + IDLE * 2), [1]);
    assert_eq!(table.len(), 0);
    assert!(table.next_turn().is_none());
}

#[test]
fn a_flow_that_was_silent_in_another_process_goes_when_its_whole_time_is_over() {
    let (mut table, start) = table();
    let id = table.insert(tuple(1), None, 1, IDLE, start);
    table.has_been_silent(id, IDLE / 2, IDLE, start);
    let silent = table.silent(id, start);
    assert!(silent <= IDLE / 2 && silent + TICK > IDLE / 2, "{silent:?}");
    assert!(expired(&mut table, start + IDLE / 2 - 2 * TICK).is_empty());
    assert_eq!(expired(&mut table, start + IDLE / 2 + 2 * TICK), [1]);
}

#[test]
fn the_oldest_unconfirmed_flow_is_the_one_to_go() {
    let (mut table, now) = table();
    let ids: Vec<FlowId> = (1..=4)
        .map(|n| table.insert(tuple(n), None, n, IDLE, now))
        .collect();
    table.confirm(ids[0]);
    assert_eq!(table.evictable(), Some(ids[1]));
    table.remove(ids[1]);
    assert_eq!(table.evictable(), Some(ids[2]));
    table.confirm(ids[2]);
    table.confirm(ids[2]);
    assert_eq!(table.evictable(), Some(ids[3]));
    table.remove(ids[3]);
    assert_eq!(table.evictable(), None);
    let newest = table.insert(tuple(9), None, 9, IDLE, now);
    assert_eq!(table.evictable(), Some(newest));
}

#[derive(Clone, Debug)]
enum Step {
    Datagram(u16),
    Confirm(u16),
    Remove(u16),
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..40u16).prop_map(Step::Datagram),
        2 => (0..40u16).prop_map(Step::Confirm),
        1 => (0..40u16).prop_map(Step::Remove),
        2 => (1..40_000u16).prop_map(Step::Wait),
    ]
}

struct Modelled {
    active: Instant,
    born: usize,
    confirmed: bool,
}

proptest! {
    #[test]
    fn it_does_what_a_plain_map_does(steps in proptest::collection::vec(step(), 1..300)) {
        let (mut table, start) = table();
        let mut now = start;
        let mut model: HashMap<u16, Modelled> = HashMap::new();
        for (born, step) in steps.into_iter().enumerate() {
            match step {
                Step::Datagram(n) => {
                    match table.find(&tuple(n), None) {
                        Some(id) => table.touch(id, now),
                        None => { table.insert(tuple(n), None, n, IDLE, now); }
                    }
                    model.entry(n).or_insert(Modelled { active: now, born, confirmed: false }).active = now;
                }
                Step::Confirm(n) => {
                    if let Some(id) = table.find(&tuple(n), None) {
                        table.confirm(id);
                    }
                    if let Some(flow) = model.get_mut(&n) {
                        flow.confirmed = true;
                    }
                }
                Step::Remove(n) => {
                    let removed = table.find(&tuple(n), None).and_then(|id| table.remove(id));
                    prop_assert_eq!(removed.map(|flow| flow.carried), model.remove(&n).map(|_| n));
                }
                Step::Wait(millis) => {
                    now += Duration::from_millis(u64::from(millis));
                    // The wheel's precision: a flow may stay a tick longer, and one that is looked at later still.
                    for gone in expired(&mut table, now) {
                        let flow = model.remove(&gone).unwrap();
                        prop_assert!(now - flow.active + crate::wheel::TICK >= IDLE);
                    }
                    let late = model.values().filter(|flow| now - flow.active > IDLE + crate::wheel::TICK * 3);
                    prop_assert_eq!(late.count(), 0);
                }
            }
            prop_assert_eq!(table.len(), model.len());
            let oldest = model.iter().filter(|(_, flow)| !flow.confirmed).min_by_key(|(_, flow)| flow.born);
            let evictable = table.evictable().map(|id| table.get(id).unwrap().carried);
            prop_assert_eq!(evictable, oldest.map(|(n, _)| *n));
            for n in 0..40 {
                prop_assert_eq!(table.find(&tuple(n), None).is_some(), model.contains_key(&n));
            }
        }
    }
}
