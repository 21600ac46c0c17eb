//! What publication may do, and what it needs: the least policy for what the file asks for, and the calls that can be tried. What would
//! make or change something is tried with a thing that is not there, which services refuse only after the permission; what cannot
//! be tried so is told as untried.

use std::collections::BTreeSet;

use portolan_config::model::{Dns, DnsMode, HostedZone};
use serde_json::{Value, json};

use super::client::{Client, ReadError};
use super::desired::load_balancers;
use crate::aws::session::CallError;

/// A statement of a policy.
pub(crate) fn statement(sid: &str, actions: &BTreeSet<&str>, resource: Value) -> Value {
    json!({ "Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource })
}

/// The statements that `[dns]` needs. `zone` is the id of the hosted zone, as far as it is known.
pub(crate) fn statements(dns: &Dns, zone: Option<&str>) -> Vec<Value> {
    let writes = dns.mode != DnsMode::Observe;
    let checks = dns.records.iter().any(|r| r.health_check.is_some());
    let zone = match (&dns.hosted_zone, zone) {
        (_, Some(id)) => format!("arn:aws:route53:::hostedzone/{id}"),
        (HostedZone::Id(id), None) => format!("arn:aws:route53:::hostedzone/{id}"),
        (HostedZone::Name(_), None) => "arn:aws:route53:::hostedzone/*".to_owned(),
    };
    let mut account = BTreeSet::from(["route53:GetAccountLimit", "route53:ListHealthChecks"]);
    let mut of_zone = BTreeSet::from([
        "route53:GetHostedZoneLimit",
        "route53:ListResourceRecordSetProtections",
        "route53:ListResourceRecordSets",
    ]);
    match dns.hosted_zone {
        HostedZone::Name(_) => account.insert("route53:ListHostedZonesByName"),
        HostedZone::Id(_) => of_zone.insert("route53:GetHostedZone"),
    };
    if dns.create_zone && writes {
        account.insert("route53:CreateHostedZone");
    }
    if checks && writes {
        account.insert("route53:CreateHealthCheck");
    }
    let mut statements = vec![
        statement("PortolanRoute53", &account, json!("*")),
        statement("PortolanZone", &of_zone, json!(zone)),
    ];
    if writes {
        statements.push(records(dns.mode, &zone));
        let change = BTreeSet::from(["route53:GetChange"]);
        let changes = json!("arn:aws:route53:::change/*");
        statements.push(statement("PortolanChanges", &change, changes));
    }
    if checks && writes {
        let mut actions = BTreeSet::from(["route53:ChangeTagsForResource"]);
        match dns.mode {
            DnsMode::Observe | DnsMode::CreateOnly => {}
            DnsMode::UpsertOnly => actions.extend(["route53:UpdateHealthCheck"]),
            DnsMode::Sync => {
                actions.extend(["route53:UpdateHealthCheck", "route53:DeleteHealthCheck"]);
            }
        }
        let all = json!("arn:aws:route53:::healthcheck/*");
        statements.push(statement("PortolanHealthChecks", &actions, all));
    }
    if !load_balancers(dns).is_empty() {
        let actions = BTreeSet::from(["elasticloadbalancing:DescribeLoadBalancers"]);
        statements.push(statement("PortolanAliases", &actions, json!("*")));
    }
    statements
}

/// Records of the types that are written, by the actions that the mode takes. Names are left open: what is to be deleted is no
/// longer in the file.
fn records(mode: DnsMode, zone: &str) -> Value {
    let actions: &[&str] = match mode {
        DnsMode::Observe => &[],
        DnsMode::CreateOnly => &["CREATE"],
        DnsMode::UpsertOnly => &["CREATE", "UPSERT"],
        DnsMode::Sync => &["CREATE", "DELETE"],
    };
    json!({
        "Sid": "PortolanRecords",
        "Effect": "Allow",
        "Action": ["route53:ChangeResourceRecordSets"],
        "Resource": zone,
        "Condition": { "ForAllValues:StringEquals": {
            "route53:ChangeResourceRecordSetsRecordTypes": ["A", "AAAA", "TXT"],
            "route53:ChangeResourceRecordSetsActions": actions,
        } },
    })
}

/// What trying came to: the action, and the error; `None` was not tried.
pub(crate) type Tried = (&'static str, Option<Result<(), CallError>>);

/// Tries what can be tried; the id of the zone, if it was found.
pub(crate) async fn attempt(client: &Client, dns: &Dns) -> (Option<String>, Vec<Tried>) {
    let mut tried = Vec::new();
    let found = client.zone(&dns.hosted_zone).await;
    let action = match dns.hosted_zone {
        HostedZone::Name(_) => "route53:ListHostedZonesByName",
        HostedZone::Id(_) => "route53:GetHostedZone",
    };
    let zone = match found {
        Ok(zone) => {
            tried.push((action, Some(Ok(()))));
            Some(zone)
        }
        Err(error) => {
            tried.push((action, Some(outcome(Err(error)))));
            None
        }
    };
    let checks = client.checks("none").await.map(drop);
    tried.push(("route53:ListHealthChecks", Some(outcome(checks))));
    let limit = client.health_check_quota().await.map(drop);
    tried.push(("route53:GetAccountLimit", Some(limit)));
    if let Some(zone) = &zone {
        let sets = client.sets(zone).await.map(drop);
        tried.push(("route53:ListResourceRecordSets", Some(outcome(sets))));
        let limit = client.record_quota(zone).await.map(drop);
        tried.push(("route53:GetHostedZoneLimit", Some(limit)));
        let protected = client.protections(zone).await.map(drop);
        tried.push(("route53:ListResourceRecordSetProtections", Some(protected)));
    }
    writes(client, dns, &mut tried).await;
    (zone.map(|zone| zone.id), tried)
}

/// Changes that can change nothing: of what is not there.
async fn writes(client: &Client, dns: &Dns, tried: &mut Vec<Tried>) {
    if dns.mode == DnsMode::Observe {
        return;
    }
    tried.push(("route53:ChangeResourceRecordSets", None));
    let change = client.is_in_sync("C0000000000000").await.map(drop);
    tried.push(("route53:GetChange", Some(change)));
    if dns.create_zone {
        tried.push(("route53:CreateHostedZone", None));
    }
    if dns.records.iter().any(|r| r.health_check.is_some()) {
        tried.push(("route53:CreateHealthCheck", None));
    }
    if dns.mode == DnsMode::Sync && dns.records.iter().any(|r| r.health_check.is_some()) {
        let nothing = "00000000-0000-4000-8000-000000000000";
        let deleted = client.delete_check(nothing).await;
        tried.push(("route53:DeleteHealthCheck", Some(deleted)));
    }
}

/// Whoever is told that there is nothing was allowed to look.
#[expect(clippy::result_large_err, reason = "as the calls give it")]
fn outcome(tried: Result<(), ReadError>) -> Result<(), CallError> {
    match tried {
        Err(ReadError::Call(error)) => Err(error),
        Ok(())
        | Err(
            ReadError::NoZone(_)
            | ReadError::SeveralZones { .. }
            | ReadError::Endless
            | ReadError::Partial(_),
        ) => Ok(()),
    }
}
