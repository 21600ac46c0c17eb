//! The clients of a contestant at a place: new connections at a steady pace, and a few that stay and speak.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use portolan_tests::client::Caller;
use portolan_tests::deadline::{self, until};
use portolan_tests::lab::Node;
use rand::RngExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Between two new connections.
const PACE: Duration = Duration::from_millis(20);

/// A client that has no answer by then has lost its patience.
const PATIENCE: Duration = Duration::from_secs(3);

/// Connections that stay: enough that each of two endpoints has several of them nearly always.
const STAYING: usize = 12;

/// Room for all that a run can bring.
const RESULTS: usize = 65_536;

/// A new connection: it asked who is there.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) began: Instant,
    pub(crate) took: Duration,
    /// The endpoint's name; `None` when there was no answer.
    pub(crate) answer: Option<String>,
}

/// A connection that stayed.
#[derive(Clone, Debug)]
pub(crate) struct Stay {
    /// Who answered it.
    pub(crate) endpoint: String,
    /// When it was closed or reset; `None` when it was still there at the end.
    pub(crate) ended: Option<Instant>,
}

/// The clients of one contestant at one place.
pub(crate) struct Clients {
    stop: watch::Sender<bool>,
    answered: Arc<AtomicUsize>,
    attempts: mpsc::Receiver<Attempt>,
    stays: mpsc::Receiver<Stay>,
}

impl Clients {
    /// Begins.
    pub(crate) async fn start(node: &Node, to: SocketAddr) -> Clients {
        let (stop, stopped) = watch::channel(false);
        let (attempt, attempts) = mpsc::channel(RESULTS);
        let (stay, stays) = mpsc::channel(STAYING);
        let answered = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&answered);
        node.run(async move || {
            tokio::spawn(come(to, stopped.clone(), attempt, count));
            for _ in 0..STAYING {
                tokio::spawn(remain(to, stopped.clone(), stay.clone()));
            }
        })
        .await;
        Clients {
            stop,
            answered,
            attempts,
            stays,
        }
    }

    /// Waits until so many new connections were answered.
    pub(crate) async fn until_answered(&self, count: usize) {
        until("clients are answered", deadline::PATIENCE, async || {
            self.answered.load(Ordering::Relaxed) >= count
        })
        .await;
    }

    /// Ends, and gives what they met.
    pub(crate) async fn stop(mut self) -> (Vec<Attempt>, Vec<Stay>) {
        self.stop.send_replace(true);
        let (mut attempts, mut stays) = (Vec::new(), Vec::new());
        while let Some(attempt) = self.attempts.recv().await {
            attempts.push(attempt);
        }
        while let Some(stay) = self.stays.recv().await {
            stays.push(stay);
        }
        (attempts, stays)
    }
}

/// Traffic goes on for so long. How long a run lasts is part of what is measured: nothing is waited for.
pub(crate) async fn carry_on(span: Duration) {
    tokio::time::sleep(span).await;
}

async fn come(
    to: SocketAddr,
    mut stopped: watch::Receiver<bool>,
    done: mpsc::Sender<Attempt>,
    answered: Arc<AtomicUsize>,
) {
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            _ = pace.tick() => {}
            _ = stopped.wait_for(|stopped| *stopped) => break,
        }
        let (done, answered) = (done.clone(), Arc::clone(&answered));
        running.spawn(async move {
            let began = Instant::now();
            let ask = async { Caller::connect(to).await?.ask("who").await };
            let answer = timeout(PATIENCE, ask).await.ok().and_then(Result::ok);
            let took = began.elapsed();
            answered.fetch_add(answer.is_some().into(), Ordering::Relaxed);
            // It fails when the run has ended.
            let _ = done
                .send(Attempt {
                    began,
                    took,
                    answer,
                })
                .await;
        });
        while running.try_join_next().is_some() {}
    }
    running.join_all().await;
}

/// Speaks all the time, whether it is answered or not, as a stream would.
async fn remain(to: SocketAddr, mut stopped: watch::Receiver<bool>, done: mpsc::Sender<Stay>) {
    // They do not speak all at once.
    let phase = PACE.mul_f64(rand::rng().random::<f64>());
    carry_on(phase).await;
    let Ok(mut stream) = TcpStream::connect(to).await else {
        return;
    };
    // What waits for an acknowledgement on its way to the edge says nothing of the way beyond.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut buffer = [0; 1024];
    let mut endpoint = String::new();
    let mut pace = interval(PACE);
    let (mut from, mut toward) = stream.split();
    let ended = loop {
        tokio::select! {
            _ = pace.tick() => {
                if toward.write_all(b"still\n").await.is_err() {
                    break Some(Instant::now());
                }
            }
            read = from.read(&mut buffer) => match read {
                Ok(0) | Err(_) => break Some(Instant::now()),
                Ok(length) if endpoint.is_empty() => {
                    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    endpoint = text.lines().next().unwrap_or_default().to_owned();
                }
                Ok(_) => {}
            },
            _ = stopped.changed() => break None,
        }
    };
    let _ = done.send(Stay { endpoint, ended }).await;
}
