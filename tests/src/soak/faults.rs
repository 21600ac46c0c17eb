//! What happens to endpoints: one fault at a time, so that there is always another one to go to.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::{Mutex, watch};
use tokio::time::{sleep, timeout};

use super::deck::Deck;
use super::ledger::{FaultKind, Ledger};
use super::stage::Stage;

#[derive(Clone, Copy)]
enum Act {
    Kill,
    Vanish,
    Swallow,
    Stall,
    KillUdp,
}

const ACTS: [Act; 8] = [
    Act::Kill,
    Act::Kill,
    Act::Kill,
    Act::Vanish,
    Act::Swallow,
    Act::Stall,
    Act::KillUdp,
    Act::KillUdp,
];

/// Injects faults until it is told to stop; everything is well again when it ends. `turn` is held while an endpoint is not itself.
pub(super) async fn run(
    stage: &Stage,
    ledger: &Arc<Ledger>,
    seed: u64,
    turn: &Mutex<()>,
    mut stop: watch::Receiver<bool>,
) -> std::io::Result<u64> {
    let mut random = SmallRng::seed_from_u64(seed ^ 1);
    let mut deck = Deck::of(&ACTS);
    let mut stalls = 0;
    loop {
        let pause = Duration::from_millis(random.random_range(500..4_000));
        if timeout(pause, stop.wait_for(|stop| *stop)).await.is_ok() {
            return Ok(stalls);
        }
        let _turn = turn.lock().await;
        let lasts = Duration::from_millis(random.random_range(1_000..5_000));
        let victim = random.random_range(0..stage.tcp.len());
        match deck.draw(&mut random) {
            Act::Kill => kill(stage, ledger, victim, lasts).await,
            Act::Vanish => vanish(stage, ledger, victim, lasts, false).await,
            Act::Swallow => vanish(stage, ledger, victim, lasts, true).await,
            Act::Stall => {
                stalls += 1;
                stall(stage, victim, lasts).await;
            }
            Act::KillUdp => {
                let victim = random.random_range(0..stage.udp.len());
                kill_udp(stage, ledger, victim, lasts).await?;
            }
        }
    }
}

async fn kill(stage: &Stage, ledger: &Ledger, victim: usize, lasts: Duration) {
    let endpoint = &stage.tcp[victim].endpoint;
    let fault = ledger.fault(FaultKind::Kill, endpoint.id());
    endpoint.kill().await;
    sleep(lasts).await;
    endpoint.revive().await;
    ledger.fault_over(fault);
}

async fn vanish(stage: &Stage, ledger: &Ledger, victim: usize, lasts: Duration, swallow: bool) {
    let endpoint = &stage.tcp[victim].endpoint;
    let fault = ledger.fault(FaultKind::Vanish, endpoint.id());
    if swallow {
        endpoint.swallow().await;
    } else {
        endpoint.vanish().await;
    }
    sleep(lasts).await;
    endpoint.revive().await;
    ledger.fault_over(fault);
}

/// Its program stands still, and its kernel answers for it: nothing may come of it.
async fn stall(stage: &Stage, victim: usize, lasts: Duration) {
    let stall = &stage.tcp[victim].stall;
    stall.send_replace(true);
    sleep(lasts).await;
    stall.send_replace(false);
}

async fn kill_udp(
    stage: &Stage,
    ledger: &Ledger,
    victim: usize,
    lasts: Duration,
) -> std::io::Result<()> {
    let endpoint = &stage.udp[victim];
    let fault = ledger.fault(FaultKind::Kill, &endpoint.name);
    endpoint.kill().await;
    sleep(lasts).await;
    endpoint.revive().await?;
    ledger.fault_over(fault);
    Ok(())
}
