//! One end of very many connections, in a process of its own, since two ends and the edge would not fit into one process's descriptors.
//! `serve ADDRESS` echoes; `call ADDRESS` obeys lines of its input: `open N` opens so many more connections, `ask` sends a byte over
//! each and waits for the echo. Each line is answered by one with how many did, and how many did not. Tests run it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Connects and questions under way at once: more would overflow a listening queue.
const AT_ONCE: usize = 64;

/// Far beyond what an answer takes.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, what, address] = arguments.as_slice() else {
        bail!("usage: portolan-crowd serve|call ADDRESS");
    };
    let address: SocketAddr = address.parse().context("not an address and port")?;
    match what.as_str() {
        "serve" => serve(address).await,
        "call" => call(address).await,
        other => bail!("neither serve nor call: {other}"),
    }
}

async fn serve(address: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await?;
    println!("serving");
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(echo(stream));
    }
}

async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let byte = stream.read_u8().await?;
        stream.write_u8(byte).await?;
    }
}

async fn call(address: SocketAddr) -> anyhow::Result<()> {
    let mut crowd = Vec::new();
    for line in std::io::stdin().lines() {
        let line = line?;
        let (done, failed) = match line.split_once(' ') {
            Some(("open", count)) => open(&mut crowd, address, count.parse()?).await,
            None if line == "ask" => ask_all(&mut crowd).await,
            _ => bail!("neither open nor ask: {line}"),
        };
        println!("{done} {failed}");
    }
    Ok(())
}

async fn open(crowd: &mut Vec<TcpStream>, address: SocketAddr, count: usize) -> (usize, usize) {
    let before = crowd.len();
    let mut opening = JoinSet::new();
    for _ in 0..count {
        while opening.len() >= AT_ONCE {
            crowd.extend(opening.join_next().await.and_then(Result::ok).flatten());
        }
        opening.spawn(async move { ask(TcpStream::connect(address).await.ok()?).await });
    }
    while let Some(opened) = opening.join_next().await {
        crowd.extend(opened.ok().flatten());
    }
    let opened = crowd.len() - before;
    (opened, count - opened)
}

async fn ask_all(crowd: &mut Vec<TcpStream>) -> (usize, usize) {
    let all = crowd.len();
    let mut asking = JoinSet::new();
    let mut answered = Vec::with_capacity(all);
    for stream in crowd.drain(..) {
        while asking.len() >= AT_ONCE {
            answered.extend(asking.join_next().await.and_then(Result::ok).flatten());
        }
        asking.spawn(ask(stream));
    }
    while let Some(asked) = asking.join_next().await {
        answered.extend(asked.ok().flatten());
    }
    *crowd = answered;
    (crowd.len(), all - crowd.len())
}

/// The connection, if it answers.
async fn ask(mut stream: TcpStream) -> Option<TcpStream> {
    let answer = timeout(PATIENCE, async {
        stream.write_u8(b'?').await?;
        stream.read_u8().await
    });
    let answer = answer.await.ok()?.ok()?;
    (answer == b'?').then_some(stream)
}
