//! The two ends of a flow of UDP: numbered datagrams, each with bytes that only it can have, and their echoes. A datagram may be lost by
//! what is done to its endpoint, and by nothing else; none may come twice, changed, or to another flow; and a flow stays at its endpoint,
//! and at its port there, whatever the edge goes through.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout, timeout_at};

use super::ledger::Ledger;
use super::plan::{Kind, mix};
use super::records::Record;
use crate::payload::stretch;

const MAGIC: &[u8; 8] = b"PORTSOAK";

/// Magic, flow, number.
const HEAD: usize = 8 + 8 + 4;

const LARGEST: usize = 1_200;

/// Longer than the edge is ever stopped. What comes later still counts as long as its client listens.
const LOST_AFTER: Duration = Duration::from_secs(2);

/// How long it listens at the end.
const LAST_AFTER: Duration = Duration::from_secs(10);

/// The listener's, in seconds. Longer than a client waits for what was lost, on a busy machine too, or its flow would be another one
/// when it goes on.
pub(super) const IDLE_TIMEOUT: u64 = 8;

/// A flow's records come when the edge has forgotten it; with an upgrade on the way that takes two seconds more.
const RECORDED_AFTER: Duration = Duration::from_secs(IDLE_TIMEOUT + 17);

/// What is known of a flow.
struct Session {
    client: SocketAddr,
    began: Instant,
    ended: Option<Instant>,
    sent: u32,
    answered: Vec<u8>,
    /// By endpoint and the edge's address there: how often each datagram came.
    arrived: HashMap<(String, SocketAddr), Vec<u8>>,
    recorded: u64,
    records: u32,
}

/// The books of UDP.
#[derive(Default)]
pub(super) struct Sessions(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    live: HashMap<u64, Session>,
    by_client: HashMap<SocketAddr, u64>,
    pub(super) counts: Counts,
}

/// What came out so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) flows: u64,
    pub(super) datagrams: u64,
    pub(super) lost_by_fault: u64,
    pub(super) moved_by_fault: u64,
}

impl Sessions {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came out so far.
    pub(super) fn counts(&self) -> Counts {
        self.kept().counts
    }

    /// Flows in the books.
    pub(super) fn open(&self) -> usize {
        self.kept().live.len()
    }

    /// Flows whose clients are not done.
    pub(super) fn running(&self) -> usize {
        let kept = self.kept();
        kept.live.values().filter(|s| s.ended.is_none()).count()
    }

    /// The edge has recorded a flow of UDP, or its time with one endpoint.
    pub(super) fn recorded(&self, ledger: &Ledger, record: &Record) {
        let mut kept = self.kept();
        let known = kept.by_client.get(&record.client).copied();
        match known.and_then(|id| kept.live.get_mut(&id)) {
            Some(session) => {
                session.recorded += record.packets_in;
                session.records += 1;
            }
            None => ledger.finding(format!(
                "datagrams that nobody sent, or no more, were recorded: {record:?}"
            )),
        }
    }

    /// Judges the flows of which everything is known; all of them at the `last` time.
    pub(super) fn settle(&self, ledger: &Ledger, last: bool) {
        let mut kept = self.kept();
        let settled = |session: &Session| {
            session
                .ended
                .is_some_and(|at| at.elapsed() > RECORDED_AFTER)
        };
        let due: Vec<u64> = kept
            .live
            .iter()
            .filter(|(_, session)| last || settled(session))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let Some(session) = kept.live.remove(&id) else {
                continue;
            };
            kept.by_client.remove(&session.client);
            kept.counts.flows += 1;
            session.judge(id, ledger, &mut kept.counts);
        }
    }
}

