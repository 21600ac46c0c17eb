//! One run: everything fresh, a while of traffic, the fault, and what became of it. Measured on the wire at the PoP: the last new connection
//! that left for the dead place. Where there is no traffic: when the contestant's own state says that the place is dead.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::join_all;
use portolan_tests::lab::Opened;
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

use super::clients::{Attempt, Clients, Stay, carry_on};
use super::contestants::{Contestant, Running};
use super::faults::Fault;
use super::place::{Ground, NEAR, PORTOLAN_SOURCE, Place};

/// New connections of each before the fault: everybody has connect times to go by.
const WARM_UP: usize = 50;

/// Without traffic: checks have begun and know their round trips.
const SETTLE: Duration = Duration::from_millis(1500);

/// How often it is looked who has left.
const LOOK: Duration = Duration::from_millis(50);

/// How often everybody is asked where nothing is on the wire.
const ASK: Duration = Duration::from_millis(2);

/// After all have left, so that what they did with their clients is seen.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// So that the fault meets every phase of every schedule.
const PHASES: Duration = Duration::from_millis(1000);

/// Without a connection to the dead place for so long, it has been left. Longer than any retry.
const LEFT: Duration = Duration::from_millis(1500);

/// Who has not left by then, does not within this report.
const LONGEST: Duration = Duration::from_secs(20);

/// One contestant at one place under one fault.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) fault: String,
    pub(crate) contestant: String,
    pub(crate) rtt: u32,
    /// From the fault to the last new connection that left the PoP for the dead place, milliseconds; at least [`LONGEST`] when it never left.
    pub(crate) last: f64,
    /// New connections of clients that began after the fault, until the place was left and a second more.
    pub(crate) begun: usize,
    /// Those of them without an answer.
    pub(crate) failed: usize,
    /// The slowest answer of them, milliseconds.
    pub(crate) slowest: f64,
    /// From the fault to the end of the last connection that stayed at the dead place, milliseconds; `None`: one was still there.
    pub(crate) stranded: Option<f64>,
    /// Connections that stayed at the dead place.
    pub(crate) staying: usize,
    /// The longest that the emulator delivered a packet after its time, milliseconds: what the lab itself may have added.
    pub(crate) late: f64,
}

/// Runs it once for all; `None` where there is no lab.
pub(crate) async fn once(fault: Fault, who: &[Contestant]) -> Result<Option<Vec<Sample>>> {
    let Some(ground) = Ground::start().await? else {
        return Ok(None);
    };
    fault.prepare(&ground).await;
    let mut running = Vec::new();
    for who in who {
        running.push(who.start(&ground.lab, fault.check()).await?);
    }
    let samples = if fault.has_traffic() {
        under_traffic(fault, &ground, &running).await?
    } else {
        idle(fault, &ground, &running).await?
    };
    Ok(Some(samples))
}

async fn at_some_phase() {
    carry_on(PHASES.mul_f64(rand::rng().random::<f64>())).await;
}

/// Who is struck, and where.
type Pair = (Contestant, Place);

fn pairs(running: &[Running]) -> Vec<Pair> {
    let all = |running: &Running| {
        let who = running.who;
        Place::all().map(move |place| (who, place))
    };
    running.iter().flat_map(all).collect()
}

async fn under_traffic(fault: Fault, ground: &Ground, running: &[Running]) -> Result<Vec<Sample>> {
    let mut clients = Vec::new();
    for (who, place) in pairs(running) {
        let node = ground.lab.node("client");
        clients.push(((who, place), Clients::start(node, who.entry(place)).await));
    }
    for (_, clients) in &clients {
        clients.until_answered(WARM_UP).await;
    }
    at_some_phase().await;
    ground.lab.record();
    let struck = fault.strike(ground).await;
    let last = until_left(fault, ground, &struck, &pairs(running)).await;
    carry_on(AFTERWARDS).await;
    let mut samples = Vec::new();
    for (pair, clients) in clients {
        let (attempts, stays) = clients.stop().await;
        let struck = struck[pair.1.index];
        let last = last[&(pair.0.endpoint_port(), pair.1.index)];
        let mut sample = Sample {
            fault: fault.word().to_owned(),
            contestant: pair.0.name().to_owned(),
            rtt: pair.1.rtt(),
            last: milliseconds(last),
            begun: 0,
            failed: 0,
            slowest: 0.0,
            stranded: None,
            staying: 0,
            late: lateness(ground, pair.1),
        };
        judge_attempts(&mut sample, &attempts, struck);
        judge_stays(&mut sample, fault, pair.1, &stays, struck);
        samples.push(sample);
    }
    Ok(samples)
}

