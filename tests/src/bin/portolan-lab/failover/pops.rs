//! Faults of a PoP: what becomes of its clients, whom BGP sends to the other one. Measured on the wire at the router before it, and by its
//! clients. Both PoPs announce by an interface of their own and BIRD, configured as README says.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use portolan_tests::edge::Edge;
use portolan_tests::lab::anycast::{announce, commands, obey};
use portolan_tests::lab::scene::{self, LINES};
use portolan_tests::lab::{Lab, VIPS, World};
use serde::{Deserialize, Serialize};

use super::clients::{Attempt, Clients, Stay, carry_on};
use super::run::milliseconds;
use super::statistics::{Spread, shown};

/// New connections before the fault.
const WARM_UP: usize = 50;

/// Longer than anything takes that is measured here, a client's repeated SYN and the whole of a drain included.
const AFTER: Duration = Duration::from_millis(2500);

/// The PoP that is struck, its router, and the clients next to it.
const STRUCK: (&str, &str, &str) = ("pop-iad", "r-use", "c-nyc");

/// The one that takes over, and its router.
const OTHER: (&str, &str) = ("pop-fra", "r-eu");

/// A fault of a PoP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PopFault {
    /// Everything at it is cut off in silence.
    Silent,
    /// `kill -9` of the edge.
    Killed,
    /// The operator drains it.
    Drained,
}

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PopSample {
    /// From the fault to the last new connection that the router sent to the PoP, milliseconds.
    pub(crate) last: f64,
    /// New connections of clients after it, and at a drain those that it met on their way.
    pub(crate) begun: usize,
    /// Those of them without an answer.
    pub(crate) failed: usize,
    /// The slowest answer, milliseconds.
    pub(crate) slowest: f64,
    /// Connections that stood before it.
    pub(crate) stood: usize,
    /// Those of them that still stood when the run was over.
    pub(crate) kept: usize,
}

impl PopFault {
    pub(crate) const ALL: [PopFault; 3] = [PopFault::Silent, PopFault::Killed, PopFault::Drained];

