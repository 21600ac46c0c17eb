//! What the sync may do, and what it needs: every call once, and the least policy for what the file asks for. Services check the
//! permission before they look for the thing, so that a thing that is not there still tells.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portolan_config::model::{Aws, Config, Dns};
use serde::Serialize;
use serde_json::{Value, json};

use super::asking::Asking;
use super::picture::Picture;
use super::session::{Account, CallError, ErrorClass, Session};
use super::{cache, ec2, elb, ga, walk};
use crate::publish::route53::client::{Client, environment};
use crate::publish::route53::permissions::{self, statement};

/// All of it ends by then.
const LONGEST: Duration = Duration::from_secs(120);

/// What came of trying.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may be called.
    Allowed,
    /// It may not.
    Denied,
    /// It could not be tried.
    Unknown,
    /// It is not tried: it would make something, or change it.
    Untried,
}

/// One permission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Permission {
    /// As policies name it.
    pub action: String,
    /// Where it was tried, with the account when it is another one.
    pub place: String,
    /// What came of it.
    pub verdict: Verdict,
    /// What was said, where it is not allowed.
    pub detail: String,
}

/// All permissions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Whose credentials these are.
    pub account: Option<String>,
    /// Each action, where it was tried.
    pub permissions: Vec<Permission>,
    /// The least policy.
    pub policy: Value,
}

impl Checked {
    /// Whether nothing is missing.
    pub fn is_enough(&self) -> bool {
        self.permissions
            .iter()
            .all(|permission| match permission.verdict {
                Verdict::Allowed | Verdict::Untried => true,
                Verdict::Denied | Verdict::Unknown => false,
            })
    }
}

/// The least policy for what the file asks for, and the import and the publication each alone.
pub fn policy(config: &Config) -> Value {
    policy_of(config, None)
}

/// `zone` is the id of the hosted zone that is published in, when it is known.
fn policy_of(config: &Config, zone: Option<&str>) -> Value {
    let imports = config.aws.as_ref().filter(|aws| aws.import);
    let mut statements = imports.map_or_else(Vec::new, import);
    if let Some(dns) = &config.dns {
        statements.extend(permissions::statements(dns, zone));
    }
    json!({ "Version": "2012-10-17", "Statement": statements })
}

fn import(aws: &Aws) -> Vec<Value> {
    let mut balancers = BTreeSet::from([
        "elasticloadbalancing:DescribeListeners",
        "elasticloadbalancing:DescribeLoadBalancers",
        "elasticloadbalancing:DescribeTargetGroups",
        "elasticloadbalancing:DescribeTargetHealth",
    ]);
    if !aws.regions.is_empty() {
        balancers.insert("elasticloadbalancing:DescribeTags");
    }
    let mut statements = vec![
        statement(
            "PortolanAccelerators",
            &BTreeSet::from([
                "globalaccelerator:ListAccelerators",
                "globalaccelerator:ListCustomRoutingAccelerators",
                "globalaccelerator:ListEndpointGroups",
                "globalaccelerator:ListListeners",
            ]),
            json!("*"),
        ),
        statement("PortolanLoadBalancers", &balancers, json!("*")),
        statement(
            "PortolanInstances",
            &BTreeSet::from(["ec2:DescribeAddresses", "ec2:DescribeInstances"]),
            json!("*"),
        ),
    ];
    if !aws.roles.is_empty() {
        let arns: Vec<&str> = aws.roles.iter().map(|role| role.arn.as_str()).collect();
        statements.push(statement(
            "PortolanOtherAccounts",
            &BTreeSet::from(["sts:AssumeRole"]),
            json!(arns),
        ));
    }
    statements
}

/// Tries every call that a reading makes, and of the publication's those that can be tried.
pub async fn check(config: &Config) -> Checked {
    let aws = &config.aws.clone().unwrap_or_else(environment);
    let session = Session::open(aws).await;
    let asking = Asking {
        session,
        deadline: Instant::now() + LONGEST,
    };
    let mut checked = Checked {
        account: None,
        permissions: Vec::new(),
        policy: policy(config),
    };
    // What is known of a last reading says which regions there are; without it the file's are tried.
    let known = cache::load(&cache::path(&config.store))
        .unwrap_or_default()
        .picture;
    let identity = walk::identity(
        &asking,
        aws,
        &Picture {
            account: None,
            ..Picture::default()
        },
    )
    .await;
    let account = match identity {
        Ok(account) => account,
        Err(error) => {
            checked.note("sts:GetCallerIdentity", "", Err(error));
            return checked;
        }
    };
    checked.note("sts:GetCallerIdentity", "", Ok(()));
    if let Some(dns) = &config.dns {
        publication(config, dns, &mut checked).await;
    }
    checked.account = Some(account.clone());
    if !aws.import {
        return checked;
    }
    accelerators(&asking, &account, &mut checked).await;
    for region in regions(aws, &known) {
        in_region(&asking, aws, &account, &Account::Own, &region, &mut checked).await;
    }
    for role in &aws.roles {
        let other = Account::Other(role.account_id.as_str().into());
        let region = aws.regions.first().map_or("us-east-1", String::as_str);
        in_region(&asking, aws, &role.account_id, &other, region, &mut checked).await;
    }
    checked
}

