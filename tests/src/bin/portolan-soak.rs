//! `portolan-soak`: an edge of its own on loopback under everything that can happen to one, for as long as you like. The `portolan` beside
//! it is the one that is tried, unless `PORTOLAN_BIN` names another.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use portolan_tests::soak::{self, Options};

/// Traffic of every kind while endpoints die, vanish and stall, and the edge is reloaded, drained, upgraded and stopped for moments;
/// every byte and every flow accounted for. Exit 1 when anything is not explained. SIGTERM ends it early, with its summary.
#[derive(Debug, Parser)]
#[command(name = "portolan-soak", version)]
struct Args {
    /// How long new flows begin; the last ones take up to half a minute more
    #[arg(long, default_value_t = 3600, env = "SOAK_SECONDS")]
    seconds: u64,

    /// What everything random comes from; a run prints its own [default: random]
    #[arg(long, env = "SOAK_SEED")]
    seed: Option<u64>,

    /// New TCP flows a second; a fifth as many of UDP
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,

    /// Also writes the summary as JSON into this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let options = Options {
        seconds: args.seconds,
        seed: args.seed.unwrap_or_else(rand::random),
        rate: args.rate,
    };
    eprintln!("soak: {} s, seed {}", options.seconds, options.seed);
    let report = soak::run(options, |line| eprintln!("soak: {line}")).await?;
    print!("{report}");
    if let Some(path) = args.json {
        std::fs::write(&path, serde_json::to_string_pretty(&report)?)?;
    }
    Ok(ExitCode::from(u8::from(!report.is_clean())))
}