impl Session {
    fn judge(&self, id: u64, ledger: &Ledger, counts: &mut Counts) {
        let finding = |why: String| {
            let places: Vec<_> = self.arrived.keys().collect();
            ledger.finding(format!(
                "flow {id} ({}): {why}; at {places:?}",
                Kind::Datagrams.name()
            ));
        };
        let Some(ended) = self.ended else {
            return finding("its client hangs".into());
        };
        let homes: Vec<String> = self
            .arrived
            .keys()
            .map(|(endpoint, _)| endpoint.clone())
            .collect();
        let moved_by_fault = ledger.is_touched(&homes, self.began, ended);
        // What was on its way to an endpoint that nobody met may be gone, too.
        let touched = ledger.is_touched(&endpoints(), self.began, ended);
        let lost = (0..self.sent)
            .filter(|n| self.answered[*n as usize] == 0)
            .count() as u64;
        let twice = self.answered.iter().filter(|times| **times > 1).count();
        let arrived_twice = self
            .arrived
            .values()
            .flat_map(|numbers| numbers.iter())
            .filter(|times| **times > 1)
            .count();
        counts.datagrams += u64::from(self.sent);
        if twice + arrived_twice > 0 {
            finding(format!(
                "{twice} answers and {arrived_twice} datagrams came twice"
            ));
        }
        if lost > 0 {
            if touched {
                counts.lost_by_fault += lost;
            } else {
                finding(format!("{lost} of {} datagrams were lost", self.sent));
            }
        }
        if self.arrived.len() > 1 {
            if moved_by_fault {
                counts.moved_by_fault += 1;
            } else {
                finding("it moved".into());
            }
        }
        if self.records == 0 {
            finding("it was not recorded".into());
        } else if !touched && self.recorded != u64::from(self.sent) {
            finding(format!(
                "{} datagrams of {} were recorded",
                self.recorded, self.sent
            ));
        }
    }
}

/// Endpoints that there are.
const ENDPOINTS: usize = 3;

/// Their names.
pub(super) fn endpoints() -> Vec<String> {
    (0..ENDPOINTS)
        .map(|number| format!("udp-{number}"))
        .collect()
}

/// A client's part, from beginning to end.
pub(super) async fn ask(
    ledger: Arc<Ledger>,
    sessions: Arc<Sessions>,
    seed: u64,
    id: u64,
    from: IpAddr,
    to: SocketAddr,
) {
    let client = match Client::open(&sessions, id, from, to).await {
        Ok(client) => client,
        Err(error) => return ledger.finding(format!("flow {id}: no socket: {error}")),
    };
    let mut random = SmallRng::seed_from_u64(mix(seed ^ mix(id)));
    let rounds = random.random_range(3..25);
    let at_once = if random.random_bool(0.3) {
        random.random_range(2..16)
    } else {
        1
    };
    for round in 0..rounds {
        let numbers = round * at_once..(round + 1) * at_once;
        let patience = if round + 1 < rounds {
            LOST_AFTER
        } else {
            LAST_AFTER
        };
        if let Err(why) = client.round(&ledger, numbers, patience).await {
            ledger.finding(format!("flow {id}: {why}"));
        }
        sleep(Duration::from_millis(random.random_range(20..400))).await;
    }
    if let Some(session) = sessions.kept().live.get_mut(&id) {
        session.ended = Some(Instant::now());
    }
}

struct Client<'s> {
    sessions: &'s Sessions,
    socket: UdpSocket,
    id: u64,
}

impl Client<'_> {
    async fn open(
        sessions: &Sessions,
        id: u64,
        from: IpAddr,
        to: SocketAddr,
    ) -> io::Result<Client<'_>> {
        let socket = UdpSocket::bind((from, 0)).await?;
        socket.connect(to).await?;
        let local = socket.local_addr()?;
        let session = Session {
            client: local,
            began: Instant::now(),
            ended: None,
            sent: 0,
            answered: Vec::new(),
            arrived: HashMap::new(),
            recorded: 0,
            records: 0,
        };
        let mut kept = sessions.kept();
        kept.live.insert(id, session);
        kept.by_client.insert(local, id);
        drop(kept);
        Ok(Client {
            sessions,
            socket,
            id,
        })
    }

    /// Sends some and waits for the echoes of all of them.
    async fn round(
        &self,
        ledger: &Ledger,
        numbers: std::ops::Range<u32>,
        patience: Duration,
    ) -> Result<(), String> {
        if let Some(session) = self.sessions.kept().live.get_mut(&self.id) {
            session.sent = numbers.end;
            session.answered.resize(numbers.end as usize, 0);
        }
        for number in numbers.clone() {
            let sent = self.socket.send(&datagram(self.id, number, UP)).await;
            sent.map_err(|error| format!("datagram {number} cannot be sent: {error}"))?;
        }
        let until = tokio::time::Instant::now() + patience;
        let mut missing = numbers.len();
        let mut buffer = [0; 2 * LARGEST];
        while missing > 0 {
            let Ok(received) = timeout_at(until, self.socket.recv(&mut buffer)).await else {
                // The ledger tells whether it may be so.
                return Ok(());
            };
            let len = received.map_err(|error| format!("an answer failed: {error}"))?;
            match read(&buffer[..len], DOWN) {
                Some((id, number)) if id == self.id => {
                    missing -= usize::from(self.note(number) && numbers.contains(&number));
                }
                _ => ledger.finding(format!("flow {} got what is not its own", self.id)),
            }
        }
        Ok(())
    }

    /// Whether it is the first such answer.
    fn note(&self, number: u32) -> bool {
        let mut kept = self.sessions.kept();
        let session = kept.live.get_mut(&self.id);
        let times = session.and_then(|session| session.answered.get_mut(number as usize));
        times.is_some_and(|times| {
            *times = times.saturating_add(1);
            *times == 1
        })
    }
}

