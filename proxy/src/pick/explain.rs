//! Which endpoint a new flow of a client would get, and why the others get nothing: the pick's own walk, told. Called for
//! `why`, never for a flow.

use std::net::{IpAddr, SocketAddr};

use portolan_config::address::{ClientAddr, ListenerAddr};
use portolan_config::explain::{Chosen, EndpointExplanation, Explanation, GroupExplanation};
use portolan_config::health::HealthState;
use portolan_config::model::{ClientAffinity, Protocol};
use portolan_config::snapshot::{EndpointSnapshot, GroupSnapshot, ListenerSnapshot, Snapshot};

use super::{Candidate, Pool, candidates, key, listener};

/// Further candidates that are told.
const THEN: usize = 8;

/// Explains the pick; `None` when no listener takes flows to that address. Without a client port a listener with affinity
/// `NONE` has no one answer: shares are told, and nothing is chosen.
pub fn explain(
    snapshot: &Snapshot,
    client: IpAddr,
    client_port: Option<u16>,
    to: ListenerAddr,
    protocol: Protocol,
) -> Option<Explanation> {
    let listener = listener(snapshot, to, protocol)?;
    let port = match listener.client_affinity {
        ClientAffinity::SourceIp => Some(client_port.unwrap_or_default()),
        ClientAffinity::None => client_port,
    };
    let chosen =
        port.and_then(|port| chosen(listener, ClientAddr(SocketAddr::new(client, port)), to));
    let flow = Split::of(listener);
    let groups = listener.groups.iter().enumerate();
    Some(Explanation {
        generation: snapshot.generation,
        client: match client_port {
            Some(port) => SocketAddr::new(client, port).to_string(),
            None => client.to_string(),
        },
        to: format!("{to}/{protocol}"),
        accelerator: listener.accelerator.to_string(),
        client_affinity: listener.client_affinity.as_str().to_owned(),
        chosen,
        groups: groups
            .map(|(order, group)| explain_group(&flow, listener, order, group))
            .collect(),
    })
}

fn chosen(listener: &ListenerSnapshot, client: ClientAddr, to: ListenerAddr) -> Option<Chosen> {
    let mut walk = candidates(listener, key(listener, client, to));
    let first = walk.next(listener)?;
    let name = |c: &Candidate| {
        let group = &listener.groups[c.group];
        (
            group.region.to_string(),
            group.endpoints[c.endpoint].id.to_string(),
        )
    };
    let (region, endpoint) = name(&first);
    let then = std::iter::from_fn(|| walk.next(listener))
        .take(THEN)
        .map(|c| {
            let (region, endpoint) = name(&c);
            format!("{region}/{endpoint} {}", c.to)
        });
    Some(Chosen {
        region,
        endpoint,
        address: first.to.to_string(),
        reason: first.reason.as_str().to_owned(),
        then: then.collect(),
    })
}

/// How new flows are split over the groups, as fractions of all.
struct Split {
    /// What the dials give each group, by order.
    dialled: Vec<f64>,
    /// Of that, what nobody took and the last group was left with.
    left_over: f64,
    /// What each group gets in the end.
    gets: Vec<f64>,
    /// Where the flows go whose group has no available endpoint.
    takes_over: Option<usize>,
    /// Which endpoints they are given to.
    pool: Pool,
}

impl Split {
    fn of(listener: &ListenerSnapshot) -> Split {
        let groups = &listener.groups;
        let (dialled, left_over) = dialled(listener);
        let has = |pool: Pool| move |group: &usize| usable_weight(&groups[*group], pool) > 0;
        let nearest = |pool| (0..groups.len()).find(has(pool));
        let (takes_over, pool) = match nearest(Pool::Available) {
            Some(group) => (Some(group), Pool::Available),
            None if listener.settings.fail_open => (nearest(Pool::Open), Pool::Open),
            None => (None, Pool::Available),
        };
        let keeps = |group: &usize| usable_weight(&groups[*group], Pool::Available) > 0;
        let mut gets = dialled.clone();
        // With every dial at 0 no group was given anything.
        let mut homeless = if dialled.iter().all(|share| *share == 0.0) {
            1.0
        } else {
            0.0
        };
        for group in (0..groups.len()).filter(|group| !keeps(group)) {
            homeless += std::mem::take(&mut gets[group]);
        }
        if let Some(group) = takes_over {
            gets[group] += homeless;
        }
        Split {
            dialled,
            left_over,
            gets,
            takes_over,
            pool,
        }
    }
}

/// What the walk over the dials gives each group, and how much of it is what the last one was left with.
fn dialled(listener: &ListenerSnapshot) -> (Vec<f64>, f64) {
    let mut reaching = 1.0;
    let mut last = None;
    let mut shares: Vec<f64> = Vec::with_capacity(listener.groups.len());
    for (index, group) in listener.groups.iter().enumerate() {
        let takes = reaching * group.traffic_dial.percent() / 100.0;
        reaching -= takes;
        shares.push(takes);
        if !group.traffic_dial.is_zero() {
            last = Some(index);
        }
    }
    match last {
        Some(last) => {
            shares[last] += reaching;
            (shares, reaching)
        }
        None => (shares, 0.0),
    }
}

