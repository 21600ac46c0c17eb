//! `[aws]` and `[aws.addresses]`: what is read from AWS, and where it is served.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use toml::de::DeValue;

use super::api;
use super::keys::Table;
use super::rules::Claims;
use super::section::Section;
use super::typed::{self, duration, integer, one_of, parsed};
use super::values::{ValueError, fault};
use crate::model::{Aws, AwsReach, AwsRole};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// `Some(None)` is a file without `[aws]`.
pub(super) fn aws(root: &Section<'_>, claims: &mut Claims) -> Option<Option<Aws>> {
    let section = root.child(Table::Aws)?;
    if !section.is_present() {
        return Some(None);
    }
    let reaches = &[("public", AwsReach::Public), ("private", AwsReach::Private)];
    let import = section.get("import", typed::boolean);
    let regions = section.distinct("regions", typed::name);
    let endpoint_url = section.get("endpoint_url", parsed(endpoint_url));
    let account_id = section.get("account_id", optional_account);
    let interval = section.get("interval", duration(Duration::from_secs(1)..=DAY));
    let calls_per_second = section.get("calls_per_second", integer::<u32>(1..=1000));
    let burst = section.get("burst", integer::<u32>(1..=10_000));
    let reach = section.get("reach", one_of(reaches));
    let roles = roles(&section);
    let addresses = addresses(&section)?;
    for (_, addresses) in &addresses {
        claims.this_host(addresses);
    }
    Some(Some(Aws {
        import: import?,
        regions: regions?,
        endpoint_url: endpoint_url?,
        account_id: account_id?,
        interval: interval?,
        calls_per_second: calls_per_second?,
        burst: burst?,
        reach: reach?,
        roles: roles?,
        addresses,
    }))
}

fn endpoint_url(text: &str) -> Result<Option<String>, ValueError> {
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    let host = rest.map(|rest| rest.trim_end_matches('/'));
    match host {
        None if text.is_empty() => Ok(None),
        Some(host)
            if !host.is_empty()
                && host
                    .bytes()
                    .all(|b| b.is_ascii_graphic() && !b"?#@\\".contains(&b)) =>
        {
            Ok(Some(text.to_string()))
        }
        Some(_) | None => fault(
            format!("\"{text}\" is not a URL"),
            "write it as \"http://127.0.0.1:5000\", or leave it empty for AWS's own endpoints",
        ),
    }
}

fn optional_account(value: &DeValue<'_>) -> Result<Option<String>, ValueError> {
    if typed::text(value)?.is_empty() {
        return Ok(None);
    }
    api::account_id(value).map(Some)
}

fn roles(section: &Section<'_>) -> Option<Vec<AwsRole>> {
    let sections = section.children(Table::AwsRole)?;
    let mut accounts = HashMap::new();
    let mut read = Vec::with_capacity(sections.len());
    for (index, section) in sections.iter().enumerate() {
        let role = section.get("arn", role_arn);
        let external_id = section.optional("external_id", typed::id);
        if let Some((_, account)) = &role
            && let Some(first) = accounts.insert(account.clone(), index)
        {
            section.error(
                "arn",
                format!("roles[{first}] is of account {account}, too"),
                "give one role for each account",
            );
        }
        read.push(
            role.zip(external_id)
                .map(|((arn, account_id), external_id)| AwsRole {
                    arn,
                    account_id,
                    external_id,
                }),
        );
    }
    read.into_iter().collect()
}

/// The ARN, and the account in it.
fn role_arn(value: &DeValue<'_>) -> Result<(String, String), ValueError> {
    let given = typed::text(value)?;
    let parts: Vec<&str> = given.splitn(6, ':').collect();
    if let ["arn", partition, "iam", "", account, role] = parts[..]
        && partition.starts_with("aws")
        && role.len() > "role/".len()
        && role.starts_with("role/")
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
    {
        return Ok((given.to_string(), account.to_string()));
    }
    fault(
        format!("\"{given}\" is not the ARN of a role"),
        "write it as \"arn:aws:iam::222222222222:role/portolan-sync-read\"",
    )
}

fn addresses(section: &Section<'_>) -> Option<Vec<(String, Vec<IpAddr>)>> {
    let section = section.child(Table::AwsAddresses)?;
    let mut seen = HashSet::new();
    let mut read = Vec::new();
    for name in section.names() {
        let addresses = section.distinct(&name, typed::ip);
        for address in addresses.iter().flatten() {
            if !seen.insert(*address) {
                section.error(
                    &name,
                    format!("{address} is given to another accelerator, too"),
                    "give each accelerator addresses of its own",
                );
            }
        }
        read.push(addresses.map(|addresses| (name, addresses)));
    }
    read.into_iter().collect()
}
