//! Carries a plan out: observes a zone, makes checks, sends requests one after the other, deletes checks. Every decision is the
//! planner's or [`Apply`]'s; clock, chance and network are here.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use portolan_config::model::{Dns, DnsMode, HostedZone};
use tokio::time::{sleep, sleep_until};

use super::apply::{Answer, Apply, Outcome, Step};
use super::batches::batches;
use super::client::{Client, ReadError};
use super::desired::{Desired, LoadBalancers, Served, desired, load_balancers};
use super::health_checks::{CheckChange, CheckConfig, CurrentCheck, caller_reference, prefix};
use super::limits::Limits;
use super::model::RecordSet;
use super::ownership::{Holder, Ownership, Publisher};
use super::plan::{Inputs, Plan, plan};
use super::{Zone, counted};
use crate::aws::session::{CallError, ErrorClass};

/// How often a check is asked for when Route 53 has no time: it takes one new check in two seconds.
const CHECK_ATTEMPTS: u32 = 8;

/// The longest wait between two of them is this, doubled each time to a bound.
const CHECK_BACKOFF: Duration = Duration::from_secs(1);
const CHECK_BACKOFF_CAP: Duration = Duration::from_secs(20);

/// First wait before a change is asked after; doubled to [`SYNC_CAP`]. Most are through within a minute.
const SYNC_FIRST: Duration = Duration::from_millis(500);
const SYNC_CAP: Duration = Duration::from_secs(15);

/// What there is to plan from.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The zone.
    pub zone: Zone,
    /// Whether it has yet to be made.
    pub new_zone: bool,
    /// All its record sets.
    pub sets: Vec<RecordSet>,
    /// The health checks that are ours.
    pub checks: Vec<CurrentCheck>,
    /// Where the load balancers are that records are aliases of.
    pub load_balancers: LoadBalancers,
    /// Quotas and protections.
    pub limits: Limits,
}

/// Reads the zone and our checks. A zone that is not there is none to read where the file asks for it to be made.
pub async fn observe(client: &Client, dns: &Dns, us: &Publisher) -> Result<Observed, ReadError> {
    client.believe().await?;
    let zone = match (client.zone(&dns.hosted_zone).await, &dns.hosted_zone) {
        (Ok(zone), _) => zone,
        (Err(ReadError::NoZone(_)), HostedZone::Name(name)) if dns.create_zone => {
            return Ok(Observed {
                zone: Zone {
                    id: String::new(),
                    name: name.clone(),
                },
                new_zone: true,
                sets: Vec::new(),
                checks: Vec::new(),
                load_balancers: client.load_balancers(&load_balancers(dns)).await,
                limits: Limits::default(),
            });
        }
        (Err(error), _) => return Err(error),
    };
    let sets = client.sets(&zone).await?;
    let checks = client.checks(&prefix(us, &zone.id)).await?;
    let limits = client.limits(&zone).await;
    Ok(Observed {
        limits,
        zone,
        new_zone: false,
        sets,
        checks,
        load_balancers: client.load_balancers(&load_balancers(dns)).await,
    })
}

/// What the zone should hold, and how it gets there.
pub fn plan_for(
    dns: &Dns,
    us: &Publisher,
    served: &Served,
    observed: &Observed,
    mode: DnsMode,
    adopt: bool,
) -> (Desired, Plan) {
    let Observed {
        zone,
        new_zone,
        sets,
        checks,
        load_balancers,
        limits,
    } = observed;
    let ownership = Ownership::read(us, sets);
    let others = sets
        .iter()
        .filter(|set| ownership.holder(set) != Holder::Us);
    let others: Vec<&RecordSet> = others.collect();
    let desired = desired(dns, us, served, &zone.id, &others, load_balancers);
    let plan = plan(Inputs {
        zone,
        new_zone: *new_zone,
        us,
        desired: &desired,
        current: sets,
        checks,
        mode,
        adopt,
        limits,
    });
    (desired, plan)
}

/// What came of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Of its record sets.
    pub outcome: Outcome,
    /// Of its health checks: what went wrong.
    pub check_errors: Vec<String>,
}

impl Applied {
    /// Whether all of it was done.
    pub fn is_complete(&self) -> bool {
        let Outcome {
            set_aside, stopped, ..
        } = &self.outcome;
        set_aside.is_empty() && stopped.is_none() && self.check_errors.is_empty()
    }
}

