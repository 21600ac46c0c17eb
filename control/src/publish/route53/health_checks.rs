//! Route 53 health checks of this PoP: which there should be, which of those that are there they are, and what has to change.
//! Pure. A check is ours by the prefix of its caller reference, so that it is found again without reading tags.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::net::IpAddr;

use portolan_config::model::{PopCheck, PopCheckProtocol};
use serde::Serialize;

use super::model::{CheckRef, hash};
use super::ownership::Publisher;

/// Of the checks' names: changes when what they mean does.
const SCHEME: &str = "portolan1";

/// What Route 53 keeps of a check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct CheckConfig {
    /// Whom it asks.
    pub ip: Option<IpAddr>,
    /// Route 53's word: `HTTP`, `HTTPS_STR_MATCH`, `TCP`, …; fixed for its life.
    pub kind: String,
    /// Where.
    pub port: Option<i32>,
    /// What HTTP asks for.
    pub path: Option<String>,
    /// Host header and SNI.
    pub host: Option<String>,
    /// What the answer must hold.
    pub search: Option<String>,
    /// 10 or 30 seconds; fixed for its life.
    pub interval: i32,
    /// Results in a row that change its state.
    pub threshold: i32,
    /// Whether HTTPS names the host.
    pub sni: bool,
}

impl CheckConfig {
    /// The check of an address that a record asks for.
    pub fn of(check: &PopCheck, ip: IpAddr) -> Self {
        let PopCheck {
            protocol,
            port,
            path,
            host,
            search,
            fast,
            threshold,
        } = check;
        let kind = match (protocol, search) {
            (PopCheckProtocol::Tcp, _) => "TCP",
            (PopCheckProtocol::Http, None) => "HTTP",
            (PopCheckProtocol::Http, Some(_)) => "HTTP_STR_MATCH",
            (PopCheckProtocol::Https, None) => "HTTPS",
            (PopCheckProtocol::Https, Some(_)) => "HTTPS_STR_MATCH",
        };
        let asks = *protocol != PopCheckProtocol::Tcp;
        CheckConfig {
            ip: Some(ip),
            kind: kind.to_owned(),
            port: Some(i32::from(*port)),
            path: asks.then(|| path.clone()),
            host: host.clone().filter(|_| asks),
            search: search.clone().filter(|_| asks),
            interval: if *fast { 10 } else { 30 },
            threshold: i32::from(*threshold),
            sni: *protocol == PopCheckProtocol::Https && host.is_some(),
        }
    }

    /// A short name for all of it.
    pub fn fingerprint(&self) -> String {
        hash(format!("{self:?}").as_bytes(), 12)
    }

    /// What cannot change in a check's life; the family is ours to keep, as the caller reference says it.
    fn fixed(&self) -> (&str, i32, bool) {
        (&self.kind, self.interval, self.is_v6())
    }

    fn is_v6(&self) -> bool {
        self.ip.is_some_and(|ip| ip.is_ipv6())
    }

    /// Features that cost extra: HTTPS, string matching, asking every 10 seconds.
    pub fn extras(&self) -> u32 {
        let https = self.kind.starts_with("HTTPS");
        u32::from(https) + u32::from(self.search.is_some()) + u32::from(self.interval == 10)
    }

    /// Why Route 53's checkers cannot ask there.
    pub fn unreachable(&self) -> Option<String> {
        let ip = self.ip?;
        let local = match ip {
            IpAddr::V4(ip) => {
                let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
                ip.is_private() || ip.is_loopback() || ip.is_link_local() || shared
            }
            IpAddr::V6(ip) => {
                ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
            }
        };
        local.then(|| format!("Route 53's checkers cannot reach {ip}: it is not a public address"))
    }
}

impl fmt::Display for CheckConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CheckConfig {
            ip,
            kind,
            port,
            path,
            host,
            search,
            interval,
            threshold,
            sni: _,
        } = self;
        f.write_str(kind)?;
        match (ip, port) {
            (Some(IpAddr::V6(ip)), Some(port)) => write!(f, " [{ip}]:{port}")?,
            (Some(ip), Some(port)) => write!(f, " {ip}:{port}")?,
            (Some(ip), None) => write!(f, " {ip}")?,
            (None, _) => {}
        }
        if let Some(path) = path {
            write!(f, " {path}")?;
        }
        if let Some(host) = host {
            write!(f, " host {host}")?;
        }
        if let Some(search) = search {
            write!(f, " for {search:?}")?;
        }
        write!(f, " every {interval} s, {threshold} in a row")
    }
}