    pub(crate) fn named(word: &str) -> Option<PopFault> {
        PopFault::ALL.into_iter().find(|fault| fault.word() == word)
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            PopFault::Silent => "pop-silent",
            PopFault::Killed => "pop-killed",
            PopFault::Drained => "pop-drained",
        }
    }

    fn title(self) -> &'static str {
        match self {
            PopFault::Silent => "PoP silently dead, BFD 3 × 100 ms",
            PopFault::Killed => "edge process killed (kill -9)",
            PopFault::Drained => "PoP drained (`portolan drain --pop`)",
        }
    }

    fn goal(self) -> &'static str {
        match self {
            PopFault::Silent => "350 ms",
            PopFault::Killed => "40 ms",
            PopFault::Drained => "nothing lost, what stands is kept",
        }
    }

    fn is_kept(self, samples: &[PopSample]) -> bool {
        let worst = Spread::of(samples.iter().map(|sample| sample.last)).worst();
        match self {
            PopFault::Silent => worst <= 350.0,
            PopFault::Killed => worst <= 40.0,
            PopFault::Drained => samples
                .iter()
                .all(|sample| sample.failed == 0 && sample.kept == sample.stood),
        }
    }

    async fn strike(self, lab: &Lab, edge: &Edge) {
        match self {
            PopFault::Silent => {
                for link in lab.links_of(STRUCK.0) {
                    link.set("blackhole=1");
                }
            }
            PopFault::Killed => edge.signal("KILL"),
            PopFault::Drained => {
                let output = edge.command(&["drain", "--pop"]).await;
                assert!(output.status.success(), "{output:?}");
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
    // The PoPs have a way to each other, by which established connections of a drained one go on.
    let world = World::atlantic()
        .without_vips()
        .link(STRUCK.0, OTHER.0, "delay=37ms");
    let Some(mut lab) = Lab::start(world).await else {
        return Ok(None);
    };
    let _endpoints = scene::serve_everywhere(&lab).await;
    let passes_on = commands("### Established connections of a PoP that is left", 1)
        .into_iter()
        .map(|command| command.replace("peer0", STRUCK.0))
        .collect();
    obey(lab.node(OTHER.0), passes_on).await;
    let drain = "drain = \"1s\"";
    let struck_edge = announce(&mut lab, STRUCK.0, STRUCK.1, drain).await;
    let _other = announce(&mut lab, OTHER.0, OTHER.1, drain).await;
    let (pop, router, client) = STRUCK;
    let at = SocketAddr::new(VIPS[0], LINES);
    let clients = Clients::start(lab.node(client), at).await;
    clients.until_answered(WARM_UP).await;
    lab.record();
    let before = Instant::now();
    fault.strike(&lab, &struck_edge).await;
    // A drain is under way while it is being asked for.
    let struck = match fault {
        PopFault::Silent | PopFault::Killed => Instant::now(),
        PopFault::Drained => before,
    };
    carry_on(AFTER).await;
    let sent = lab.record_on(router, pop);
    let after = sent.iter().filter(|opened| opened.to == at);
    let last = after
        .map(|opened| opened.at.saturating_duration_since(struck))
        .max();
    let (attempts, stays) = clients.stop().await;
    Ok(Some(judge(
        fault,
        last.unwrap_or_default(),
        (&attempts, &stays),
        struck,
    )))
}

fn judge(
    fault: PopFault,
    last: Duration,
    (attempts, stays): (&[Attempt], &[Stay]),
    struck: Instant,
) -> PopSample {
    // What is on its way when a PoP dies dies with it; a drain may not harm that either.
    let counts = |attempt: &&Attempt| match fault {
        PopFault::Silent | PopFault::Killed => attempt.began > struck,
        PopFault::Drained => attempt.began + attempt.took > struck,
    };
    let met = attempts.iter().filter(counts);
    let answered = met.clone().filter(|attempt| attempt.answer.is_some());
    let stood = stays
        .iter()
        .filter(|stay| stay.ended.is_none_or(|ended| ended > struck));
    PopSample {
        last: milliseconds(last),
        begun: met.clone().count(),
        failed: met.clone().count() - answered.clone().count(),
        slowest: milliseconds(
            answered
                .map(|attempt| attempt.took)
                .max()
                .unwrap_or_default(),
        ),
        stood: stood.clone().count(),
        kept: stood.filter(|stay| stay.ended.is_none()).count(),
    }
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
        if !samples.is_empty() {
            rows += &row(fault, &samples);
        }
    }
    if rows.is_empty() {
        return Ok(rows);
    }
    Ok(format!(
        "## A PoP dies or leaves\n\nTwo PoPs announce the same addresses by BGP (interface and BIRD, as README says); clients 11 ms from the one that is struck, 83 ms from the other. `last` is\nfrom the fault to the last new connection that the router sent to the struck PoP, which for a drain is no loss: they are served. `lost` are new connections without\nan answer in 3 s, at a drain those included that were on their way. A client whose SYN was lost sends it again after a second: that is the slowest answer. The other PoP passes on\nwhat it does not know (README, \"Established connections of a PoP that is left\").\n\n| fault | runs | last: best | median | worst | goal | | lost | slowest | established, still there |\n|---|---|---|---|---|---|---|---|---|---|\n{rows}\n"
    ))
}

fn row(fault: PopFault, samples: &[PopSample]) -> String {
    let spread = Spread::of(samples.iter().map(|sample| sample.last));
    let verdict = match fault.is_kept(samples) {
        true => "kept",
        false => "**missed**",
    };
    let sum = |of: fn(&PopSample) -> usize| samples.iter().map(of).sum::<usize>();
    let slowest = Spread::of(samples.iter().map(|sample| sample.slowest)).worst();
    format!(
        "| {} | {} | {} | {} | **{}** | {} | {verdict} | {} of {} | {} | {} |\n",
        fault.title(),
        samples.len(),
        shown(spread.best()),
        shown(spread.median()),
        shown(spread.worst()),
        fault.goal(),
        sum(|sample| sample.failed),
        sum(|sample| sample.begun),
        shown(slowest),
        match fault {
            PopFault::Silent | PopFault::Killed => "–".to_owned(),
            PopFault::Drained => format!(
                "{} of {}",
                sum(|sample| sample.kept),
                sum(|sample| sample.stood)
            ),
        },
    )
}
