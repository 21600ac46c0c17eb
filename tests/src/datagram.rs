//! Endpoints and clients that speak in datagrams.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::deadline::{PATIENCE, patiently};
use crate::place;

/// Longer than any datagram.
const BUFFER: usize = 65_536;

/// What an endpoint does with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Answer {
    /// Sends it back.
    Echo,
    /// Sends its id, a space, and the datagram.
    Name,
    /// Nothing.
    Silence,
}

impl Answer {
    const ALL: [Answer; 3] = [Answer::Echo, Answer::Name, Answer::Silence];
}

/// Who sent it, and what it was.
pub type Received = (SocketAddr, Vec<u8>);

/// An endpoint in this process. What it was sent is kept.
pub struct Endpoint {
    id: String,
    address: SocketAddr,
    answer: Arc<AtomicU8>,
    seen: Arc<Mutex<Vec<Received>>>,
    serving: Option<JoinHandle<()>>,
}

impl Endpoint {
    /// Starts one at an address of its own.
    pub async fn start(id: &str, answer: Answer) -> Endpoint {
        Endpoint::start_at(place::fresh(), id, answer).await
    }

    /// Starts one.
    ///
    /// # Panics
    /// When the address is taken.
    pub async fn start_at(address: SocketAddr, id: &str, answer: Answer) -> Endpoint {
        let mut endpoint = Endpoint {
            id: id.to_owned(),
            address,
            answer: Arc::new(AtomicU8::new(answer as u8)),
            seen: Arc::default(),
            serving: None,
        };
        endpoint.serve().await;
        endpoint
    }

    /// Serves again after [`Endpoint::kill`].
    ///
    /// # Panics
    /// When the address is taken.
    pub async fn serve(&mut self) {
        let socket = UdpSocket::bind(self.address)
            .await
            .expect("the address is free");
        let (id, answer) = (self.id.clone(), Arc::clone(&self.answer));
        let seen = Arc::clone(&self.seen);
        self.serving = Some(tokio::spawn(async move {
            let mut buffer = vec![0; BUFFER];
            // An error is an earlier answer's whose client is gone.
            loop {
                let Ok((len, from)) = socket.recv_from(&mut buffer).await else {
                    continue;
                };
                let datagram = buffer[..len].to_vec();
                let answer = match Answer::ALL[usize::from(answer.load(Ordering::SeqCst))] {
                    Answer::Echo => Some(datagram.clone()),
                    Answer::Name => Some([id.as_bytes(), b" ", &datagram].concat()),
                    Answer::Silence => None,
                };
                seen.lock()
                    .expect("no holder panics")
                    .push((from, datagram));
                if let Some(answer) = answer {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        }));
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who sent what, since the last time this was asked.
    ///
    /// # Panics
    /// Never.
    pub fn seen(&self) -> Vec<Received> {
        std::mem::take(&mut *self.seen.lock().expect("no holder panics"))
    }

    /// Answers otherwise from here on.
    pub fn set_answer(&self, answer: Answer) {
        self.answer.store(answer as u8, Ordering::SeqCst);
    }

    /// Ends it: what is sent to it is refused by its host.
    pub async fn kill(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            // Cancelled, which is what was asked for; the socket is closed now.
            let _ = serving.await;
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

/// A client whose socket takes answers from where it sends to and from nowhere else.
pub struct Client {
    socket: UdpSocket,
}

impl Client {
    /// From the system's choice of address.
    ///
    /// # Panics
    /// When there is no socket to be had.
    pub async fn to(to: SocketAddr) -> Client {
        let from: IpAddr = match to {
            SocketAddr::V4(_) => [127, 0, 0, 1].into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        Client::from(from, to).await
    }

    /// From an address of choice.
    ///
    /// # Panics
    /// When there is no socket to be had.
    pub async fn from(from: IpAddr, to: SocketAddr) -> Client {
        let socket = UdpSocket::bind((from, 0)).await.expect("a free port");
        socket.connect(to).await.expect("a route on loopback");
        Client { socket }
    }

    /// Its own address.
    ///
    /// # Panics
    /// Never.
    pub fn local(&self) -> SocketAddr {
        self.socket.local_addr().expect("it is bound")
    }

    /// Sends.
    pub async fn say(&self, datagram: &[u8]) -> io::Result<()> {
        self.socket.send(datagram).await.map(|_| ())
    }

    /// Waits for the next datagram.
    ///
    /// # Panics
    /// When none comes.
    pub async fn hear(&self) -> Vec<u8> {
        patiently("a datagram", self.heard())
            .await
            .expect("no error on a client's socket")
    }

    /// Waits for the next datagram so long; `None` when none came.
    pub async fn hear_within(&self, within: Duration) -> Option<Vec<u8>> {
        tokio::time::timeout(within, self.heard()).await.ok()?.ok()
    }

    async fn heard(&self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; BUFFER];
        let len = self.socket.recv(&mut buffer).await?;
        buffer.truncate(len);
        Ok(buffer)
    }

    /// Sends, and waits for the answer.
    ///
    /// # Panics
    /// When none comes.
    pub async fn ask(&self, datagram: &[u8]) -> Vec<u8> {
        self.say(datagram).await.expect("it can be sent");
        self.hear().await
    }

    /// Says something to endpoints that answer with their names, and gives the name.
    ///
    /// # Panics
    /// When the answer is not one of such an endpoint to this question.
    pub async fn who(&self, datagram: &str) -> String {
        let answer = self.ask(datagram.as_bytes()).await;
        name_in(&answer, datagram).unwrap_or_else(|| {
            let answer = answer.escape_ascii();
            panic!("{answer} to {datagram}")
        })
    }

    /// Sends a train of datagrams of one size in one go (`UDP_SEGMENT`).
    ///
    /// # Panics
    /// When the kernel does not take it.
    pub async fn say_train(&self, train: &[u8], segment: usize) {
        // Of another socket, which then is told trains whole: this one is to hear datagrams as most clients do.
        let other = std::net::UdpSocket::bind((IpAddr::from([127, 0, 0, 1]), 0)).expect("a port");
        let state = quinn_udp::UdpSocketState::new((&other).into()).expect("a socket");
        let transmit = quinn_udp::Transmit {
            destination: self.socket.peer_addr().expect("it is connected"),
            ecn: None,
            contents: train,
            segment_size: Some(segment),
            src_ip: None,
        };
        self.socket.writable().await.expect("a live socket");
        state
            .try_send((&self.socket).into(), &transmit)
            .expect("the kernel splits datagrams");
    }
}

/// The name in an answer to `question`.
pub fn name_in(answer: &[u8], question: &str) -> Option<String> {
    let text = std::str::from_utf8(answer).ok()?;
    let name = text.strip_suffix(question)?.strip_suffix(' ')?;
    Some(name.to_owned())
}

/// Asks until an answer comes, as clients of UDP do, and says how often it was asked.
///
/// # Panics
/// When none comes.
pub async fn who_at_last(client: &Client, question: &str, step: Duration) -> (String, usize) {
    let most = (PATIENCE.as_millis() / step.as_millis().max(1)) as usize;
    for times in 1..=most {
        let _ = client.say(question.as_bytes()).await;
        if let Some(answer) = client.hear_within(step).await
            && let Some(name) = name_in(&answer, question)
        {
            return (name, times);
        }
    }
    panic!("no answer to {question}")
}
