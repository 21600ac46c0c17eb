//! What is no fault: loss, jitter, a client that stalls, an endpoint that thinks. Counted: whom each contestant declared dead all the same.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use portolan_tests::client::Caller;
use portolan_tests::lab::Node;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::clients::{Clients, carry_on};
use super::contestants::{Check, Contestant};
use super::place::{FAR, Ground, Place};
use crate::serve::THINK;

/// On every link between PoP and region, each way.
const WEATHER: &str = "loss=1% jitter=30ms";

/// How long a client forgets to read.
const STALL: Duration = Duration::from_secs(2);

/// What it then has to catch up with: more than any buffer on the way holds is not wanted, a window's worth is.
const LINES_AT_ONCE: usize = 5000;

/// What was counted, a line a contestant and run.
const FILE: &str = "disturbances.jsonl";

/// What a contestant made of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Endured {
    contestant: String,
    minutes: f64,
    alarms: u64,
    begun: usize,
    failed: usize,
}

/// Disturbs everybody for a while, and adds what came of it to what there is.
pub(crate) async fn run(minutes: f64, folder: &Path) -> Result<ExitCode> {
    let Some(ground) = Ground::start().await? else {
        return Ok(ExitCode::FAILURE);
    };
    let mut running = Vec::new();
    for who in Contestant::ALL.into_iter().filter(|who| who.is_here()) {
        running.push(who.start(&ground.lab, Check::Usual).await?);
    }
    for region in Place::all().map(Place::name).chain([FAR]) {
        ground.lab.link("pop", region).set(WEATHER);
    }
    let mut clients = Vec::new();
    let mut before = Vec::new();
    for one in &running {
        for place in Place::all() {
            let (node, to) = (ground.lab.node("client"), one.who.entry(place));
            clients.push((one.who, Clients::start(node, to).await));
            think(node, to).await;
            stall(node, to).await;
        }
        before.push(one.alarms(&ground.lab).await);
    }
    carry_on(Duration::from_secs_f64(minutes * 60.0)).await;
    let mut attempts = Vec::new();
    for (who, clients) in clients {
        attempts.push((who, clients.stop().await.0));
    }
    std::fs::create_dir_all(folder)?;
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join(FILE))?;
    for (one, before) in running.iter().zip(before) {
        let of = attempts.iter().filter(|(who, _)| *who == one.who);
        let all = of.flat_map(|(_, all)| all);
        let endured = Endured {
            contestant: one.who.name().to_owned(),
            minutes,
            alarms: one.alarms(&ground.lab).await.saturating_sub(before),
            begun: all.clone().count(),
            failed: all.filter(|attempt| attempt.answer.is_none()).count(),
        };
        writeln!(file, "{}", serde_json::to_string(&endured)?)?;
        println!("{endured:?}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The report's section about them.
pub(crate) fn section(folder: &Path) -> Result<String> {
    let text = std::fs::read_to_string(folder.join(FILE)).unwrap_or_default();
    let all: Vec<Endured> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<serde_json::Result<_>>()?;
    let mut rows = String::new();
    for who in Contestant::ALL {
        let of: Vec<&Endured> = all.iter().filter(|e| e.contestant == who.name()).collect();
        if !of.is_empty() {
            let _ = writeln!(
                rows,
                "| {} | {} | **{}** | {} of {} |",
                who.name(),
                of.iter().map(|e| e.minutes).sum::<f64>(),
                of.iter().map(|e| e.alarms).sum::<u64>(),
                of.iter().map(|e| e.failed).sum::<usize>(),
                of.iter().map(|e| e.begun).sum::<usize>(),
            );
        }
    }
    if rows.is_empty() {
        return Ok(rows);
    }
    Ok(format!(
        "## False alarms\n\n1 % loss and ±30 ms jitter each way between the PoP and every region, with {} new connections a second through each contestant, clients that\nread nothing for 2 s again and again, and endpoints that think for 10 s. An alarm is an endpoint declared dead (Envoy: or ejected).\n\n| | minutes | alarms | clients' connections without an answer in 3 s |\n|---|---|---|---|\n{rows}\n",
        50 * Place::all().count()
    ))
}

/// A connection whose endpoint thinks before each answer.
async fn think(node: &Node, to: SocketAddr) {
    node.run(async move || {
        tokio::spawn(async move {
            // A connection that ends is begun anew: it is there to disturb.
            loop {
                if let Ok(mut caller) = Caller::connect(to).await {
                    while caller.ask(THINK.0).await.is_ok() {}
                }
                carry_on(STALL).await;
            }
        });
    })
    .await;
}

/// A connection that asks much and does not read the answers for a while.
async fn stall(node: &Node, to: SocketAddr) {
    node.run(async move || {
        tokio::spawn(async move {
            loop {
                // As above.
                let _ = stalled(to).await;
                carry_on(STALL).await;
            }
        });
    })
    .await;
}

async fn stalled(to: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(to).await?;
    let questions = "still\n".repeat(LINES_AT_ONCE);
    let mut answers = vec![0; 65_536];
    loop {
        stream.write_all(questions.as_bytes()).await?;
        carry_on(STALL).await;
        let mut lines = 0;
        while lines < LINES_AT_ONCE {
            let length = stream.read(&mut answers).await?;
            if length == 0 {
                return Ok(());
            }
            lines += answers[..length]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count();
        }
    }
}
