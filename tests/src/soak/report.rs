//! What a run came to: a table for people, JSON for machines.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::gauges::Gauges;
use super::ledger::{FaultKind, Ledger, Totals};
use super::operator::Done;

/// What a run came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Runs with the same one do the same, as far as the machine's time allows.
    pub seed: u64,
    /// How long traffic ran.
    pub seconds: u64,
    /// Flows of TCP that were begun, by kind.
    pub flows: BTreeMap<String, u64>,
    /// Of those: every byte arrived, both ends and the edge's record agree.
    pub whole: u64,
    /// Of those: reset by their clients, as planned.
    pub client_resets: u64,
    /// Of those: ended by what was done to their endpoint, by cause and fault.
    pub explained: BTreeMap<String, u64>,
    /// Bytes of whole flows, each compared, both directions.
    pub bytes: u64,
    /// Flows of UDP.
    pub datagram_flows: u64,
    /// Datagrams sent; each came back once, but for those lost.
    pub datagrams: u64,
    /// Lost while their endpoint was killed or drained.
    pub datagrams_lost_by_fault: u64,
    /// Flows of UDP that went to another endpoint because theirs was killed or drained.
    pub datagram_flows_moved_by_fault: u64,
    /// Flow records that were read.
    pub records: u64,
    /// What was done to endpoints.
    pub faults: BTreeMap<String, u64>,
    /// Times an endpoint stood still; nothing may come of it.
    pub endpoint_stalls: u64,
    /// What was done to the edge.
    pub operations: Done,
    /// A fresh process after its first flows, idle.
    pub fresh: Gauges,
    /// The last process at the end, idle.
    pub last: Gauges,
    /// The most that any process held.
    pub peak: Gauges,
    /// Memory under load of the last process when it was young, and at the end, in KiB.
    pub loaded_kib: [u64; 2],
    /// What nothing explains.
    pub findings: u64,
    /// The first of them.
    pub first_findings: Vec<String>,
}

/// Slack of descriptors and tasks: a probe or a question under way when they are counted.
const UNDER_WAY: u64 = 4;

/// Slack of memory: what an allocator keeps of a peak.
const KEPT_KIB: u64 = 16 * 1024;

impl Report {
    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.findings == 0
    }

    /// Enters what the ledger counted.
    pub(super) fn enter(&mut self, ledger: &Ledger, totals: &Totals) {
        let kinds = totals.by_kind.iter();
        self.flows = kinds
            .map(|(kind, count)| (kind.name().to_owned(), *count))
            .collect();
        self.whole = totals.whole;
        self.client_resets = totals.aborted;
        let named = |(cause, fault): &(String, FaultKind)| format!("{cause}: {}", fault.name());
        let explained = totals.explained.iter();
        self.explained = explained.map(|(key, count)| (named(key), *count)).collect();
        self.bytes = totals.bytes;
        self.records = totals.records;
        let faults = ledger.faults().into_iter();
        self.faults = faults
            .map(|(kind, count)| (kind.name().to_owned(), count))
            .collect();
        self.findings = totals.findings;
        self.first_findings.clone_from(&totals.first_findings);
    }

    /// What has grown though it must not.
    pub(super) fn growth(&self) -> Vec<String> {
        let (fresh, last) = (self.fresh, self.last);
        let mut grown = Vec::new();
        let mut demand = |what: &str, now: u64, most: u64| {
            if now > most {
                grown.push(format!("{what} grew: {now}, at most {most} were expected"));
            }
        };
        demand(
            "descriptors",
            last.descriptors,
            fresh.descriptors + UNDER_WAY,
        );
        demand("threads", last.threads, fresh.threads);
        demand("tasks", last.tasks, fresh.tasks + UNDER_WAY);
        let idle = fresh.anonymous_kib * 3 / 2 + KEPT_KIB;
        demand("idle memory (KiB)", last.anonymous_kib, idle);
        let loaded = self.loaded_kib[0] * 5 / 4 + KEPT_KIB;
        demand("memory under load (KiB)", self.loaded_kib[1], loaded);
        grown
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |what: &str, value: String| writeln!(f, "  {what:<34} {value}");
        row("seed", self.seed.to_string())?;
        row("seconds", self.seconds.to_string())?;
        row("TCP flows", self.flows.values().sum::<u64>().to_string())?;
        for (kind, count) in &self.flows {
            row(&format!("  {kind}"), count.to_string())?;
        }
        row("  whole, byte for byte", self.whole.to_string())?;
        row(
            "  reset by their clients as planned",
            self.client_resets.to_string(),
        )?;
        for (why, count) in &self.explained {
            row(&format!("  {why}"), count.to_string())?;
        }
        row("bytes compared", self.bytes.to_string())?;
        row("UDP flows", self.datagram_flows.to_string())?;
        row("  datagrams", self.datagrams.to_string())?;
        row(
            "  lost by a fault",
            self.datagrams_lost_by_fault.to_string(),
        )?;
        row(
            "  flows moved by a fault",
            self.datagram_flows_moved_by_fault.to_string(),
        )?;
        row("flow records", self.records.to_string())?;
        for (fault, count) in &self.faults {
            row(fault, count.to_string())?;
        }
        row("endpoint stalled", self.endpoint_stalls.to_string())?;
        let Done {
            reloads,
            broken_files,
            drains,
            removals,
            upgrades,
            upgrades_with_flows,
            edge_stalls,
            slowest_upgrade_ms,
        } = self.operations;
        row(
            "reloads",
            format!("{reloads}, and {broken_files} of a broken file"),
        )?;
        row("drains", format!("{drains}, and {removals} by the file"))?;
        row(
            "upgrades",
            format!(
                "{upgrades}, and {upgrades_with_flows} with flows; slowest {slowest_upgrade_ms} ms"
            ),
        )?;
        row("edge stalled", edge_stalls.to_string())?;
        for (what, gauges) in [
            ("fresh", self.fresh),
            ("last", self.last),
            ("peak", self.peak),
        ] {
            let Gauges {
                anonymous_kib,
                descriptors,
                threads,
                tasks,
            } = gauges;
            let text = format!(
                "{anonymous_kib} KiB, {descriptors} descriptors, {threads} threads, {tasks} tasks"
            );
            row(&format!("{what} process"), text)?;
        }
        let [young, old] = self.loaded_kib;
        row(
            "last process under load",
            format!("{young} KiB young, {old} KiB old"),
        )?;
        row("unexplained", self.findings.to_string())?;
        for finding in &self.first_findings {
            writeln!(f, "    {finding}")?;
        }
        Ok(())
    }
}
