//! `portolan aws plan | sync | check-permissions`: what AWS says against what is served, taken over at once, and what may be read.
//! `plan` and `check-permissions` ask AWS themselves, with the credentials of who runs them; `sync` asks the running edge, and works
//! from the file when none runs.

mod told;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use portolan_config::file;
use portolan_config::model::Config;
use portolan_control::aws::{self, AwsView, Planned};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::args::{EXIT_DONE, EXIT_FAILED, EXIT_INVALID_FILE};
use crate::client::{AdminArgs, Client, block_on, print, print_json};
use crate::table::Paint;

pub(crate) use self::told::view;

/// `plan` found something to do.
const EXIT_CHANGES: u8 = 2;

/// A reading ends within five minutes, and one may be under way.
const SYNC_TAKES: Duration = Duration::from_secs(660);

/// How often a running edge is asked whether it is done.
const LOOK: Duration = Duration::from_millis(200);

/// What `portolan aws` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Read AWS and say what would change and why; exit 0 without changes, 2 with some, 1 when not all could be read
    Plan(PlanArgs),
    /// Have the running edge read AWS now; without one, keep the answer for its next start
    Sync(SyncArgs),
    /// Try every call that import and publication make and that changes nothing, and print the least policy for the file
    CheckPermissions(CheckArgs),
}

#[derive(Debug, clap::Args)]
struct PlanArgs {
    /// The TOML file; the last good answer lies beside its store
    #[arg(long, short, value_name = "FILE", env = "PORTOLAN_CONFIG")]
    config: PathBuf,

    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct SyncArgs {
    #[command(flatten)]
    admin: AdminArgs,

    /// The TOML file, for when no edge runs
    #[arg(long, short, value_name = "FILE", env = "PORTOLAN_CONFIG")]
    config: Option<PathBuf>,

    /// Let losses go that would wait: AWS has fewer endpoints, and that is meant
    #[arg(long)]
    accept_shrink: bool,

    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// The TOML file
    #[arg(long, short, value_name = "FILE", env = "PORTOLAN_CONFIG")]
    config: PathBuf,

    /// Print the policy alone and ask nobody
    #[arg(long)]
    policy: bool,

    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// `portolan aws`.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Plan(args) => plan(args),
        Command::Sync(args) => sync(args),
        Command::CheckPermissions(args) => check_permissions(args),
    }
}

/// The file's `[aws]`, or the exit code that says why not.
fn load(path: &Path) -> anyhow::Result<Result<Config, ExitCode>> {
    let config = match file::load(path) {
        Ok(loaded) => loaded.config,
        Err(errors) => {
            eprintln!("{errors}");
            return Ok(Err(ExitCode::from(EXIT_INVALID_FILE)));
        }
    };
    if config.aws.is_none() {
        bail!("{} has no [aws]: nothing is read from AWS", path.display());
    }
    Ok(Ok(config))
}

fn plan(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let config = match load(&args.config)? {
        Ok(config) => config,
        // 2 is for changes here, too, so a file that cannot be read is a failure.
        Err(_) => return Ok(ExitCode::from(EXIT_FAILED)),
    };
    eprintln!("asking AWS …");
    let planned = block_on(async { Ok(aws::plan_once(&config).await?) })?;
    if args.json {
        print_json(&planned)?;
    } else {
        print(&told::planned(&planned, Paint::of_stdout()))?;
    }
    Ok(ExitCode::from(exit_of(&planned)))
}

fn exit_of(planned: &Planned) -> u8 {
    match (planned.whole, planned.changes.is_empty()) {
        (false, _) => EXIT_FAILED,
        (true, true) => EXIT_DONE,
        (true, false) => EXIT_CHANGES,
    }
}

fn sync(args: &SyncArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.admin)?;
    let asked = block_on(ask_for_sync(&client, args.accept_shrink));
    match (asked, &args.config) {
        (Ok(ticket), _) => {
            let view = block_on(wait(&client, ticket))?;
            if args.json {
                print_json(&view)?;
            } else {
                print(&told::view(&view, Paint::of_stdout()))?;
            }
            let failed = !view.errors.is_empty();
            Ok(ExitCode::from(if failed { EXIT_FAILED } else { EXIT_DONE }))
        }
        (Err(error), None) => {
            Err(error.context("without a running edge, --config FILE says what to read"))
        }
        (Err(error), Some(path)) if is_nobody(&error) => sync_from_file(path, args),
        (Err(error), Some(_)) => Err(error),
    }
}

/// Whether no edge runs at all: one that answers with an error knows better than the file.
fn is_nobody(error: &anyhow::Error) -> bool {
    error.to_string().starts_with("no Portolan answers")
}

async fn ask_for_sync(client: &Client, accept_shrink: bool) -> anyhow::Result<u64> {
    #[derive(Deserialize)]
    struct Taken {
        ticket: u64,
    }
    let path = format!("/api/v1/aws/sync?accept_shrink={accept_shrink}");
    let (Taken { ticket }, _): (Taken, Value) = client.post(&path, &json!({})).await?;
    Ok(ticket)
}

async fn wait(client: &Client, ticket: u64) -> anyhow::Result<AwsView> {
    eprintln!("the edge is asking AWS …");
    let until = Instant::now() + SYNC_TAKES;
    while Instant::now() < until {
        let (view, _): (AwsView, Value) = client.get("/api/v1/aws").await?;
        if view.fulfilled >= ticket {
            return Ok(view);
        }
        sleep(LOOK).await;
    }
    bail!(
        "the reading has not ended within {} s; `portolan status` tells when it has",
        SYNC_TAKES.as_secs()
    )
}

fn sync_from_file(path: &Path, args: &SyncArgs) -> anyhow::Result<ExitCode> {
    let config = match load(path)? {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    eprintln!("no edge runs; asking AWS for its next start …");
    let planned = block_on(async {
        aws::sync_once(&config, args.accept_shrink)
            .await
            .context("the answer is not kept")
    })?;
    if args.json {
        print_json(&planned)?;
    } else {
        print(&told::planned(&planned, Paint::of_stdout()))?;
    }
    Ok(ExitCode::from(if planned.whole {
        EXIT_DONE
    } else {
        EXIT_FAILED
    }))
}

fn check_permissions(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let config = match file::load(&args.config) {
        Ok(loaded) => loaded.config,
        Err(errors) => {
            eprintln!("{errors}");
            return Ok(ExitCode::from(EXIT_INVALID_FILE));
        }
    };
    if config.aws.is_none() && config.dns.is_none() {
        bail!(
            "{} has neither [aws] nor [dns]: AWS is not asked",
            args.config.display()
        );
    }
    if args.policy {
        print_json(&aws::policy(&config))?;
        return Ok(ExitCode::from(EXIT_DONE));
    }
    eprintln!("trying every call once …");
    let checked = block_on(async { Ok(aws::check(&config).await) })?;
    if args.json {
        print_json(&checked)?;
    } else {
        print(&told::checked(&checked, Paint::of_stdout()))?;
    }
    Ok(ExitCode::from(if checked.is_enough() {
        EXIT_DONE
    } else {
        EXIT_FAILED
    }))
}
