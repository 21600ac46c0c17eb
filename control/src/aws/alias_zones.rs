//! The hosted zones that aliases to load balancers are in: a load balancer says its own. It is looked for by its name, in the region
//! that the name says, among what these credentials and the roles see.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use portolan_config::model::{Aws, load_balancer_region};

use super::asking::Asking;
use super::elb;
use super::session::{Account, Session};

/// All of it ends by then: a publication waits for it.
const LONGEST: Duration = Duration::from_secs(60);

/// What each name came to: the id of its zone, or why there is none.
pub(crate) async fn zones(
    session: &Session,
    aws: &Aws,
    names: &BTreeSet<String>,
) -> BTreeMap<String, Result<String, String>> {
    let asking = Asking {
        session: session.clone(),
        deadline: Instant::now() + LONGEST,
    };
    let others = aws.roles.iter();
    let others = others.map(|role| Account::Other(role.account_id.as_str().into()));
    let accounts: Vec<Account> = std::iter::once(Account::Own).chain(others).collect();
    let mut found = BTreeMap::new();
    let regions: BTreeSet<&str> = names
        .iter()
        .filter_map(|n| load_balancer_region(n))
        .collect();
    for region in regions {
        let here = names
            .iter()
            .filter(|name| load_balancer_region(name) == Some(region));
        let mut open: BTreeSet<&String> = here.collect();
        let mut errors = Vec::new();
        for account in &accounts {
            if open.is_empty() {
                break;
            }
            let (zones, error) = listed(&asking, account, region).await;
            errors.extend(error);
            open.retain(|name| match zones.get(plain(name).as_str()) {
                Some(zone) => found.insert((*name).clone(), Ok(zone.clone())).is_some(),
                None => true,
            });
        }
        for name in open {
            let why = match errors.is_empty() {
                true => format!("no load balancer in {region} has the name {name}"),
                false => errors.join("; "),
            };
            found.insert(name.clone(), Err(why));
        }
    }
    found
}

/// Zones by the load balancers' names, as far as they could be read.
async fn listed(
    asking: &Asking,
    account: &Account,
    region: &str,
) -> (BTreeMap<String, String>, Option<String>) {
    let reader = match elb::Reader::new(asking, account, region).await {
        Ok(reader) => reader,
        Err(error) => return (BTreeMap::new(), Some(error.to_string())),
    };
    let listed = reader.zones().await;
    let zones = listed.items.into_iter();
    let zones = zones.map(|(name, zone)| (plain(&name), zone));
    (zones.collect(), listed.error.map(|error| error.to_string()))
}

/// Consoles write `dualstack.` before the name that the service gives.
fn plain(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    let name = name.trim_end_matches('.');
    name.strip_prefix("dualstack.").unwrap_or(name).to_owned()
}
