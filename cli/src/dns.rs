//! `portolan dns plan` and `portolan dns apply`: what would change in Route 53, then exactly that. Reads the zone itself; of a running
//! edge it only asks for the addresses of accelerators that are not the file's.

mod told;

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use portolan_config::file;
use portolan_config::model::{Config, Dns, DnsMode, RecordValue};
use portolan_control::publish::route53::client::Client as Route53;
use portolan_control::publish::route53::desired::Served;
use portolan_control::publish::route53::driver::{self, Applied};
use portolan_control::publish::route53::health_checks::CheckChange;
use portolan_control::publish::route53::ownership::Publisher;
use portolan_control::publish::route53::plan::Plan;
use portolan_control::publish::{publisher, served};
use portolan_control::state::StateView;
use serde::Serialize;

use crate::args::{EXIT_DONE, EXIT_FAILED};
use crate::client::{Client, block_on, print, print_json};
use crate::table::Paint;

pub(crate) use self::told::view;

/// `plan` found something to change.
const EXIT_CHANGES: u8 = 2;

/// Route 53 says within a minute; an operator who waits may stop waiting.
const SYNC_WITHIN: Duration = Duration::from_secs(300);

/// The reviewed plan, once more what an answer that never came left open, once more the checks that nothing refers to any more.
const ROUNDS: usize = 3;

/// What `portolan dns` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Read the zone and say what would change, what stands in the way, and what it costs; exit 0 without changes, 2 with some, 1 failed
    Plan(PlanArgs),
    /// Make the changes of a plan, if they are still the same
    Apply(ApplyArgs),
}

#[derive(Debug, clap::Args)]
struct Common {
    /// The TOML file with [dns]
    #[arg(long, short, value_name = "FILE", env = "PORTOLAN_CONFIG")]
    config: PathBuf,

    /// Take over simple records without a mark, and those of other PoPs of the same owner
    #[arg(long)]
    adopt: bool,

    /// What may be written, instead of the file's mode
    #[arg(long, value_name = "MODE", value_parser = mode())]
    mode: Option<DnsMode>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct PlanArgs {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct ApplyArgs {
    #[command(flatten)]
    common: Common,

    /// The checksum that `dns plan` gave, with the same options: any other plan is refused
    #[arg(long, value_name = "CHECKSUM")]
    plan: String,

    /// Delete although it is more than 30 % of what this PoP has
    #[arg(long)]
    force: bool,

    /// Do not wait until all name servers of Route 53 have the changes
    #[arg(long)]
    no_wait: bool,
}

fn mode() -> impl TypedValueParser<Value = DnsMode> {
    let words = DnsMode::WORDS.map(|(word, _)| word);
    PossibleValuesParser::new(words).map(|word| {
        let known = DnsMode::WORDS.into_iter().find(|(w, _)| *w == word);
        known.expect("the parser lets known words through").1
    })
}

/// `portolan dns`.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Plan(args) => plan(args),
        Command::Apply(args) => apply(args),
    }
}

/// Everything that a plan is made from but the zone.
struct Desk {
    dns: Dns,
    us: Publisher,
    served: Served,
    mode: DnsMode,
    adopt: bool,
    route53: Route53,
}

impl Desk {
    /// `None` when the file is broken, which has been said.
    async fn open(args: &Common) -> anyhow::Result<Option<Desk>> {
        let config = match file::load(&args.config) {
            Ok(loaded) => loaded.config,
            Err(errors) => {
                eprintln!("{errors}");
                return Ok(None);
            }
        };
        let Some(dns) = config.dns.clone() else {
            bail!(
                "{} has no [dns]: nothing is published",
                args.config.display()
            );
        };
        let served = known(&config, &dns).await;
        Ok(Some(Desk {
            us: publisher(&config, &dns),
            served,
            mode: args.mode.unwrap_or(dns.mode),
            adopt: args.adopt,
            route53: Route53::open(config.aws.as_ref(), &Arc::default()).await?,
            dns,
        }))
    }

    async fn plan(&self) -> anyhow::Result<Plan> {
        let observed = driver::observe(&self.route53, &self.dns, &self.us).await?;
        let Desk {
            dns,
            us,
            served,
            mode,
            adopt,
            ..
        } = self;
        Ok(driver::plan_for(dns, us, served, &observed, *mode, *adopt).1)
    }
}

/// What the file serves; accelerators of the API and of AWS are known to the running edge alone. Without one their records stay as
/// they are.
async fn known(config: &Config, dns: &Dns) -> Served {
    let mut served = served(config);
    let is_missing = |value: &RecordValue| match value {
        RecordValue::Accelerator(name) => !served.accelerators.contains_key(name.as_str()),
        RecordValue::Pop | RecordValue::Alias { .. } => false,
    };
    if !dns.records.iter().any(|record| is_missing(&record.value)) {
        return served;
    }
    match ask_edge(config).await {
        Ok(state) => {
            for accelerator in state.accelerators {
                let addresses = accelerator.addresses.iter();
                let addresses = addresses.filter_map(|a| a.address.parse::<IpAddr>().ok());
                let addresses = addresses.filter(|ip| !ip.is_unspecified()).collect();
                let known = served.accelerators.entry(accelerator.name);
                known.or_insert(addresses);
            }
        }
        Err(error) => eprintln!("the running edge was not asked for its accelerators: {error:#}"),
    }
    served
}

async fn ask_edge(config: &Config) -> anyhow::Result<StateView> {
    let client = Client::of_edge(&config.admin)?;
    Ok(client.get("/api/v1/state").await?.0)
}