fn usable_weight(group: &GroupSnapshot, pool: Pool) -> u64 {
    let usable = |i: &usize| !group.endpoints[*i].is_full();
    pool.of(group)
        .iter()
        .filter(usable)
        .map(|i| u64::from(group.endpoints[i].weight.0))
        .sum()
}

fn explain_group(
    split: &Split,
    listener: &ListenerSnapshot,
    order: usize,
    group: &GroupSnapshot,
) -> GroupExplanation {
    let pool = if split.takes_over == Some(order) {
        split.pool
    } else {
        Pool::Available
    };
    let total = usable_weight(group, pool);
    let among = pool.of(group);
    let endpoint = |(index, endpoint): (usize, &EndpointSnapshot)| {
        let takes = among.contains(index) && !endpoint.is_full() && split.gets[order] > 0.0;
        let share = match takes {
            true => split.gets[order] * f64::from(endpoint.weight.0) / total as f64,
            false => 0.0,
        };
        EndpointExplanation {
            id: endpoint.id.to_string(),
            weight: endpoint.weight.0,
            health: endpoint.health.as_str().to_owned(),
            share_percent: share * 100.0,
            why_not: (!takes).then(|| why_not(endpoint, group, split.gets[order])),
        }
    };
    GroupExplanation {
        region: group.region.to_string(),
        order,
        distance_ms: group.distance.map(|d| d.as_secs_f64() * 1e3),
        traffic_dial: group.traffic_dial.percent(),
        verdict: verdict(split, listener, order, group),
        endpoints: group.endpoints.iter().enumerate().map(endpoint).collect(),
    }
}

/// Why an endpoint gets nothing: what the operator asked for first, then its health, then its group.
fn why_not(endpoint: &EndpointSnapshot, group: &GroupSnapshot, group_gets: f64) -> String {
    let reason = endpoint.reason.as_deref();
    if endpoint.weight.is_zero() {
        return "weight 0".to_owned();
    }
    if endpoint.draining {
        return "draining".to_owned();
    }
    match endpoint.health {
        HealthState::Down => return format!("DOWN: {}", reason.unwrap_or("its check fails")),
        HealthState::Unknown => return format!("UNKNOWN: {}", reason.unwrap_or("not checked yet")),
        HealthState::Up => {}
    }
    if endpoint.is_full() {
        return format!("at max_flows {}", endpoint.max_flows);
    }
    let why = match (group_gets > 0.0, group.traffic_dial.is_zero()) {
        (true, _) => return "no address".to_owned(),
        (false, true) => "its dial is 0 and nearer groups have available endpoints",
        (false, false) => "nearer groups' dials take all of it",
    };
    format!("group {} gets nothing: {why}", group.region)
}

/// What was decided about a group, a sentence.
fn verdict(
    split: &Split,
    listener: &ListenerSnapshot,
    order: usize,
    group: &GroupSnapshot,
) -> String {
    let dialled = split.dialled[order];
    let mut text = match (group.traffic_dial.is_zero(), dialled > 0.0) {
        (true, _) => "dial 0: takes nothing by dial".to_owned(),
        (false, false) => "gets nothing: nearer groups' dials take all of it".to_owned(),
        (false, true) => format!(
            "its dial takes {} of new flows",
            percent(dialled - split.left_of(order, listener))
        ),
    };
    let left = split.left_of(order, listener);
    if left > 0.0 {
        text += &format!(
            ", and as the last group it gets the {} that no dial took",
            percent(left)
        );
    }
    let has_own = usable_weight(group, Pool::Available) > 0;
    let over = split.gets[order] - if has_own { dialled } else { 0.0 };
    match (split.takes_over == Some(order), split.pool) {
        (true, Pool::Available) if over > 1e-12 => {
            text += &format!(
                "; failover: gets {} as the nearest group with an available endpoint",
                percent(over)
            );
        }
        (true, Pool::Open) => {
            text += "; fail open: no endpoint of any group is available, and this is the nearest that may be tried";
        }
        (true, Pool::Available) | (false, _) if !has_own => {
            text += "; has no available endpoint";
            if dialled > 0.0 {
                text += &match split.takes_over {
                    Some(other) => {
                        format!(", so its flows go to {}", listener.groups[other].region)
                    }
                    None => ", nor has any other group: its flows are refused".to_owned(),
                };
            }
        }
        (true, Pool::Available) | (false, _) => {}
    }
    text
}

impl Split {
    /// What of the group's share is what nobody took.
    fn left_of(&self, order: usize, listener: &ListenerSnapshot) -> f64 {
        let last = listener
            .groups
            .iter()
            .rposition(|g| !g.traffic_dial.is_zero());
        if last == Some(order) {
            self.left_over
        } else {
            0.0
        }
    }
}

/// A fraction as a percentage with two digits at most.
fn percent(fraction: f64) -> String {
    let text = format!("{:.2}", fraction * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}