/// The last new connection to the dead place, as long after the fault, by endpoint port and place.
async fn until_left(
    fault: Fault,
    ground: &Ground,
    struck: &[Instant],
    pairs: &[Pair],
) -> HashMap<(u16, usize), Duration> {
    let mut last: HashMap<(u16, usize), Duration> = pairs
        .iter()
        .map(|(who, place)| ((who.endpoint_port(), place.index), Duration::ZERO))
        .collect();
    let began = Instant::now();
    loop {
        carry_on(LOOK).await;
        for opened in ground.lab.record() {
            if let Some(place) = meets(fault, &opened) {
                let after = opened.at.saturating_duration_since(struck[place.index]);
                if let Some(last) = last.get_mut(&(opened.to.port(), place.index)) {
                    *last = after.max(*last);
                }
            }
        }
        let passed = began.elapsed();
        if passed > LONGEST || last.values().all(|last| passed > *last + LEFT) {
            return last;
        }
    }
}

/// Which dead place a connection was begun to; `None` for one to somebody who lives, or for a probe.
fn meets(fault: Fault, opened: &Opened) -> Option<Place> {
    let place = Place::all().find(|place| {
        let dead = fault.strikes().iter().map(|index| place.endpoint(*index));
        dead.into_iter().any(|address| address == opened.to.ip())
    })?;
    let ours = opened.to.port() == Contestant::Portolan.endpoint_port();
    (!ours || opened.from.ip().to_string() == PORTOLAN_SOURCE).then_some(place)
}

fn lateness(ground: &Ground, place: Place) -> f64 {
    let counted = ground.lab.link("pop", place.name()).counted();
    let latest = counted.iter().map(|counted| counted.latest).max();
    latest.map_or(0.0, milliseconds)
}

fn judge_attempts(sample: &mut Sample, attempts: &[Attempt], struck: Instant) {
    let after: Vec<&Attempt> = attempts
        .iter()
        .filter(|attempt| attempt.began > struck)
        .collect();
    sample.begun = after.len();
    sample.failed = after
        .iter()
        .filter(|attempt| attempt.answer.is_none())
        .count();
    let slowest = after.iter().map(|attempt| attempt.took).max();
    sample.slowest = slowest.map_or(0.0, milliseconds);
}

fn judge_stays(sample: &mut Sample, fault: Fault, place: Place, stays: &[Stay], struck: Instant) {
    let dead: Vec<String> = fault
        .strikes()
        .iter()
        .map(|index| format!("{}-{index}", place.name()))
        .collect();
    let stranded: Vec<&Stay> = stays
        .iter()
        .filter(|stay| dead.contains(&stay.endpoint))
        .collect();
    sample.staying = stranded.len();
    let ends: Option<Vec<Instant>> = stranded.iter().map(|stay| stay.ended).collect();
    let last = ends.and_then(|ends| ends.into_iter().max());
    sample.stranded = last.map(|last| milliseconds(last.saturating_duration_since(struck)));
}

/// Everybody's own words, asked all the time.
async fn idle(fault: Fault, ground: &Ground, running: &[Running]) -> Result<Vec<Sample>> {
    carry_on(SETTLE).await;
    at_some_phase().await;
    let struck = fault.strike(ground).await;
    let ask = running.iter().map(|one| until_known(one, ground, &struck));
    let mut samples = Vec::new();
    for (one, known) in running.iter().zip(join_all(ask).await) {
        for place in Place::all() {
            samples.push(Sample {
                fault: fault.word().to_owned(),
                contestant: one.who.name().to_owned(),
                rtt: place.rtt(),
                last: milliseconds(known[place.index].unwrap_or(LONGEST)),
                begun: 0,
                failed: 0,
                slowest: 0.0,
                stranded: None,
                staying: 0,
                late: lateness(ground, place),
            });
        }
    }
    Ok(samples)
}

async fn until_known(
    one: &Running,
    ground: &Ground,
    struck: &[Instant],
) -> [Option<Duration>; NEAR.len()] {
    let mut known = [None; NEAR.len()];
    let began = Instant::now();
    while began.elapsed() < LONGEST && known.iter().any(Option::is_none) {
        let dead = one.holds_dead(&ground.lab).await;
        let now = Instant::now();
        for place in Place::all().filter(|place| dead[place.index]) {
            let after = now.saturating_duration_since(struck[place.index]);
            known[place.index].get_or_insert(after);
        }
        carry_on(ASK).await;
    }
    known
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 10.0
}
