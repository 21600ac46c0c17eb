//! Live flows on their way from one process to the other. A batch is the receiver's once it has said so, and not before: up to there
//! the sender can take it back, so that no flow is ever served by two or by none.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use portolan_config::flow::PickReason;
use portolan_config::units::{AcceleratorName, EndpointId, Region};
use portolan_proxy::{HandedFlow, HandedPipe};
use tracing::{info, warn};

use super::STEP;
use super::datagrams::{give_datagrams, take_datagrams};
use super::message::{FlowItem, Message, PipeItem};
use super::offer::Successor;
use super::wire::{Frame, MOST_DESCRIPTORS, Wire, invalid};
use crate::assembly::Estate;

/// Flows of a message.
const BATCH: usize = MOST_DESCRIPTORS / 2;

/// Kept bytes of a message: a batch of flows that keep more is sent in several.
const BATCH_BYTES: usize = 16 << 20;

/// How often flows that are still connecting are looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Gives away what the successor wants: flows of UDP first, since datagrams wait for them.
pub(crate) fn give_flows(estate: &Estate, successor: &Successor, until: Instant) {
    if successor.datagrams
        && let Err(error) = give_datagrams(estate, &successor.wire)
    {
        warn!(%error, flows = estate.active_flows(), "not all flows of UDP were handed over; the rest finishes here");
        return;
    }
    if successor.with_flows {
        give_streams(estate, successor, until);
    }
}

/// Gives all flows of TCP away: the established ones at once, the others as soon as they are. Ends when none is left, when `until` has
/// come, or when the successor takes no more; then what is left stays here.
fn give_streams(estate: &Estate, successor: &Successor, until: Instant) {
    let began = Instant::now();
    let mut given = 0;
    let outcome = give_all(estate, &successor.wire, until, &mut given);
    let (took, left) = (began.elapsed(), estate.active_flows());
    match outcome {
        Ok(()) => info!(flows = given, left, ?took, "live flows were handed over"),
        Err(error) => {
            warn!(%error, flows = given, left, "not all flows were handed over; the rest finishes here")
        }
    }
}

fn give_all(estate: &Estate, wire: &Wire, until: Instant, given: &mut usize) -> io::Result<()> {
    loop {
        let mut flows = estate.export_flows();
        while !flows.is_empty() {
            let batch = next_batch(&mut flows);
            let count = batch.len();
            if let Err(Untaken { error, flows: back }) = give(wire, batch) {
                flows.extend(back);
                estate.adopt_flows(flows);
                return Err(error);
            }
            *given += count;
        }
        if estate.active_flows() == 0 || Instant::now() >= until {
            return wire.say(&Message::FlowsEnd, STEP);
        }
        thread::sleep(LOOK_AGAIN);
    }
}

fn next_batch(flows: &mut Vec<HandedFlow>) -> Vec<HandedFlow> {
    let mut bytes = 0;
    let fits = flows.iter().take(BATCH).take_while(|flow| {
        let before = bytes;
        bytes += flow.inbound.kept.len() + flow.outbound.kept.len();
        before < BATCH_BYTES
    });
    let count = fits.count();
    flows.drain(..count).collect()
}

/// A batch that was not taken. Without flows: whether it was cannot be known, so they are gone.
pub(super) struct Untaken {
    error: io::Error,
    pub(super) flows: Vec<HandedFlow>,
}

pub(super) fn give(wire: &Wire, batch: Vec<HandedFlow>) -> Result<(), Untaken> {
    let items = batch.iter().map(FlowItem::of).collect();
    let descriptors: Vec<BorrowedFd<'_>> = batch
        .iter()
        .flat_map(|flow| [flow.client.as_fd(), flow.endpoint.as_fd()])
        .collect();
    let kept = batch
        .iter()
        .flat_map(|flow| [flow.inbound.kept.as_slice(), flow.outbound.kept.as_slice()]);
    let blob = kept.collect::<Vec<_>>().concat();
    let said = wire
        .send(&Message::Flows { items }, &descriptors, &blob, STEP)
        .and_then(|()| wire.expect(&Message::Taken, STEP));
    let Err(error) = said else {
        return Ok(());
    };
    // Silence may mean that it has them and is slow to say so. They must not be served by both: closed here, they go on there or end.
    let flows = if error.kind() == ErrorKind::TimedOut {
        Vec::new()
    } else {
        batch
    };
    Err(Untaken { error, flows })
}