async fn publication(config: &Config, dns: &Dns, checked: &mut Checked) {
    let client = match Client::open(config.aws.as_ref(), &Arc::default()).await {
        Ok(client) => client,
        Err(error) => return checked.note("route53:ListResourceRecordSets", "", Err(error)),
    };
    let (zone, tried) = permissions::attempt(&client, dns).await;
    checked.policy = policy_of(config, zone.as_deref());
    let place = dns.hosted_zone.to_string();
    for (action, outcome) in tried {
        match outcome {
            Some(outcome) => checked.note(action, &place, outcome),
            None => checked.permissions.push(Permission {
                action: action.to_owned(),
                place: place.clone(),
                verdict: Verdict::Untried,
                detail: "it would make something, or change it".to_owned(),
            }),
        }
    }
}

fn regions(aws: &Aws, known: &Picture) -> BTreeSet<String> {
    let listeners = known
        .accelerators
        .values()
        .flat_map(|accelerator| accelerator.listeners.values());
    let groups = listeners.flat_map(|listener| listener.groups.values());
    let mut regions: BTreeSet<String> = groups.map(|group| group.region.clone()).collect();
    regions.extend(aws.regions.iter().cloned());
    if regions.is_empty() {
        regions.insert("us-east-1".to_owned());
    }
    regions
}

async fn accelerators(asking: &Asking, account: &str, checked: &mut Checked) {
    let reader = match ga::Reader::new(asking).await {
        Ok(reader) => reader,
        Err(error) => return checked.note("globalaccelerator:ListAccelerators", "", Err(error)),
    };
    let nothing = format!(
        "arn:aws:globalaccelerator::{account}:accelerator/00000000-0000-4000-8000-000000000000"
    );
    let listed = reader.accelerators().await;
    let accelerator = listed
        .items
        .into_iter()
        .next()
        .map_or_else(|| nothing, |(arn, _)| arn);
    checked.listed("globalaccelerator:ListAccelerators", "", listed.error);
    let listed = reader.listeners(&accelerator).await;
    let none = format!("{accelerator}/listener/00000000");
    let listener = listed
        .items
        .into_iter()
        .next()
        .map_or_else(|| none, |(arn, _)| arn);
    checked.listed("globalaccelerator:ListListeners", "", listed.error);
    checked.listed(
        "globalaccelerator:ListEndpointGroups",
        "",
        reader.groups(&listener).await.error,
    );
    checked.listed(
        "globalaccelerator:ListCustomRoutingAccelerators",
        "",
        reader.custom_routing().await.error,
    );
}

async fn in_region(
    asking: &Asking,
    aws: &Aws,
    id: &str,
    account: &Account,
    region: &str,
    checked: &mut Checked,
) {
    let place = match account {
        Account::Own => region.to_owned(),
        Account::Other(id) => format!("{region}, account {id}"),
    };
    match elb::Reader::new(asking, account, region).await {
        Err(error) => checked.note(
            "elasticloadbalancing:DescribeLoadBalancers",
            &place,
            Err(error),
        ),
        Ok(reader) => {
            let arn = |kind: &str| {
                format!("arn:aws:elasticloadbalancing:{region}:{id}:{kind}/none/0000000000000000")
            };
            let (balancer, group) = (arn("loadbalancer/app"), arn("targetgroup"));
            checked.listed(
                "elasticloadbalancing:DescribeLoadBalancers",
                &place,
                reader.all().await.error,
            );
            checked.listed(
                "elasticloadbalancing:DescribeListeners",
                &place,
                reader.listener_ports(&balancer).await.error,
            );
            checked.listed(
                "elasticloadbalancing:DescribeTargetGroups",
                &place,
                reader.target_groups(&balancer).await.error,
            );
            let health = reader.target_health(&group).await;
            checked.listed(
                "elasticloadbalancing:DescribeTargetHealth",
                &place,
                health.err(),
            );
            if !aws.regions.is_empty() {
                let mut tags = reader.tags(&[balancer]).await;
                checked.listed(
                    "elasticloadbalancing:DescribeTags",
                    &place,
                    tags.failed.pop().map(|(_, error)| error),
                );
            }
        }
    }
    if *account == Account::Own {
        let reader = ec2::Reader {
            asking: asking.clone(),
            account: account.clone(),
            region: region.to_owned(),
        };
        for (operation, action) in [
            ("DescribeInstances", "ec2:DescribeInstances"),
            ("DescribeAddresses", "ec2:DescribeAddresses"),
        ] {
            checked.listed(action, &place, reader.dry_run(operation).await.err());
        }
    }
}

impl Checked {
    fn listed(&mut self, action: &str, place: &str, error: Option<CallError>) {
        self.note(action, place, error.map_or(Ok(()), Err));
    }

