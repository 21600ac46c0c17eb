//! Route 53 over the AWS SDK: reads zones, sets and checks into our model, writes requests out of it. Decides nothing. Reads are
//! tried again by the session; a request that changes something is sent once, and what came of it is told.

mod limits;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_route53::types::{
    ChangeBatch, ChangeStatus, ResettableElementName, RrType, Tag, TagResourceType,
};
use aws_sdk_route53::{Client as Sdk, config};
use portolan_config::model::{Aws, AwsReach, DnsMode, HostedZone};
use thiserror::Error;

use super::Zone;
use super::apply::Answer;
use super::batches::Batch;
use super::desired::LoadBalancers;
use super::health_checks::{CheckConfig, CurrentCheck};
use super::model::{Kind, RecordSet, name as our_name};
use super::ownership::Publisher;
use crate::aws::alias_zones;
use crate::aws::session::{
    Account, Call, CallError, Calls, ErrorClass, Fault, Service, Session, Timings, WholeXml,
};

/// Route 53's largest page of record sets.
const PAGE: i32 = 300;

/// A zone of more pages is read no further: 10,000 sets are a zone's quota, and a hundred times that can be asked for.
const MAX_PAGES: usize = 4000;

const REGION: &str = "us-east-1";

/// Why a question was not answered.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Route 53 did not.
    #[error(transparent)]
    Call(#[from] CallError),
    /// There is no such zone.
    #[error(
        "there is no public hosted zone {0} in this account; set create_zone = true in [dns] to have it made"
    )]
    NoZone(String),
    /// There are several.
    #[error("there are several public hosted zones {name}: {}; name one by its id in [dns] hosted_zone", ids.join(", "))]
    SeveralZones {
        /// The name.
        name: String,
        /// Their ids.
        ids: Vec<String>,
    },
    /// It does not end.
    #[error("the zone has more than {MAX_PAGES} pages of record sets, or they lead in circles")]
    Endless,
    /// An answer that cannot be all of it.
    #[error("Route 53's answer is not the whole zone: {0}; nothing is concluded from it")]
    Partial(&'static str),
}

/// A client of one account.
pub struct Client {
    aws: Aws,
    read: Session,
    write: Session,
    sdk: Sdk,
    /// Zones of load balancers that were found: they keep them for life.
    known_zones: Mutex<BTreeMap<String, String>>,
}

impl Client {
    /// By `[aws]`, or by the environment alone; asks nobody yet.
    pub async fn open(aws: Option<&Aws>, calls: &Arc<Calls>) -> Result<Self, CallError> {
        let aws = aws.cloned().unwrap_or_else(environment);
        let once = Timings {
            attempts: 1,
            // Route 53 takes its time over a request of a thousand records.
            attempt: Duration::from_secs(30),
            ..Timings::default()
        };
        let read = Session::open(&aws).await.counting(calls.clone());
        let write = Session::open_with(&aws, once).await;
        let write = write.counting(calls.clone());
        let config = read.config(&call("GetHostedZone")).await?;
        let config = config::Builder::from(&config).interceptor(WholeXml);
        Ok(Self {
            aws,
            read,
            write,
            sdk: Sdk::from_conf(config.build()),
            known_zones: Mutex::default(),
        })
    }

    /// Another account than the one that is believed has zones of the same names: nothing is asked of it. Credentials may change at
    /// any time, so this is asked before every comparison.
    pub async fn believe(&self) -> Result<(), CallError> {
        believe(&self.read, &self.aws).await
    }

    /// Asks once: what is only good to know is not waited for.
    async fn once<T, F>(&self, call: &Call<'_>, ask: impl Fn() -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        self.write.call(call, ask).await
    }

    /// Finds the zone.
    pub async fn zone(&self, hosted_zone: &HostedZone) -> Result<Zone, ReadError> {
        match hosted_zone {
            HostedZone::Id(id) => self.zone_of_id(id).await,
            HostedZone::Name(name) => self.zone_of_name(name).await,
        }
    }

    async fn zone_of_id(&self, id: &str) -> Result<Zone, ReadError> {
        let ask = || async { Ok(self.sdk.get_hosted_zone().id(id).send().await?) };
        let answer = self.read.call(&call("GetHostedZone"), ask).await;
        let answer = answer.map_err(|error| {
            if error.class() == ErrorClass::NotFound {
                ReadError::NoZone(id.to_owned())
            } else {
                error.into()
            }
        })?;
        let zone = answer.hosted_zone();
        let name = zone.map(|zone| our_name(zone.name())).unwrap_or_default();
        Ok(Zone {
            id: id.to_owned(),
            name,
        })
    }