/// An endpoint, until it is killed.
pub(super) struct Endpoint {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    ledger: Arc<Ledger>,
    sessions: Arc<Sessions>,
    serving: Mutex<Option<JoinHandle<()>>>,
}

impl Endpoint {
    pub(super) async fn start(
        ledger: &Arc<Ledger>,
        sessions: &Arc<Sessions>,
        name: String,
        address: SocketAddr,
    ) -> io::Result<Endpoint> {
        let endpoint = Endpoint {
            name,
            address,
            ledger: Arc::clone(ledger),
            sessions: Arc::clone(sessions),
            serving: Mutex::default(),
        };
        endpoint.revive().await?;
        Ok(endpoint)
    }

    pub(super) async fn revive(&self) -> io::Result<()> {
        let socket = UdpSocket::bind(self.address).await?;
        let (ledger, sessions) = (Arc::clone(&self.ledger), Arc::clone(&self.sessions));
        let name = self.name.clone();
        let serving = tokio::spawn(async move {
            echo(&ledger, &sessions, &name, &socket).await;
        });
        *self.serving() = Some(serving);
        Ok(())
    }

    fn serving(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is sent to it from here on is refused by its host.
    pub(super) async fn kill(&self) {
        let serving = self.serving().take();
        if let Some(serving) = serving {
            serving.abort();
            // Cancelled, which is what was asked for; the socket is closed when it is.
            let _ = timeout(LOST_AFTER, serving).await;
        }
    }
}

async fn echo(ledger: &Ledger, sessions: &Sessions, name: &str, socket: &UdpSocket) {
    let mut buffer = [0; 2 * LARGEST];
    loop {
        // An error is an earlier answer's whose edge is gone.
        let Ok((len, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let Some((id, number)) = read(&buffer[..len], UP) else {
            ledger.finding(format!("{name} was sent {len} bytes of no flow"));
            continue;
        };
        if let Some(session) = sessions.kept().live.get_mut(&id) {
            let place = (name.to_owned(), from);
            let numbers = session.arrived.entry(place).or_default();
            let needed = (number as usize + 1).max(numbers.len());
            numbers.resize(needed, 0);
            numbers[number as usize] = numbers[number as usize].saturating_add(1);
        }
        // Where it cannot be sent, its client says so.
        let _ = socket.send_to(&datagram(id, number, DOWN), from).await;
    }
}

const UP: u64 = 0;
const DOWN: u64 = 1;

fn datagram(id: u64, number: u32, direction: u64) -> Vec<u8> {
    let body = body(id, number, direction);
    let mut datagram = Vec::with_capacity(HEAD + body.len());
    datagram.extend_from_slice(MAGIC);
    datagram.extend_from_slice(&id.to_be_bytes());
    datagram.extend_from_slice(&number.to_be_bytes());
    datagram.extend_from_slice(body);
    datagram
}

/// Which flow's and which number a datagram is; `None` when any byte of it is not as it must be.
fn read(datagram: &[u8], direction: u64) -> Option<(u64, u32)> {
    let (head, rest) = datagram.split_at_checked(HEAD)?;
    let id = u64::from_be_bytes(head[8..16].try_into().ok()?);
    let number = u32::from_be_bytes(head[16..].try_into().ok()?);
    (&head[..8] == MAGIC && rest == body(id, number, direction)).then_some((id, number))
}

fn body(id: u64, number: u32, direction: u64) -> &'static [u8] {
    let seed = mix(id.wrapping_mul(2).wrapping_add(direction) ^ mix(u64::from(number)));
    let len = (seed >> 32) as usize % (LARGEST - HEAD);
    stretch(seed, 0, len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_says_what_it_is_and_a_changed_one_does_not() {
        for number in 0..50 {
            let mut bytes = datagram(9, number, UP);
            assert_eq!(read(&bytes, UP), Some((9, number)));
            if bytes.len() > HEAD {
                assert_eq!(read(&bytes, DOWN), None);
            }
            bytes.push(0);
            assert_eq!(read(&bytes, UP), None);
        }
    }
}