    fn note(&mut self, action: &str, place: &str, outcome: Result<(), CallError>) {
        let (verdict, detail) = match outcome {
            Ok(()) => (Verdict::Allowed, String::new()),
            Err(error) => match error.class() {
                // It was allowed to look.
                ErrorClass::NotFound | ErrorClass::Refused => (Verdict::Allowed, String::new()),
                ErrorClass::Denied | ErrorClass::Credentials => {
                    (Verdict::Denied, error.to_string())
                }
                ErrorClass::Throttled
                | ErrorClass::Unavailable
                | ErrorClass::Timeout
                | ErrorClass::Unreachable
                | ErrorClass::Malformed
                | ErrorClass::WrongAccount => (Verdict::Unknown, error.to_string()),
            },
        };
        self.permissions.push(Permission {
            action: action.to_owned(),
            place: place.to_owned(),
            verdict,
            detail,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_shows_the_policy() {
        let readme = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
        let readme = std::fs::read_to_string(readme).expect("README.md lies beside the crates");
        let (_, section) = readme.split_once("\n## From AWS\n").expect("its section");
        let (_, block) = section.split_once("```json\n").expect("a policy");
        let (block, _) = block.split_once("```").expect("its end");
        let shown: Value = serde_json::from_str(block).expect("JSON");
        let text = "[aws]\nregions = [\"us-east-1\"]\nroles = [{ arn = \"arn:aws:iam::222222222222:role/portolan-sync-read\" }]\n";
        let loaded = portolan_config::file::parse(text, std::path::Path::new("test.toml"));
        assert_eq!(shown, policy(&loaded.expect("valid").config));
    }

    #[test]
    fn the_readme_shows_the_publications_policy() {
        let readme = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
        let readme = std::fs::read_to_string(readme).expect("README.md lies beside the crates");
        let (_, section) = readme
            .split_once("\n## DNS: publishing in Route 53\n")
            .expect("its section");
        let (_, block) = section.split_once("```toml\n").expect("a file");
        let (file, _) = block.split_once("```").expect("its end");
        let (_, block) = section.split_once("```json\n").expect("a policy");
        let (block, _) = block.split_once("```").expect("its end");
        let shown: Value = serde_json::from_str(block).expect("JSON");
        let file = format!("[pop]\naddresses = [\"203.0.113.1\"]\n[aws]\nimport = false\n{file}");
        let loaded = portolan_config::file::parse(&file, std::path::Path::new("test.toml"));
        let config = loaded.expect("valid").config;
        assert_eq!(shown, policy_of(&config, Some("Z0123456789ABCDEFGHIJ")));
    }

    #[test]
    fn publication_asks_for_what_its_mode_writes_and_no_more() {
        let actions = |mode: &str, more: &str| {
            let text = format!(
                "[pop]\naddresses = [\"203.0.113.1\"]\n[dns]\nhosted_zone = \"example.com\"\nowner = \"edge\"\nmode = \"{mode}\"\n\
                 [[dns.record]]\nname = \"a.example.com\"\naddresses = \"pop\"\n{more}"
            );
            let loaded = portolan_config::file::parse(&text, std::path::Path::new("test.toml"));
            policy(&loaded.expect("valid").config).to_string()
        };
        let check = "policy = { type = \"multivalue\" }\nhealth_check = { port = 80 }\n";
        let watches = actions("observe", check);
        for word in ["Change", "Create", "Update", "Delete"] {
            assert!(!watches.contains(&format!("route53:{word}")), "{watches}");
        }
        let upserts = actions("upsert-only", check);
        assert!(upserts.contains("\"UPSERT\"") && upserts.contains("UpdateHealthCheck"));
        assert!(!upserts.contains("\"DELETE\"") && !upserts.contains("DeleteHealthCheck"));
        let syncs = actions("sync", "");
        assert!(syncs.contains("\"DELETE\"") && !syncs.contains("HealthCheck\""));
        assert!(!syncs.contains("globalaccelerator"), "nothing is imported");
    }

    #[test]
    fn the_policy_asks_for_what_the_file_asks_for_and_only_reads() {
        let parse = |text: &str| {
            let loaded = portolan_config::file::parse(text, std::path::Path::new("test.toml"));
            policy(&loaded.expect("valid").config)
        };
        let least = parse("[aws]\n").to_string();
        assert!(!least.contains("DescribeTags") && !least.contains("AssumeRole"));
        let arn = "arn:aws:iam::222222222222:role/portolan-sync-read";
        let more = parse(&format!(
            "[aws]\nregions = [\"us-east-1\"]\nroles = [{{ arn = \"{arn}\" }}]\n"
        ));
        let text = more.to_string();
        assert!(text.contains("DescribeTags") && text.contains(arn));
        let statements = more["Statement"].as_array().expect("statements");
        let actions = statements
            .iter()
            .flat_map(|statement| statement["Action"].as_array().expect("actions"));
        for action in actions {
            let (_, name) = action
                .as_str()
                .and_then(|action| action.split_once(':'))
                .expect("service:Action");
            assert!(
                name.starts_with("List") || name.starts_with("Describe") || name == "AssumeRole",
                "{name}"
            );
        }
    }
}