/// Takes what the predecessor gives until it has no more: flows of UDP, and those of TCP if they were asked for.
pub(super) fn take_flows(
    estate: &Estate,
    wire: &Wire,
    (datagrams, streams): (bool, bool),
    within: Duration,
) -> io::Result<usize> {
    if datagrams {
        take_datagrams(estate, wire, within)?;
    }
    let mut taken = 0;
    if !streams {
        return Ok(taken);
    }
    loop {
        let Frame {
            message,
            descriptors,
            blob,
        } = wire.receive(within)?;
        if message == Message::FlowsEnd {
            return Ok(taken);
        }
        let Message::Flows { items } = message else {
            return Err(message.unexpected());
        };
        let flows = unpack(items, descriptors, &blob)?;
        // They are ours when this has been said, and are not touched before: the predecessor may still want them back.
        wire.say(&Message::Taken, STEP)?;
        taken += flows.len();
        estate.adopt_flows(flows);
    }
}

pub(super) fn unpack(
    items: Vec<FlowItem>,
    descriptors: Vec<OwnedFd>,
    blob: &[u8],
) -> io::Result<Vec<HandedFlow>> {
    if descriptors.len() != items.len() * 2 {
        return Err(invalid("two descriptors make a flow"));
    }
    let mut rest = blob;
    let mut kept = |pipe: &PipeItem| {
        let (kept, after) = rest
            .split_at_checked(pipe.kept)
            .ok_or_else(|| invalid("kept bytes are missing"))?;
        rest = after;
        Ok::<_, io::Error>(kept.to_vec())
    };
    let mut sockets = descriptors.into_iter();
    let mut flows = Vec::with_capacity(items.len());
    for item in items {
        let (inbound, outbound) = (kept(&item.inbound)?, kept(&item.outbound)?);
        let (Some(client), Some(endpoint)) = (sockets.next(), sockets.next()) else {
            return Err(invalid("two descriptors make a flow"));
        };
        flows.push(item.flow(client, endpoint, inbound, outbound));
    }
    Ok(flows)
}

impl FlowItem {
    fn of(flow: &HandedFlow) -> Self {
        let HandedFlow {
            client: _,
            endpoint: _,
            id,
            accelerator,
            region,
            endpoint_id,
            client_addr,
            listener_addr,
            endpoint_addr,
            age,
            idle,
            connect_took,
            attempts,
            reason,
            endpoint_finished_first,
            drain_left,
            inbound,
            outbound,
        } = flow;
        Self {
            id: *id,
            accelerator: accelerator.to_string(),
            region: region.to_string(),
            endpoint: endpoint_id.to_string(),
            client_addr: *client_addr,
            listener_addr: *listener_addr,
            endpoint_addr: *endpoint_addr,
            age: *age,
            idle: *idle,
            connect_took: *connect_took,
            attempts: *attempts,
            reason: reason.as_str().to_owned(),
            endpoint_finished_first: *endpoint_finished_first,
            drain_left: *drain_left,
            inbound: PipeItem::of(inbound),
            outbound: PipeItem::of(outbound),
        }
    }

    fn flow(
        self,
        client: OwnedFd,
        endpoint: OwnedFd,
        inbound: Vec<u8>,
        outbound: Vec<u8>,
    ) -> HandedFlow {
        HandedFlow {
            client,
            endpoint,
            id: self.id,
            accelerator: AcceleratorName::new(self.accelerator),
            region: Region::new(self.region),
            endpoint_id: EndpointId::new(self.endpoint),
            client_addr: self.client_addr,
            listener_addr: self.listener_addr,
            endpoint_addr: self.endpoint_addr,
            age: self.age,
            idle: self.idle,
            connect_took: self.connect_took,
            attempts: self.attempts,
            reason: reason(&self.reason),
            endpoint_finished_first: self.endpoint_finished_first,
            drain_left: self.drain_left,
            inbound: self.inbound.pipe(inbound),
            outbound: self.outbound.pipe(outbound),
        }
    }
}

impl PipeItem {
    fn of(pipe: &HandedPipe) -> Self {
        let HandedPipe {
            bytes,
            reads,
            eof,
            shut,
            kept,
            ours,
        } = pipe;
        Self {
            bytes: *bytes,
            reads: *reads,
            eof: *eof,
            shut: *shut,
            kept: kept.len(),
            ours: *ours,
        }
    }

    fn pipe(&self, kept: Vec<u8>) -> HandedPipe {
        HandedPipe {
            bytes: self.bytes,
            reads: self.reads,
            eof: self.eof,
            shut: self.shut,
            ours: self.ours.min(kept.len()),
            kept,
        }
    }
}

/// A word that only a newer release has says no more than that there was a pick.
pub(super) fn reason(word: &str) -> PickReason {
    let known = [
        PickReason::Nearest,
        PickReason::Dial,
        PickReason::Failover,
        PickReason::FailOpen,
        PickReason::Retry,
        PickReason::Hedge,
        PickReason::Connection,
    ];
    let found = known.into_iter().find(|reason| reason.as_str() == word);
    found.unwrap_or(PickReason::Nearest)
}