fn plan(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let plan = block_on(async {
        match Desk::open(&args.common).await? {
            Some(desk) => desk.plan().await.map(Some),
            None => Ok(None),
        }
    })?;
    let Some(plan) = plan else {
        // 2 is for changes here, so a file that cannot be read is a failure.
        return Ok(ExitCode::from(EXIT_FAILED));
    };
    if args.common.json {
        print_json(&plan)?;
    } else {
        print(&told::plan(&plan, &args.common, Paint::of_stdout()))?;
    }
    let code = if plan.is_empty() {
        EXIT_DONE
    } else {
        EXIT_CHANGES
    };
    Ok(ExitCode::from(code))
}

/// What `apply --json` prints.
#[derive(Debug, Default, Serialize)]
struct Report {
    plan: String,
    applied: Vec<String>,
    changes: Vec<String>,
    /// Changes that had not reached all name servers when the command ended.
    pending: Vec<String>,
    errors: Vec<String>,
}

impl Report {
    fn add(&mut self, applied: &Applied) {
        let outcome = &applied.outcome;
        self.applied.extend(outcome.applied.iter().cloned());
        self.changes.extend(outcome.changes.iter().cloned());
        let aside = outcome.set_aside.iter();
        self.errors.extend(
            aside.map(|aside| format!("{}: Route 53 refuses it: {}", aside.group, aside.why)),
        );
        self.errors.extend(applied.check_errors.iter().cloned());
    }
}

fn apply(args: &ApplyArgs) -> anyhow::Result<ExitCode> {
    let report = block_on(async {
        match Desk::open(&args.common).await? {
            Some(desk) => carry_out(&desk, args).await.map(Some),
            None => Ok(None),
        }
    })?;
    let Some(report) = report else {
        return Ok(ExitCode::from(EXIT_FAILED));
    };
    if args.common.json {
        print_json(&report)?;
    } else {
        print(&told::report(&report, Paint::of_stdout()))?;
    }
    let code = if report.errors.is_empty() {
        EXIT_DONE
    } else {
        EXIT_FAILED
    };
    Ok(ExitCode::from(code))
}

async fn carry_out(desk: &Desk, args: &ApplyArgs) -> anyhow::Result<Report> {
    let mut report = Report {
        plan: args.plan.clone(),
        ..Report::default()
    };
    let mut plan = desk.plan().await?;
    if plan.is_empty() {
        return Ok(report);
    }
    permitted(desk, &plan, args)?;
    if plan.new_zone {
        let name = &plan.zone.name;
        let zone = desk.route53.create_zone(name, &desk.us).await;
        let zone = zone.with_context(|| format!("the hosted zone {name} cannot be made"))?;
        eprintln!("hosted zone {} made: {}", zone.name, zone.id);
        plan = desk.plan().await?;
    }
    let reviewed: HashSet<String> = plan.groups.iter().map(|g| g.name.clone()).collect();
    for round in 1..=ROUNDS {
        let applied = write(desk, &plan).await;
        report.add(&applied);
        let open = applied.outcome.changes.clone();
        if !args.no_wait && !open.is_empty() {
            eprintln!("waiting for all name servers …");
            let late = driver::wait_in_sync(&desk.route53, open, SYNC_WITHIN).await;
            report.pending.extend(late);
        } else {
            report.pending.extend(open);
        }
        let stopped = applied.outcome.stopped;
        let is_over = stopped.is_some() && !applied.outcome.uncertain;
        if round == ROUNDS || is_over || !report.errors.is_empty() {
            report.errors.extend(stopped);
            break;
        }
        plan = desk.plan().await?;
        plan.groups.retain(|group| reviewed.contains(&group.name));
        let only_deletes = plan.checks.iter().all(|change| match change {
            CheckChange::Delete { .. } => true,
            CheckChange::Create { .. } | CheckChange::Update { .. } => false,
        });
        match stopped {
            None if plan.groups.is_empty() && (plan.checks.is_empty() || !only_deletes) => break,
            None if !plan.groups.is_empty() => {
                report.errors.push(
                    "somebody else changed the same names meanwhile; run `portolan dns plan` again"
                        .into(),
                );
                break;
            }
            None => {}
            Some(why) if plan.is_empty() => {
                eprintln!("{why}; it was done");
                break;
            }
            Some(why) => eprintln!("{why}; what is left is sent again"),
        }
    }
    Ok(report)
}

async fn write(desk: &Desk, plan: &Plan) -> Applied {
    let deletable = plan.checks.iter().filter_map(|change| match change {
        CheckChange::Delete { id, .. } => Some(id.clone()),
        CheckChange::Create { .. } | CheckChange::Update { .. } => None,
    });
    let deletable = deletable.collect();
    let mut told = |line: &str| eprintln!("{line}");
    driver::apply(
        &desk.route53,
        plan,
        &desk.us,
        desk.mode,
        &deletable,
        &mut told,
    )
    .await
}

fn permitted(desk: &Desk, plan: &Plan, args: &ApplyArgs) -> anyhow::Result<()> {
    if plan.checksum != args.plan {
        return Err(anyhow!(
            "the plan is {} by now, not {}: the zone, the file or the options have changed; look at `portolan dns plan` again",
            plan.checksum,
            args.plan
        ));
    }
    if desk.mode == DnsMode::Observe {
        bail!(
            "[dns] mode = \"observe\" writes nothing; set another mode in the file, or give --mode sync"
        );
    }
    if let Some(shrink) = plan.shrink
        && !args.force
    {
        bail!("{shrink}; --force says that this is meant");
    }
    Ok(())
}
