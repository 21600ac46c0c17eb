//! An endpoint in a process of its own, so that it can be killed and stopped like one.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use portolan_tests::endpoint::{self, Behaviour, Endpoint};
use portolan_tests::http::Status;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// A line that takes the endpoint this long to answer.
pub(crate) const THINK: (&str, Duration) = ("think", Duration::from_secs(10));

/// Serves until it is killed.
pub(crate) async fn run(name: &str, at: &[&str]) -> Result<ExitCode> {
    let mut endpoints = Vec::new();
    for word in at {
        let (kind, address) = word.split_once('=').context("KIND=ADDRESS is expected")?;
        let behaviour = match kind {
            "lines" => lines(name),
            "web" => endpoint::web(&Status::default()),
            _ => bail!("{kind}: lines or web"),
        };
        let address = address.parse().with_context(|| address.to_owned())?;
        endpoints.push(Endpoint::start_at(address, name, behaviour).await);
    }
    std::future::pending::<()>().await;
    Ok(ExitCode::SUCCESS)
}

/// Answers every line with its name, [`THINK`] after a while.
fn lines(name: &str) -> Behaviour {
    let answer = format!("{name}\n");
    endpoint::custom(move |stream: TcpStream| {
        let answer = answer.clone();
        async move {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            loop {
                line.clear();
                if stream.read_line(&mut line).await? == 0 {
                    return Ok(());
                }
                if line.trim() == THINK.0 {
                    tokio::time::sleep(THINK.1).await;
                }
                stream.write_all(answer.as_bytes()).await?;
            }
        }
    })
}