    async fn zone_of_name(&self, name: &str) -> Result<Zone, ReadError> {
        let ask = || async {
            let asked = self.sdk.list_hosted_zones_by_name();
            Ok(asked.dns_name(name).max_items(100).send().await?)
        };
        let answer = self.read.call(&call("ListHostedZonesByName"), ask).await?;
        let is_private = |zone: &aws_sdk_route53::types::HostedZone| {
            zone.config().is_some_and(|config| config.private_zone())
        };
        let zones = answer.hosted_zones().iter();
        let mut ids: Vec<String> = zones
            .filter(|zone| our_name(zone.name()) == name && !is_private(zone))
            .map(|zone| wire::zone_id(zone.id()).to_owned())
            .collect();
        ids.sort();
        match ids.as_slice() {
            [] => Err(ReadError::NoZone(name.to_owned())),
            [id] => Ok(Zone {
                id: id.clone(),
                name: name.to_owned(),
            }),
            [_, _, ..] => Err(ReadError::SeveralZones {
                name: name.to_owned(),
                ids,
            }),
        }
    }

    /// The hosted zones of load balancers, each asked for until it is found.
    pub async fn load_balancers(&self, names: &BTreeSet<String>) -> LoadBalancers {
        let known = || {
            self.known_zones
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let open: BTreeSet<String> = {
            let known = known();
            names
                .iter()
                .filter(|n| !known.contains_key(*n))
                .cloned()
                .collect()
        };
        let mut found = alias_zones::zones(&self.read, &self.aws, &open).await;
        let mut known = known();
        for (name, zone) in &found {
            if let Ok(zone) = zone {
                known.insert(name.clone(), zone.clone());
            }
        }
        let before = names.difference(&open);
        found.extend(before.filter_map(|name| Some((name.clone(), Ok(known.get(name)?.clone())))));
        found
    }

    /// All record sets of a zone.
    pub async fn sets(&self, zone: &Zone) -> Result<Vec<RecordSet>, ReadError> {
        let mut sets = Vec::new();
        let mut next: Option<(String, Option<RrType>, Option<String>)> = None;
        for _ in 0..MAX_PAGES {
            let ask = || async {
                let asked = self.sdk.list_resource_record_sets();
                let asked = asked.hosted_zone_id(&zone.id).max_items(PAGE);
                let (name, kind, set) = next
                    .clone()
                    .map_or((None, None, None), |(n, k, s)| (Some(n), k, s));
                let asked = asked
                    .set_start_record_name(name)
                    .set_start_record_type(kind)
                    .set_start_record_identifier(set);
                Ok(asked.send().await?)
            };
            let page = self.read.call(&call("ListResourceRecordSets"), ask).await?;
            sets.extend(page.resource_record_sets().iter().map(wire::read_set));
            if !page.is_truncated() {
                return match is_whole(zone, &sets) {
                    true => Ok(sets),
                    false => Err(ReadError::Partial("it has no SOA")),
                };
            }
            let Some(name) = page.next_record_name() else {
                return Err(ReadError::Partial("it ends in the middle of the list"));
            };
            let after = Some((
                name.to_owned(),
                page.next_record_type().cloned(),
                page.next_record_identifier().map(str::to_owned),
            ));
            if after == next {
                return Err(ReadError::Endless);
            }
            next = after;
        }
        Err(ReadError::Endless)
    }

    /// The health checks whose caller references begin so.
    pub async fn checks(&self, prefix: &str) -> Result<Vec<CurrentCheck>, ReadError> {
        let mut checks = Vec::new();
        let mut marker: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let ask = || async {
                let asked = self.sdk.list_health_checks().max_items(100);
                Ok(asked.set_marker(marker.clone()).send().await?)
            };
            let page = self.read.call(&call("ListHealthChecks"), ask).await?;
            let ours = page.health_checks().iter();
            let ours = ours.filter(|check| check.caller_reference().starts_with(prefix));
            checks.extend(ours.map(wire::read_check));
            if !page.is_truncated() {
                return Ok(checks);
            }
            let after = page.next_marker().map(str::to_owned);
            if after.is_none() {
                return Err(ReadError::Partial(
                    "the list of health checks ends in the middle",
                ));
            }
            if after == marker {
                return Err(ReadError::Endless);
            }
            marker = after;
        }
        Err(ReadError::Endless)
    }

