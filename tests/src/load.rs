//! New connections at a steady rate, each remembered.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use crate::client::Caller;

/// A running load.
pub struct Load {
    stop: watch::Sender<bool>,
    done: Arc<AtomicUsize>,
    running: JoinHandle<Vec<Attempt>>,
}

/// One connection: it said a token and waited for an endpoint's id.
#[derive(Debug)]
pub struct Attempt {
    /// What it said.
    pub token: String,
    /// When it began.
    pub began: Instant,
    /// How long until the answer.
    pub took: Duration,
    /// Its own address; `None` when it could not connect.
    pub client: Option<SocketAddr>,
    /// The endpoint's id.
    pub answer: io::Result<String>,
}

impl Load {
    /// Begins: `rate` new connections a second.
    pub fn start(to: SocketAddr, rate: u32) -> Load {
        let (stop, stopped) = watch::channel(false);
        let done = Arc::new(AtomicUsize::new(0));
        let running = tokio::spawn(run(to, rate, stopped, Arc::clone(&done)));
        Load {
            stop,
            done,
            running,
        }
    }

    /// Connections that have their answer, or their failure.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }

    /// Waits for `more` connections to be done.
    pub async fn until_done(&self, more: usize) {
        let goal = self.done() + more;
        let what = format!("{goal} connections are done");
        crate::deadline::until(&what, crate::deadline::PATIENCE, async || {
            self.done() >= goal
        })
        .await;
    }

    /// Ends, waits for what is on its way, and gives all of it in the order of their beginning.
    ///
    /// # Panics
    /// When a connection's task did.
    pub async fn stop(self) -> Vec<Attempt> {
        self.stop.send_replace(true);
        let mut attempts = self.running.await.expect("the load does not panic");
        attempts.sort_by_key(|attempt| attempt.began);
        attempts
    }
}

async fn run(
    to: SocketAddr,
    rate: u32,
    mut stopped: watch::Receiver<bool>,
    done: Arc<AtomicUsize>,
) -> Vec<Attempt> {
    let mut pace = tokio::time::interval(Duration::from_secs(1) / rate);
    // On a machine that stalls, the rate is kept on the average.
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut running = JoinSet::new();
    let mut attempts = Vec::new();
    for number in 0_u64.. {
        tokio::select! {
            _ = pace.tick() => {}
            _ = stopped.wait_for(|stopped| *stopped) => break,
        }
        let done = Arc::clone(&done);
        running.spawn(async move {
            let attempt = attempt(to, format!("token-{number}")).await;
            done.fetch_add(1, Ordering::SeqCst);
            attempt
        });
        while let Some(finished) = running.try_join_next() {
            attempts.push(finished.expect("an attempt does not panic"));
        }
    }
    attempts.extend(running.join_all().await);
    attempts
}

async fn attempt(to: SocketAddr, token: String) -> Attempt {
    let began = Instant::now();
    let mut client = None;
    let answer = async {
        let mut caller = Caller::connect(to).await?;
        client = Some(caller.local());
        caller.ask(&token).await
    }
    .await;
    Attempt {
        token,
        began,
        took: began.elapsed(),
        client,
        answer,
    }
}
