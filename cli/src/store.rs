//! `portolan store export` and `portolan store import`: what the API made, as JSON, out of the running process and back into it. The
//! running process alone has the store open, so it is asked.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use portolan_control::store::Export;
use serde::Deserialize;
use serde_json::Value;

use crate::args::EXIT_DONE;
use crate::client::{AdminArgs, Client, block_on};

/// What `portolan store` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write everything that the API made as JSON
    Export(ExportArgs),
    /// Put an export in the place of everything that the API made
    Import(ImportArgs),
}

#[derive(Debug, clap::Args)]
struct ExportArgs {
    /// Where to; the standard output by default
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, clap::Args)]
struct ImportArgs {
    /// What `export` wrote; - is the standard input
    #[arg(value_name = "FILE")]
    input: PathBuf,

    /// Yes, what is there is to be replaced
    #[arg(long)]
    replace: bool,

    #[command(flatten)]
    admin: AdminArgs,
}

/// `portolan store`.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Export(args) => block_on(export(args)),
        Command::Import(args) => block_on(import(args)),
    }
}

async fn export(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let (export, _): (Export, Value) = Client::new(&args.admin)?.get("/api/v1/store").await?;
    let mut text = serde_json::to_string_pretty(&export)?;
    text.push('\n');
    match &args.output {
        Some(path) => {
            fs::write(path, text).with_context(|| format!("{}", path.display()))?;
            eprintln!("{} records in {}", count(&export), path.display());
        }
        None => io::stdout().write_all(text.as_bytes())?,
    }
    Ok(ExitCode::from(EXIT_DONE))
}

#[derive(Deserialize)]
struct Imported {
    records: usize,
}

async fn import(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let text = read(&args.input)?;
    let export: Export = serde_json::from_str(&text)
        .with_context(|| format!("{}: it is no export of a store", args.input.display()))?;
    let client = Client::new(&args.admin)?;
    let (present, _): (Export, Value) = client.get("/api/v1/store").await?;
    let there = resources(&present);
    if there > 0 && !args.replace {
        bail!("the store holds {there} resources; export them first, then import with --replace");
    }
    let body = serde_json::to_value(&export)?;
    let (imported, _): (Imported, Value) = client.post("/api/v1/store", &body).await?;
    eprintln!("{} records are in force", imported.records);
    Ok(ExitCode::from(EXIT_DONE))
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    if path == Path::new("-") {
        io::stdin()
            .read_to_string(&mut text)
            .context("standard input")?;
        return Ok(text);
    }
    fs::read_to_string(path).with_context(|| format!("{}", path.display()))
}

fn count(export: &Export) -> usize {
    export.records.values().map(|rows| rows.len()).sum()
}

/// Records that somebody made, as opposed to notes of the store's own.
fn resources(export: &Export) -> usize {
    use portolan_control::store::Table;
    let is_made = |table: &Table| !matches!(table, Table::Meta | Table::Tokens);
    let made = export.records.iter().filter(|(table, _)| is_made(table));
    made.map(|(_, rows)| rows.len()).sum()
}
