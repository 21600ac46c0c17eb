//! The lab as a program.
//!
//! ```text
//! portolan-lab shell                                  a shell in a world with PoPs running (`make lab`)
//! portolan-lab failover run FAULT RUNS FOLDER         strikes everybody and keeps what was measured (`make failover`)
//! portolan-lab failover disturb MINUTES FOLDER        disturbs the way and counts false alarms
//! portolan-lab failover report FOLDER INTO            writes it up
//! portolan-lab ask SOCKET WORDS…                     what `lab` does in that shell
//! portolan-lab serve NAME lines=ADDRESS… web=ADDRESS… an endpoint that answers with its name, in a process of its own
//! ```

mod failover;
mod serve;
mod shell;

use std::process::ExitCode;

use anyhow::{Result, bail};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("portolan-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &[String]) -> Result<ExitCode> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["shell"] => shell::run().await,
        ["failover", words @ ..] => failover::run(words).await,
        ["ask", socket, words @ ..] => shell::ask(socket, words),
        ["serve", name, at @ ..] if !at.is_empty() => serve::run(name, at).await,
        _ => bail!(
            "shell | failover run FAULT RUNS FOLDER | failover report FOLDER INTO | serve NAME lines=ADDRESS… web=ADDRESS…"
        ),
    }
}
