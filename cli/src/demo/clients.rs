//! The clients of the demo: an open loop of short connections, flows that stay, and flows of UDP. They know nothing of the edge but its
//! address, and note what they meet; the figures at the end are made of these notes alone.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::datagrams::{self, Question};
use super::region::{ASK_ONCE, SUBSCRIBE};

/// A client gives up after this long, and the connection counts as failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// How long a client that lost its flow waits before it connects again.
const RECONNECT_AFTER: Duration = Duration::from_millis(50);

/// Far more than are ever noted between two looks; a client waits when it is full, and loses nothing.
pub(super) const PENDING_NOTES: usize = 4096;

/// What a client noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// A short connection has ended.
    Short {
        /// When it was begun.
        began: Instant,
        /// When its answer was complete, or it failed.
        ended: Instant,
        /// Which region answered, or how it failed.
        outcome: Result<String, Failure>,
    },
    /// A lasting flow was answered by a region.
    Settled {
        /// Which.
        region: String,
        /// When.
        at: Instant,
    },
    /// A lasting flow has ended, which it never does by itself.
    Lost {
        /// Which region it was on.
        region: String,
        /// When.
        at: Instant,
    },
    /// A question over UDP was answered or given up.
    Asked(Question),
}

/// How a short connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Reset or refused.
    Reset,
    /// Closed without an answer.
    Closed,
    /// No answer within [`PATIENCE`].
    TimedOut,
}

/// Run until dropped.
pub(super) struct Clients {
    wanted: Arc<AtomicBool>,
    arriving: JoinSet<()>,
    _lasting: JoinSet<()>,
}

impl Clients {
    /// `rate` short connections a second, `lasting` flows that stay and `datagrams` flows of UDP, all to `edge`.
    pub(super) fn start(
        edge: SocketAddr,
        rate: u32,
        (lasting, datagrams): (usize, usize),
        notes: &mpsc::Sender<Note>,
    ) -> Self {
        let wanted = Arc::new(AtomicBool::new(true));
        let mut arriving = JoinSet::new();
        arriving.spawn(arrive(edge, rate, Arc::clone(&wanted), notes.clone()));
        for flow in 0..datagrams {
            let wanted = Arc::clone(&wanted);
            arriving.spawn(datagrams::ask(flow, edge, wanted, notes.clone()));
        }
        let mut staying = JoinSet::new();
        for _ in 0..lasting {
            staying.spawn(stay(edge, notes.clone()));
        }
        Self {
            wanted,
            arriving,
            _lasting: staying,
        }
    }

    /// Begins no further short connection and asks nothing more over UDP, and waits for what is on its way.
    pub(super) async fn finish_short(&mut self) {
        self.wanted.store(false, Ordering::Relaxed);
        while self.arriving.join_next().await.is_some() {}
    }
}

/// Connections arrive at their pace whether or not the earlier ones are served: waiting for them would hide a stall.
async fn arrive(edge: SocketAddr, rate: u32, wanted: Arc<AtomicBool>, notes: mpsc::Sender<Note>) {
    let mut pace = interval(Duration::from_secs(1) / rate.max(1));
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut connections = JoinSet::new();
    while wanted.load(Ordering::Relaxed) {
        pace.tick().await;
        let notes = notes.clone();
        connections.spawn(async move {
            let began = Instant::now();
            let outcome = match timeout(PATIENCE, ask_once(edge)).await {
                Ok(Ok(region)) => Ok(region),
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    Err(Failure::Closed)
                }
                Ok(Err(_)) => Err(Failure::Reset),
                Err(_) => Err(Failure::TimedOut),
            };
            let note = Note::Short {
                began,
                ended: Instant::now(),
                outcome,
            };
            // Nobody reads notes any more only when the demo ends.
            let _ = notes.send(note).await;
        });
        while connections.try_join_next().is_some() {}
    }
    while connections.join_next().await.is_some() {}
}

async fn ask_once(edge: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(edge).await?;
    stream.write_all(&[ASK_ONCE]).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    match answer.strip_suffix('\n') {
        Some(region) => Ok(region.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Subscribes, listens, and subscribes again when it is let go.
async fn stay(edge: SocketAddr, notes: mpsc::Sender<Note>) {
    loop {
        // A connection that never settled is a short one's failure; this client just tries again.
        if let Ok(region) = subscribe(edge, &notes).await {
            let note = Note::Lost {
                region,
                at: Instant::now(),
            };
            if notes.send(note).await.is_err() {
                return;
            }
        }
        sleep(RECONNECT_AFTER).await;
    }
}

/// Returns when the flow ends: the region it was on.
async fn subscribe(edge: SocketAddr, notes: &mpsc::Sender<Note>) -> io::Result<String> {
    let mut stream = BufReader::new(TcpStream::connect(edge).await?);
    stream.write_all(&[SUBSCRIBE]).await?;
    let mut region = String::new();
    let read = timeout(PATIENCE, stream.read_line(&mut region)).await??;
    if read == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let region = region.trim_end().to_owned();
    let settled = Note::Settled {
        region: region.clone(),
        at: Instant::now(),
    };
    let _ = notes.send(settled).await;
    // A reset and an end of the stream both end it; nothing else does, however long it is silent.
    while stream.read_u8().await.is_ok() {}
    Ok(region)
}
