//! A name server on loopback with a table of its own, for names whose addresses change.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::place;

/// A name server on loopback with a table that a test changes. What is not in it does not exist; answers are good for a second.
pub struct Names {
    at: SocketAddr,
    table: Arc<Mutex<HashMap<String, Vec<Ipv4Addr>>>>,
    serving: JoinHandle<()>,
}

impl Names {
    /// Starts one that knows nothing.
    ///
    /// # Panics
    /// When its address cannot be had.
    pub async fn start() -> Names {
        let at = place::fresh();
        let socket = UdpSocket::bind(at).await.expect("a fresh address is free");
        let table = Arc::<Mutex<HashMap<String, Vec<Ipv4Addr>>>>::default();
        let known = Arc::clone(&table);
        let serving = tokio::spawn(async move {
            let mut buffer = [0; 2048];
            while let Ok((size, from)) = socket.recv_from(&mut buffer).await {
                let known = known.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some(answer) = answer(&buffer[..size], &known) {
                    // Who has gone asks no more.
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Names { at, table, serving }
    }

    /// The file's section that asks it.
    pub fn toml(&self) -> String {
        format!("[resolver]\nnameservers = [\"{}\"]\n", self.at)
    }

    /// What a name gives from here on.
    pub fn set(&self, name: &str, addresses: &[Ipv4Addr]) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.insert(name.to_ascii_lowercase(), addresses.to_vec());
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Header, the question as it came, and an A record for each address (RFC 1035, 4.1); `None` for what is no question.
fn answer(asked: &[u8], known: &HashMap<String, Vec<Ipv4Addr>>) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*asked.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(asked.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let question = asked.get(12..at + 4)?;
    let is_a = asked.get(at..at + 2)? == [0, 1];
    let found = known.get(&labels.join("."));
    let addresses = found.filter(|_| is_a).map_or(&[][..], Vec::as_slice);
    let code = if found.is_some() { 0 } else { 3 };
    let mut out = asked.get(..2)?.to_vec();
    // Response, recursion desired and available.
    out.extend_from_slice(&[
        0x81,
        0x80 | code,
        0,
        1,
        0,
        addresses.len() as u8,
        0,
        0,
        0,
        0,
    ]);
    out.extend_from_slice(question);
    for address in addresses {
        // The name of the question, type A, class IN, one second, four bytes.
        out.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        out.extend_from_slice(&address.octets());
    }
    Some(out)
}
