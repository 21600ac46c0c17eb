//! Faults of a PoP: what becomes of its clients, whom BGP sends to the other one. Measured on the wire at the router before it, and by a client.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use portolan_tests::edge::Edge;
use portolan_tests::lab::scene::{self, LINES};
use portolan_tests::lab::{Lab, Role, VIPS, World};
use serde::{Deserialize, Serialize};

use super::clients::Clients;
use super::run::milliseconds;
use super::statistics::{Spread, shown};

/// Traffic before the fault.
const WARM_UP: Duration = Duration::from_secs(1);

/// Longer than anything takes that is measured here, a client's repeated SYN included.
const AFTER: Duration = Duration::from_millis(2500);

/// The PoP that is struck, its router, and the clients next to it.
const STRUCK: (&str, &str, &str) = ("pop-iad", "r-use", "c-nyc");

/// A fault of a PoP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PopFault {
    /// Everything at it is cut off in silence.
    Silent,
}

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PopSample {
    /// From the fault to the last new connection that the router sent to the PoP, milliseconds.
    pub(crate) last: f64,
    /// New connections of clients that began after it.
    pub(crate) begun: usize,
    /// Those of them without an answer.
    pub(crate) failed: usize,
    /// The slowest answer, milliseconds.
    pub(crate) slowest: f64,
}

impl PopFault {
    pub(crate) const ALL: [PopFault; 1] = [PopFault::Silent];

    pub(crate) fn named(word: &str) -> Option<PopFault> {
        PopFault::ALL.into_iter().find(|fault| fault.word() == word)
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            PopFault::Silent => "pop-silent",
        }
    }

    fn title(self) -> &'static str {
        match self {
            PopFault::Silent => "PoP silently dead, BFD 3 × 100 ms",
        }
    }

    /// Milliseconds for the worst.
    fn goal(self) -> f64 {
        match self {
            PopFault::Silent => 350.0,
        }
    }

    fn world(self) -> World {
        match self {
            PopFault::Silent => World::atlantic(),
        }
    }

    async fn strike(self, lab: &Lab) {
        match self {
            PopFault::Silent => {
                for link in lab.links_of(STRUCK.0) {
                    link.set("blackhole=1");
                }
            }
        }
    }
}

/// Adds `runs` runs to what there is.
pub(crate) async fn strike(fault: PopFault, runs: usize, folder: &Path) -> Result<ExitCode> {
    std::fs::create_dir_all(folder)?;
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join(format!("{}.jsonl", fault.word())))?;
    for number in 1..=runs {
        let Some(sample) = once(fault).await? else {
            return Ok(ExitCode::FAILURE);
        };
        writeln!(file, "{}", serde_json::to_string(&sample)?)?;
        println!("{} {number}/{runs}: {sample:?}", fault.word());
    }
    Ok(ExitCode::SUCCESS)
}

async fn once(fault: PopFault) -> Result<Option<PopSample>> {
    let world = fault.world();
    let Some(lab) = Lab::start(world.clone()).await else {
        return Ok(None);
    };
    let _endpoints = scene::serve_everywhere(&lab).await;
    let mut edges: Vec<Edge> = Vec::new();
    for pop in lab.nodes_of(Role::Pop) {
        let toml = scene::configuration(&world, pop.name(), "");
        edges.push(scene::pop(&lab, pop.name(), &toml).await);
    }
    let (pop, router, client) = STRUCK;
    let at = SocketAddr::new(VIPS[0], LINES);
    let clients = Clients::start(lab.node(client), at).await;
    tokio::time::sleep(WARM_UP).await;
    lab.record();
    fault.strike(&lab).await;
    let struck = Instant::now();
    tokio::time::sleep(AFTER).await;
    let sent = lab.record_on(router, pop);
    let after = sent.iter().filter(|opened| opened.to == at);
    let last = after
        .map(|opened| opened.at.saturating_duration_since(struck))
        .max();
    let (attempts, _) = clients.stop().await;
    let begun = attempts.iter().filter(|attempt| attempt.began > struck);
    let answered = begun.clone().filter(|attempt| attempt.answer.is_some());
    Ok(Some(PopSample {
        last: milliseconds(last.unwrap_or_default()),
        begun: begun.clone().count(),
        failed: begun.clone().count() - answered.clone().count(),
        slowest: milliseconds(
            answered
                .map(|attempt| attempt.took)
                .max()
                .unwrap_or_default(),
        ),
    }))
}

/// The report's table of them.
pub(crate) fn section(folder: &Path) -> Result<String> {
    let mut rows = String::new();
    for fault in PopFault::ALL {
        let text = std::fs::read_to_string(folder.join(format!("{}.jsonl", fault.word())));
        let samples: Vec<PopSample> = text
            .unwrap_or_default()
            .lines()
            .map(serde_json::from_str)
            .collect::<serde_json::Result<_>>()?;
        if samples.is_empty() {
            continue;
        }
        let spread = Spread::of(samples.iter().map(|sample| sample.last));
        let kept = if spread.worst() <= fault.goal() {
            "kept"
        } else {
            "**missed**"
        };
        let failed: usize = samples.iter().map(|sample| sample.failed).sum();
        let begun: usize = samples.iter().map(|sample| sample.begun).sum();
        let slowest = Spread::of(samples.iter().map(|sample| sample.slowest)).worst();
        rows += &format!(
            "| {} | {} | {} | **{}** | {} | {}: {kept} | {failed} of {begun} | {} |\n",
            fault.title(),
            samples.len(),
            shown(spread.best()),
            shown(spread.median()),
            shown(spread.worst()),
            shown(fault.goal()),
            shown(slowest),
        );
    }
    if rows.is_empty() {
        return Ok(rows);
    }
    Ok(format!(
        "## A PoP dies or leaves\n\nTwo PoPs announce the same addresses by BGP (BIRD); clients 11 ms from the one that is struck, 83 ms from the other. From the fault to the last\nnew connection that the router sent to the struck PoP. A client whose SYN was lost there sends it again after a second: that is the slowest answer.\n\n| fault | runs | best | median | worst | goal (worst) | lost | slowest |\n|---|---|---|---|---|---|---|---|\n{rows}\n"
    ))
}