    /// Makes the zone. The reference is the same for every PoP of an owner, so that two of them make one zone.
    pub async fn create_zone(&self, name: &str, us: &Publisher) -> Result<Zone, CallError> {
        let reference = format!("portolan1:{}:{name}", us.owner);
        let reference: String = reference.chars().take(128).collect();
        let ask = || async {
            let asked = self.sdk.create_hosted_zone().name(name);
            Ok(asked.caller_reference(&reference).send().await?)
        };
        let answer = self.write.call(&call("CreateHostedZone"), ask).await?;
        let id = answer
            .hosted_zone()
            .map(|zone| zone.id())
            .unwrap_or_default();
        Ok(Zone {
            id: wire::zone_id(id).to_owned(),
            name: name.to_owned(),
        })
    }

    /// Sends one request.
    pub async fn change(&self, zone: &Zone, batch: &Batch, mode: DnsMode, comment: &str) -> Answer {
        let mut changes = ChangeBatch::builder().comment(comment);
        for op in batch.ops(mode) {
            match wire::write_op(&op) {
                Ok(change) => changes = changes.changes(change),
                Err(why) => return Answer::Refused(why),
            }
        }
        let changes = match changes.build() {
            Ok(changes) => changes,
            Err(error) => return Answer::Refused(error.to_string()),
        };
        let messages = Mutex::new(Vec::new());
        let ask = || async {
            let asked = self.sdk.change_resource_record_sets();
            let asked = asked.hosted_zone_id(&zone.id).change_batch(changes.clone());
            asked.send().await.map_err(|error| {
                let raw = error.raw_response().and_then(|raw| raw.body().bytes());
                if let Some(body) = raw
                    && let Ok(mut messages) = messages.lock()
                {
                    *messages = wire::messages(body);
                }
                Fault::from(error)
            })
        };
        let answered = self
            .write
            .call(&call("ChangeResourceRecordSets"), ask)
            .await;
        match answered {
            Ok(answer) => {
                let id = answer
                    .change_info()
                    .map(|info| info.id())
                    .unwrap_or_default();
                Answer::Accepted(wire::change_id(id).to_owned())
            }
            Err(error) => {
                let told = messages.into_inner().unwrap_or_default();
                refusal(&error, &told)
            }
        }
    }

    /// Whether a change has reached all name servers.
    pub async fn is_in_sync(&self, change: &str) -> Result<bool, CallError> {
        let ask = || async { Ok(self.sdk.get_change().id(change).send().await?) };
        let answer = self.read.call(&call("GetChange"), ask).await?;
        Ok(answer
            .change_info()
            .is_some_and(|info| *info.status() == ChangeStatus::Insync))
    }

    /// Makes a health check; its id.
    pub async fn create_check(
        &self,
        reference: &str,
        config: &CheckConfig,
        us: &Publisher,
    ) -> Result<String, CallError> {
        let wire_config = wire::write_check(config);
        let ask = || async {
            let asked = self.sdk.create_health_check();
            let asked = asked.caller_reference(reference);
            Ok(asked
                .health_check_config(wire_config.clone())
                .send()
                .await?)
        };
        let answer = self.write.call(&call("CreateHealthCheck"), ask).await?;
        let id = answer
            .health_check()
            .map(|check| check.id())
            .unwrap_or_default();
        self.tag(id, us).await;
        Ok(id.to_owned())
    }

    /// For people who look at the console: nothing depends on it.
    async fn tag(&self, id: &str, us: &Publisher) {
        let Publisher { owner, pop } = us;
        let tag = |key: &str, value: String| Tag::builder().key(key).value(value).build();
        let ask = || async {
            let asked = self.sdk.change_tags_for_resource();
            let asked = asked
                .resource_type(TagResourceType::Healthcheck)
                .resource_id(id)
                .add_tags(tag("Name", format!("Portolan PoP {pop} ({owner})")))
                .add_tags(tag("portolan:owner", owner.clone()));
            Ok(asked.send().await?)
        };
        if let Err(error) = self.write.call(&call("ChangeTagsForResource"), ask).await {
            tracing::debug!(%error, "a health check could not be tagged");
        }
    }

