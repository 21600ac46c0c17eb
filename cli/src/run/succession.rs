//! The two ends of an upgrade in a process's life: taking over from a predecessor at the beginning, handing over to a successor and
//! finishing what is left at the end.

use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::process::Command;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::DRAIN_LOOK;
use super::notify;
use super::signals::{Asked, Signals};
use crate::assembly::Assembly;
use crate::upgrade::{Successor, Takeover, give_flows};

/// How long endpoints that the predecessor knew nothing of may keep it waiting for us: as long as they may delay readiness.
const FIRST_RESULTS: Duration = Duration::from_secs(5);

/// Gets ready behind shut doors, then serves at the predecessor's word. After an error it serves on, and we must not.
pub(super) async fn take_over(
    edge: &mut Assembly,
    takeover: Takeover,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let until = began + FIRST_RESULTS;
    while !edge.control.has_first_results() && Instant::now() < until {
        tokio::select! {
            () = sleep(DRAIN_LOOK) => {}
            asked = signals.next() => match asked {
                Asked::End => bail!("told to end before anything was taken over"),
                Asked::Reload | Asked::Upgrade => {}
            },
        }
    }
    if !edge.control.has_first_results() {
        warn!(waited = ?FIRST_RESULTS, "taking over before every endpoint that the predecessor knew nothing of has been asked");
    }
    let probed = began.elapsed();
    takeover.ready().await?;
    let going = began.elapsed();
    edge.control.take_over().await;
    edge.take_store().await?;
    edge.open();
    let open = began.elapsed();
    takeover.serving().await?;
    // Since the beginning, so that a slow upgrade says by itself what it waited for.
    info!(?probed, ?going, ?open, farewell = ?began.elapsed(), "took over");
    notify::main_pid(std::process::id());
    let within = edge.control.config().upgrade_drain;
    takeover.take_flows(edge.estate(), within);
    Ok(())
}

/// Lets a successor serve. False when it does not, and everything is as before.
pub(super) async fn hand_over(edge: &Assembly, successor: &Successor) -> bool {
    let began = Instant::now();
    edge.control.hand_over().await;
    let drains_written = began.elapsed();
    edge.release_store().await;
    let store_closed = began.elapsed();
    match successor.begin().await {
        Ok(()) => {
            // Since the beginning: the first two wait for the disk, the third for the successor. Clients wait for none of them.
            info!(?drains_written, ?store_closed, serving = ?began.elapsed(), "the successor serves");
            true
        }
        Err(error) => {
            warn!(%error, pid = successor.pid(), "no upgrade, serving on");
            edge.take_store_back().await;
            edge.control.take_back().await;
            false
        }
    }
}

/// A successor serves: gives it the flows if it wants them, and finishes those that stay.
pub(super) async fn finish(mut edge: Assembly, successor: Successor, signals: &mut Signals) {
    notify::main_pid(successor.pid());
    edge.close();
    let config = edge.control.config();
    let mut deadline = Instant::now() + config.upgrade_drain;
    info!(
        successor = successor.pid(),
        flows = edge.active_flows(),
        "handed over: nothing new here, what is there finishes"
    );
    let mut giving = successor.wants_flows().then(|| {
        let estate = edge.estate();
        spawn_blocking(move || give_flows(&estate, &successor, deadline))
    });
    let mut told = false;
    loop {
        // Flows on their way to the successor are counted nowhere: the way must end first.
        giving.take_if(|giving| giving.is_finished());
        if Instant::now() >= deadline || (giving.is_none() && edge.active_flows() == 0) {
            break;
        }
        tokio::select! {
            () = sleep(DRAIN_LOOK) => {}
            asked = signals.next() => match asked {
                Asked::End if told => break,
                Asked::End => {
                    told = true;
                    deadline = deadline.min(Instant::now() + config.shutdown_drain);
                }
                Asked::Reload | Asked::Upgrade => info!("the successor is the one to be asked for that"),
            },
        }
    }
    let left = edge.active_flows();
    edge.end().await;
    info!(reset = left, "ended");
}

/// Starts what this process was started with once more, to take over. What becomes of it is in the log; nothing here depends on it.
pub(super) fn start_successor() {
    let mut line = std::env::args_os();
    let program = line.next().unwrap_or_else(|| "portolan".into());
    let mut arguments: Vec<_> = line.collect();
    if !arguments.iter().any(|argument| argument == "--upgrade") {
        arguments.push("--upgrade".into());
    }
    let mut command = Command::new(&program);
    // The manager's watchdog is meant for this process's pid, and the successor is to obey it as well.
    command.args(arguments).env_remove("WATCHDOG_PID");
    match command.spawn() {
        Ok(mut child) => {
            info!(pid = child.id(), program = %program.display(), "a successor was started");
            tokio::spawn(async move {
                match child.wait().await {
                    Ok(status) => error!("the successor has ended: {status}"),
                    Err(error) => error!(%error, "the successor cannot be watched"),
                }
            });
        }
        Err(error) => error!(%error, program = %program.display(), "no successor can be started"),
    }
}
