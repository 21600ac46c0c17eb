//! Who is let in: the caps on flows and on their rate. Asked before anything is spent on a connection, so that refusing is
//! cheaper than accepting. Counts are shared by the workers; those of sources are estimates (count-min sketches that may count a
//! source a little high, never low) of fixed size, so that no flood of addresses makes them grow.

use std::net::IpAddr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use pingora_limits::inflight::{Guard, Inflight};
use portolan_config::model::{Limits, ListenerSettings};
use portolan_config::stats::{EdgeStats, Limit, ListenerStats};

use crate::rate::Rate;
use crate::udp;

pub(crate) struct Gate {
    /// Less while there are more listening sockets.
    max_flows: AtomicU32,
    source_flows: Option<(Inflight, isize)>,
    source_rate: Option<(Rate, isize)>,
    listener_rate: Rate,
    /// Flows of UDP that the descriptors beside those of TCP allow; TCP's take two each.
    datagram_flows: AtomicU32,
    /// How many of those the table has room for.
    max_datagram_flows: u32,
    /// The cap that the operator asked for.
    asked_max_flows: u32,
}

impl Gate {
    /// `max_flows` is the effective cap on all flows.
    pub(crate) fn new(limits: &Limits, max_flows: u32) -> Self {
        let cap = |limit: u32| (limit > 0).then_some(limit as isize);
        Self {
            max_flows: AtomicU32::new(max_flows),
            source_flows: cap(limits.max_flows_per_source).map(|cap| (Inflight::new(), cap)),
            source_rate: cap(limits.new_flows_per_source).map(|cap| (Rate::new(), cap)),
            listener_rate: Rate::new(),
            datagram_flows: AtomicU32::new(0),
            max_datagram_flows: match limits.flow_table {
                0 => u32::MAX,
                bytes => u32::try_from(bytes / udp::FLOW_BYTES).unwrap_or(u32::MAX),
            },
            asked_max_flows: limits.max_flows,
        }
    }

    /// The cap on all flows.
    pub(crate) fn max_flows(&self) -> u32 {
        self.max_flows.load(Relaxed)
    }

    /// Lets so many flows in from here on.
    pub(crate) fn allow(&self, max_flows: u32) {
        self.max_flows.store(max_flows, Relaxed);
    }

    /// Counts a flow in, for all and for its listener, unless one of them is full.
    pub(crate) fn admit(
        &self,
        edge: &EdgeStats,
        listener: &ListenerStats,
        settings: &ListenerSettings,
        now: Instant,
    ) -> Result<(), Limit> {
        self.admit_rate(listener, settings, now)?;
        // Two flows of UDP hold as many descriptors as one of TCP.
        let datagram_flows = self.datagram_flows.load(Relaxed);
        let others = edge.active_flows.fetch_add(1, Relaxed);
        let full = self.asked_max_flows > 0 && others >= self.asked_max_flows;
        if full || others.saturating_sub(datagram_flows / 2) >= self.max_flows() {
            edge.active_flows.fetch_sub(1, Relaxed);
            return Err(Limit::Flows);
        }
        let flows = listener.active_flows.fetch_add(1, Relaxed);
        if settings.max_flows > 0 && flows >= settings.max_flows {
            self.leave(edge, listener);
            return Err(Limit::ListenerFlows);
        }
        Ok(())
    }

    /// Whether a listener takes another flow by its rate. Of UDP's flows it is asked before [`Gate::admit_datagrams`].
    pub(crate) fn admit_rate(
        &self,
        listener: &ListenerStats,
        settings: &ListenerSettings,
        now: Instant,
    ) -> Result<(), Limit> {
        if settings.new_flows > 0 {
            // The counters' address names the listener: they are the same over all generations.
            let name = std::ptr::from_ref(listener) as usize;
            if self.listener_rate.observe(&name, now) > settings.new_flows as isize {
                return Err(Limit::ListenerRate);
            }
        }
        Ok(())
    }

    /// Counts a flow of UDP in, which holds one descriptor and a place in the table.
    pub(crate) fn admit_datagrams(
        &self,
        edge: &EdgeStats,
        listener: &ListenerStats,
        settings: &ListenerSettings,
    ) -> Result<(), Limit> {
        let flows = self.datagram_flows.fetch_add(1, Relaxed);
        let all = edge.active_flows.fetch_add(1, Relaxed);
        let here = listener.active_flows.fetch_add(1, Relaxed);
        let descriptors = u64::from(all.saturating_sub(flows)) * 2 + u64::from(flows);
        let limit = if flows >= self.max_datagram_flows {
            Limit::FlowTable
        } else if self.asked_max_flows > 0 && all >= self.asked_max_flows
            || descriptors >= u64::from(self.max_flows()) * 2
        {
            Limit::Flows
        } else if settings.max_flows > 0 && here >= settings.max_flows {
            Limit::ListenerFlows
        } else {
            return Ok(());
        };
        self.leave_datagrams(edge, listener);
        Err(limit)
    }

    /// Counts a predecessor's flow of UDP in, which is there whatever the caps say.
    pub(crate) fn readmit_datagrams(&self, edge: &EdgeStats, listener: &ListenerStats) {
        self.datagram_flows.fetch_add(1, Relaxed);
        edge.active_flows.fetch_add(1, Relaxed);
        listener.active_flows.fetch_add(1, Relaxed);
    }

    /// Counts a predecessor's flow in for its source, whatever the caps say.
    pub(crate) fn readmit_source(&self, source: IpAddr) -> Option<Box<Guard>> {
        let (flows, _) = self.source_flows.as_ref()?;
        let (guard, _) = flows.incr(SourceKey::of(source), 1);
        Some(Box::new(guard))
    }

    /// Counts a flow of UDP out.
    pub(crate) fn leave_datagrams(&self, edge: &EdgeStats, listener: &ListenerStats) {
        self.datagram_flows.fetch_sub(1, Relaxed);
        self.leave(edge, listener);
    }

    /// Counts a flow out.
    pub(crate) fn leave(&self, edge: &EdgeStats, listener: &ListenerStats) {
        edge.active_flows.fetch_sub(1, Relaxed);
        listener.active_flows.fetch_sub(1, Relaxed);
    }

    /// Counts a flow in for its source. The guard counts it out again.
    pub(crate) fn admit_source(
        &self,
        source: IpAddr,
        now: Instant,
    ) -> Result<Option<Box<Guard>>, Limit> {
        let source = SourceKey::of(source);
        if let Some((rate, cap)) = &self.source_rate
            && rate.observe(&source, now) > *cap
        {
            return Err(Limit::SourceRate);
        }
        let Some((flows, cap)) = &self.source_flows else {
            return Ok(None);
        };
        let (guard, count) = flows.incr(source, 1);
        if count > *cap {
            return Err(Limit::SourceFlows);
        }
        Ok(Some(Box::new(guard)))
    }
}

/// A source as it is counted: an IPv4 address, or the /64 of an IPv6 one, which is what one subscriber gets.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum SourceKey {
    V4([u8; 4]),
    V6([u16; 4]),
}

impl SourceKey {
    fn of(source: IpAddr) -> Self {
        match source.to_canonical() {
            IpAddr::V4(ip) => SourceKey::V4(ip.octets()),
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments();
                SourceKey::V6([a, b, c, d])
            }
        }
    }
}