    /// Changes what a check asks, if it is still as it was read.
    pub async fn update_check(
        &self,
        id: &str,
        version: i64,
        config: &CheckConfig,
    ) -> Result<(), CallError> {
        let ask = || async {
            let mut asked = self
                .sdk
                .update_health_check()
                .health_check_id(id)
                .health_check_version(version)
                .set_ip_address(config.ip.map(|ip| ip.to_string()))
                .set_port(config.port)
                .set_resource_path(config.path.clone())
                .set_fully_qualified_domain_name(config.host.clone())
                .set_search_string(config.search.clone())
                .failure_threshold(config.threshold);
            if config.kind.starts_with("HTTPS") {
                asked = asked.enable_sni(config.sni);
            }
            if config.host.is_none() {
                asked = asked.reset_elements(ResettableElementName::FullyQualifiedDomainName);
            }
            asked.send().await?;
            Ok(())
        };
        self.write.call(&call("UpdateHealthCheck"), ask).await
    }

    /// Deletes a check.
    pub async fn delete_check(&self, id: &str) -> Result<(), CallError> {
        let ask = || async {
            self.sdk
                .delete_health_check()
                .health_check_id(id)
                .send()
                .await?;
            Ok(())
        };
        match self.write.call(&call("DeleteHealthCheck"), ask).await {
            // Somebody was faster.
            Err(error) if error.class() == ErrorClass::NotFound => Ok(()),
            other => other,
        }
    }
}

/// A zone without its own SOA is none: whoever answered so answered something else.
fn is_whole(zone: &Zone, sets: &[RecordSet]) -> bool {
    let is_soa = |set: &RecordSet| {
        set.key.name == zone.name && set.key.kind == Kind::Other("SOA".to_owned())
    };
    sets.iter().any(is_soa)
}

async fn believe(session: &Session, aws: &Aws) -> Result<(), CallError> {
    let Some(believed) = &aws.account_id else {
        return Ok(());
    };
    let call = Call {
        service: Service::Sts,
        ..call("GetCallerIdentity")
    };
    let config = session.config(&call).await?;
    let config = aws_sdk_sts::config::Builder::from(&config).interceptor(WholeXml);
    let sts = aws_sdk_sts::Client::from_conf(config.build());
    let ask = || async { Ok(sts.get_caller_identity().send().await?) };
    let answer = session.call(&call, ask).await?;
    let found = answer.account().unwrap_or("none");
    if found == believed {
        return Ok(());
    }
    let what = format!("the credentials belong to account {found}, [aws] account_id is {believed}");
    let fault = Fault::new(ErrorClass::WrongAccount, what);
    Err(CallError::of(&call, fault, 1))
}

fn refusal(error: &CallError, told: &[String]) -> Answer {
    let said = if told.is_empty() {
        error.to_string()
    } else {
        told.join("; ")
    };
    let code = error.fault.code.as_deref().unwrap_or_default();
    let why = if code.is_empty() || said.contains(code) {
        said
    } else {
        format!("{code}: {said}")
    };
    match error.class() {
        // A missing zone takes no request at all; a missing health check is a matter of one group.
        ErrorClass::NotFound if code == "NoSuchHostedZone" => Answer::Denied(why),
        ErrorClass::NotFound | ErrorClass::Refused => Answer::Refused(why),
        ErrorClass::Throttled => Answer::Later(why),
        ErrorClass::Denied | ErrorClass::Credentials | ErrorClass::WrongAccount => {
            Answer::Denied(why)
        }
        ErrorClass::Unavailable
        | ErrorClass::Timeout
        | ErrorClass::Unreachable
        | ErrorClass::Malformed => Answer::Unknown(why),
    }
}

fn call(operation: &'static str) -> Call<'static> {
    Call {
        service: Service::Route53,
        operation,
        account: &Account::Own,
        region: REGION,
    }
}

/// Without `[aws]`: what the SDK finds by itself, asked no faster than an account shared with others bears.
pub(crate) fn environment() -> Aws {
    Aws {
        import: false,
        regions: Vec::new(),
        endpoint_url: None,
        account_id: None,
        interval: Duration::from_secs(60),
        calls_per_second: 5,
        burst: 20,
        reach: AwsReach::Public,
        roles: Vec::new(),
        addresses: Vec::new(),
    }
}