/// A check that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentCheck {
    /// Its id.
    pub id: String,
    /// Chosen by whoever made it.
    pub caller_reference: String,
    /// Counts its changes.
    pub version: i64,
    /// What it asks.
    pub config: CheckConfig,
    /// Somebody turned it round or off.
    pub overridden: Option<&'static str>,
    /// Another AWS service made it; nobody else changes it.
    pub linked: bool,
}

/// Whose checks are ours: owner, PoP and zone.
pub fn prefix(us: &Publisher, zone_id: &str) -> String {
    let Publisher { owner, pop } = us;
    format!("{SCHEME}:{owner}:{pop}:{}:", hash(zone_id.as_bytes(), 8))
}

/// A caller reference for a new check; `random` makes it new even where an equal one was deleted.
pub fn caller_reference(us: &Publisher, zone_id: &str, check: &CheckConfig, random: u32) -> String {
    let family = if check.is_v6() { '6' } else { '4' };
    let random = random & 0x00ff_ffff;
    format!("{}{family}:{random:06x}", prefix(us, zone_id))
}

/// What a plan does to a check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum CheckChange {
    /// Makes it.
    Create {
        /// What it asks.
        config: CheckConfig,
    },
    /// Changes what it asks.
    Update {
        /// Which.
        id: String,
        /// The version that was read: another one is somebody else's change.
        version: i64,
        /// What it asked.
        from: CheckConfig,
        /// What it shall ask.
        config: CheckConfig,
    },
    /// Deletes it.
    Delete {
        /// Which.
        id: String,
        /// What it asked.
        config: CheckConfig,
    },
}

/// Which checks stand for which wishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matched {
    /// By fingerprint of the wish: the check that is there, and its change when it is not quite that.
    pub found: BTreeMap<String, (String, Option<CheckChange>)>,
    /// Ours, and no wish's.
    pub left: Vec<(String, CheckConfig)>,
}

/// Finds the checks that are wished for among ours: equal ones first, then ones that can become it. What stays as it is may rest on
/// those in `pinned`: they become nothing else.
pub fn match_checks(
    wished: &BTreeSet<CheckConfig>,
    current: &[CurrentCheck],
    pinned: &HashSet<&str>,
) -> Matched {
    let mut matched = Matched::default();
    let mut free: Vec<&CurrentCheck> = current.iter().filter(|check| !check.linked).collect();
    // In the order of their ids, so that every reading of the same answers gives the same plan.
    free.sort_by(|one, other| one.id.cmp(&other.id));
    let mut open: Vec<&CheckConfig> = Vec::new();
    for wish in wished {
        match free.iter().position(|check| check.config == *wish) {
            Some(at) => {
                let check = free.remove(at);
                let found = (check.id.clone(), None);
                matched.found.insert(wish.fingerprint(), found);
            }
            None => open.push(wish),
        }
    }
    for wish in open {
        let fits = |check: &&CurrentCheck| {
            check.config.fixed() == wish.fixed() && !pinned.contains(check.id.as_str())
        };
        if let Some(at) = free.iter().position(fits) {
            let check = free.remove(at);
            let change = CheckChange::Update {
                id: check.id.clone(),
                version: check.version,
                from: check.config.clone(),
                config: wish.clone(),
            };
            let found = (check.id.clone(), Some(change));
            matched.found.insert(wish.fingerprint(), found);
        }
    }
    let left = free.into_iter();
    matched.left = left
        .map(|check| (check.id.clone(), check.config.clone()))
        .collect();
    matched
}

impl Matched {
    /// What a record set shall refer to.
    pub fn reference(&self, wish: &CheckConfig) -> CheckRef {
        let fingerprint = wish.fingerprint();
        match self.found.get(&fingerprint) {
            Some((id, _)) => CheckRef::Id(id.clone()),
            None => CheckRef::Planned(fingerprint),
        }
    }

    /// What has to change so that the wishes in `used` are there; checks that nothing refers to any more go.
    pub fn changes(
        &self,
        used: &BTreeSet<CheckConfig>,
        referenced: &HashSet<&str>,
    ) -> Vec<CheckChange> {
        let mut changes = Vec::new();
        for wish in used {
            match self.found.get(&wish.fingerprint()) {
                None => changes.push(CheckChange::Create {
                    config: wish.clone(),
                }),
                Some((_, Some(update))) => changes.push(update.clone()),
                Some((_, None)) => {}
            }
        }
        let unused = self
            .left
            .iter()
            .filter(|(id, _)| !referenced.contains(id.as_str()));
        changes.extend(unused.map(|(id, config)| CheckChange::Delete {
            id: id.clone(),
            config: config.clone(),
        }));
        changes
    }
}

#[cfg(test)]
mod tests;