/// Applies a plan: checks first, then record sets, then the checks of `deletable` that go. `told` hears of every request.
pub async fn apply(
    client: &Client,
    plan: &Plan,
    us: &Publisher,
    mode: DnsMode,
    deletable: &HashSet<String>,
    told: &mut (dyn FnMut(&str) + Send),
) -> Applied {
    let mut applied = Applied::default();
    let made = make_checks(client, plan, us, &mut applied, told).await;
    let mut requests = batches(&plan.groups);
    for request in &mut requests {
        request.resolve(&made);
    }
    let comment = format!("portolan {}/{} plan {}", us.owner, us.pop, plan.checksum);
    let mut run = Apply::new(requests);
    loop {
        match run.next(Instant::now()) {
            Step::Done => break,
            Step::Wait(until) => sleep_until(until.into()).await,
            Step::Send(request) => {
                let names: Vec<&str> = request.names().collect();
                let answer = client.change(&plan.zone, &request, mode, &comment).await;
                told(&said(&names, &answer));
                run.answered(answer, Instant::now(), rand::random());
            }
        }
    }
    applied.outcome = run.outcome();
    for change in &plan.checks {
        if let CheckChange::Delete { id, .. } = change
            && deletable.contains(id)
            && applied.outcome.stopped.is_none()
        {
            match client.delete_check(id).await {
                Ok(()) => told(&format!("health check {id} deleted")),
                Err(error) => applied.check_errors.push(error.to_string()),
            }
        }
    }
    applied
}

fn said(names: &[&str], answer: &Answer) -> String {
    let what = match names {
        [one] => (*one).to_owned(),
        [first, rest @ ..] => format!("{first} and {}", counted(rest.len(), "more name")),
        [] => String::new(),
    };
    match answer {
        Answer::Accepted(change) => format!("{what}: accepted as change {change}"),
        Answer::Later(why) => format!("{what}: not now ({why})"),
        Answer::Refused(why) => format!("{what}: refused ({why})"),
        Answer::Denied(why) => format!("{what}: denied ({why})"),
        Answer::Unknown(why) => format!("{what}: no answer ({why})"),
    }
}

/// Ids of the new checks by fingerprint. A check that cannot be made leaves the names that need it for the next time.
async fn make_checks(
    client: &Client,
    plan: &Plan,
    us: &Publisher,
    applied: &mut Applied,
    told: &mut (dyn FnMut(&str) + Send),
) -> BTreeMap<String, String> {
    let mut made = BTreeMap::new();
    for change in &plan.checks {
        match change {
            CheckChange::Create { config } => {
                match create_check(client, &plan.zone, us, config).await {
                    Ok(id) => {
                        told(&format!("health check {id} made: {config}"));
                        made.insert(config.fingerprint(), id);
                    }
                    Err(error) => applied.check_errors.push(error.to_string()),
                }
            }
            CheckChange::Update {
                id,
                version,
                config,
                ..
            } => match client.update_check(id, *version, config).await {
                Ok(()) => told(&format!("health check {id} changed: {config}")),
                Err(error) => applied.check_errors.push(error.to_string()),
            },
            CheckChange::Delete { .. } => {}
        }
    }
    made
}

async fn create_check(
    client: &Client,
    zone: &Zone,
    us: &Publisher,
    config: &CheckConfig,
) -> Result<String, CallError> {
    let mut bound = CHECK_BACKOFF;
    let mut attempt = 1;
    // One reference for all attempts: a check that was made without our hearing of it is answered with.
    let reference = caller_reference(us, &zone.id, config, rand::random());
    loop {
        match client.create_check(&reference, config, us).await {
            Err(error) if may_try_again(&error) && attempt < CHECK_ATTEMPTS => {
                sleep(bound.mul_f64(rand::random())).await;
                bound = (bound * 2).min(CHECK_BACKOFF_CAP);
                attempt += 1;
            }
            other => return other,
        }
    }
}

fn may_try_again(error: &CallError) -> bool {
    match error.class() {
        ErrorClass::Throttled
        | ErrorClass::Unavailable
        | ErrorClass::Timeout
        | ErrorClass::Unreachable => true,
        ErrorClass::Malformed
        | ErrorClass::Denied
        | ErrorClass::Credentials
        | ErrorClass::NotFound
        | ErrorClass::Refused
        | ErrorClass::WrongAccount => false,
    }
}

/// Waits until all name servers have these changes, at most so long; those that have not been seen to be through are given back.
pub async fn wait_in_sync(client: &Client, changes: Vec<String>, within: Duration) -> Vec<String> {
    let end = Instant::now() + within;
    let mut open = changes;
    let mut wait = SYNC_FIRST;
    loop {
        let mut still = Vec::new();
        for change in open {
            match client.is_in_sync(&change).await {
                Ok(true) => {}
                Ok(false) | Err(_) => still.push(change),
            }
        }
        open = still;
        if open.is_empty() || Instant::now() + wait >= end {
            return open;
        }
        sleep(wait).await;
        wait = (wait * 2).min(SYNC_CAP);
    }
}
