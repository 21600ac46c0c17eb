//! One question and its answer: enough to see through the eyes of a DNS server.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

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
