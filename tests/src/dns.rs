//! One question and its answer: enough to see through the eyes of a DNS server, and enough of one to give a name an address.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinHandle;

use crate::place;

/// The outcome of a question for an A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 0 is no error, 5 is refused (RFC 1035, 4.1.1).
    pub code: u8,
    /// The last four bytes: the address, when there is one answer.
    pub last: [u8; 4],
}

/// A question for the address of `name`.
pub fn question(name: &str) -> Vec<u8> {
    let mut question = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(label.len() as u8);
        question.extend_from_slice(label.as_bytes());
    }
    // The root, type A, class IN.
    question.extend_from_slice(&[0, 0, 1, 0, 1]);
    question
}

/// Reads an answer as far as tests need it.
pub fn read(answer: &[u8]) -> Answer {
    let last = answer.last_chunk().copied().unwrap_or_default();
    let code = answer.get(3).map_or(u8::MAX, |flags| flags & 0x0f);
    Answer { code, last }
}

/// Asks for the address of `name` over a connection.
pub async fn ask(mut stream: TcpStream, name: &str) -> io::Result<Answer> {
    let question = question(name);
    stream.write_u16(question.len() as u16).await?;
    stream.write_all(&question).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(read(&answer))
}

/// A name server that has one address for every name, and tells which names it was asked for.
pub struct Server {
    at: SocketAddr,
    asked: Arc<Mutex<BTreeSet<String>>>,
    serving: JoinHandle<()>,
}

impl Server {
    /// Starts one.
    ///
    /// # Panics
    /// When its address cannot be had.
    pub async fn start(address: Ipv4Addr) -> Server {
        let at = place::fresh();
        let socket = UdpSocket::bind(at).await.expect("a fresh address is free");
        let asked: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let names = Arc::clone(&asked);
        let serving = tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
                let Some((name, answer)) = answer(&buffer[..len], address) else {
                    continue;
                };
                names.lock().expect("no holder panics").insert(name);
                // Who has gone asks again.
                let _ = socket.send_to(&answer, from).await;
            }
        });
        Server { at, asked, serving }
    }

    /// Where it is.
    pub fn at(&self) -> SocketAddr {
        self.at
    }

    /// The names that it was asked for.
    ///
    /// # Panics
    /// Never.
    pub fn asked(&self) -> BTreeSet<String> {
        self.asked.lock().expect("no holder panics").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The name in a question, and the answer: the address to whoever asks for A records, nothing to others.
fn answer(question: &[u8], address: Ipv4Addr) -> Option<(String, Vec<u8>)> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let len = usize::from(*question.get(at)?);
        at += 1;
        if len == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(question.get(at..at + len)?).into_owned());
        at += len;
    }
    let is_a = question.get(at..at + 2)? == [0, 1];
    // An answer, recursion available, no error; one question, and one answer or none (RFC 1035, 4.1.1).
    let mut answer = [
        &question[..2],
        &[0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0],
    ]
    .concat();
    answer.extend_from_slice(question.get(12..at + 4)?);
    if is_a {
        // The name of the question, type A, class IN, a minute.
        answer.extend_from_slice(&[0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend_from_slice(&address.octets());
    }
    Some((labels.join("."), answer))
}
