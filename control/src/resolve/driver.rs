//! Asks name servers, through hickory: those of `[resolver] nameservers`, else the system's. The hosts file comes first, as
//! everywhere else on the system.

use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use tokio::time::timeout;

use super::{Answer, Family};

/// How long one name may take, retries and all name servers included.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the slower family may still take once the other one has addresses.
const GRACE: Duration = Duration::from_secs(1);

/// How long an entry of the hosts file is good, and how often the system's files are looked at for a change.
const FILES_EVERY: Duration = Duration::from_secs(5);

/// Files whose change makes the system's resolver another one.
const FILES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

/// Asks; cheap to clone.
#[derive(Clone)]
pub(crate) struct Asker {
    hosts: Arc<Hosts>,
    resolver: Result<TokioResolver, Arc<str>>,
}

/// Makes askers, a new one when the system's files have changed.
pub(crate) struct Askers {
    nameservers: Vec<SocketAddr>,
    asker: Asker,
    stamps: [Option<SystemTime>; FILES.len()],
    looked: Instant,
}

impl Askers {
    /// Asks these name servers; the system's when there are none.
    pub(crate) fn new(nameservers: &[SocketAddr], now: Instant) -> Askers {
        Askers {
            asker: Asker::new(nameservers),
            nameservers: nameservers.to_vec(),
            stamps: FILES.map(stamp),
            looked: now,
        }
    }

    /// Asks these from now on.
    pub(crate) fn use_nameservers(&mut self, nameservers: &[SocketAddr], now: Instant) {
        if self.nameservers != nameservers {
            *self = Askers::new(nameservers, now);
        }
    }

    /// Whom to ask at `now`.
    pub(crate) fn asker(&mut self, now: Instant) -> Asker {
        if now.saturating_duration_since(self.looked) >= FILES_EVERY {
            self.looked = now;
            if self.stamps != FILES.map(stamp) {
                *self = Askers::new(&self.nameservers, now);
            }
        }
        self.asker.clone()
    }
}

fn stamp(path: &str) -> Option<SystemTime> {
    fs::metadata(Path::new(path))
        .and_then(|meta| meta.modified())
        .ok()
}

impl Asker {
    fn new(nameservers: &[SocketAddr]) -> Asker {
        Asker {
            hosts: Arc::new(Hosts::from_system().unwrap_or_default()),
            resolver: resolver(nameservers).map_err(|error| error.to_string().into()),
        }
    }

    /// Asks for both families of a name.
    pub(crate) async fn ask(self, name: Arc<str>) -> Answer {
        let parsed = match Name::from_utf8(&*name) {
            Ok(parsed) => parsed,
            Err(error) => return failed(error.to_string()),
        };
        if let Some(answer) = self.look_in_hosts(&parsed) {
            return answer;
        }
        let resolver = match &self.resolver {
            Ok(resolver) => resolver,
            Err(error) => return failed(format!("no resolver: {error}")),
        };
        let v4 = timeout(PATIENCE, resolver.lookup(parsed.clone(), RecordType::A));
        let v6 = timeout(PATIENCE, resolver.lookup(parsed, RecordType::AAAA));
        let v4 = async { v4.await.map_or_else(|_| no_answer(), family) };
        let v6 = async { v6.await.map_or_else(|_| no_answer(), family) };
        both(v4, v6).await
    }

    fn look_in_hosts(&self, name: &Name) -> Option<Answer> {
        let look = |kind| {
            self.hosts
                .lookup_static_host(&Query::query(name.clone(), kind))
        };
        let (v4, v6) = (look(RecordType::A), look(RecordType::AAAA));
        if v4.is_none() && v6.is_none() {
            return None;
        }
        let family = |found: Option<Lookup>| match found {
            Some(found) => Family::Addresses {
                addresses: addresses(&found),
                ttl: FILES_EVERY,
            },
            None => Family::None("not in the hosts file".into()),
        };
        Some(Answer {
            v4: family(v4),
            v6: family(v6),
        })
    }
}

fn resolver(nameservers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let mut builder = if nameservers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let servers = nameservers.iter().map(|server| {
            let connections =
                [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                    connection.port = server.port();
                    connection
                });
            NameServerConfig::new(server.ip(), true, connections.into())
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    // `Names` keeps answers for their TTL; a second cache would only stretch it.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.timeout = Duration::from_secs(2);
    options.attempts = 2;
    builder.build()
}

/// Both answers; the slower one is left behind when the faster one has addresses and the grace is over.
async fn both(v4: impl Future<Output = Family>, v6: impl Future<Output = Family>) -> Answer {
    tokio::pin!(v4, v6);
    tokio::select! {
        v4 = &mut v4 => {
            let v6 = second(&v4, v6).await;
            Answer { v4, v6 }
        }
        v6 = &mut v6 => {
            let v4 = second(&v6, v4).await;
            Answer { v4, v6 }
        }
    }
}

async fn second(first: &Family, slower: impl Future<Output = Family>) -> Family {
    match first {
        Family::Addresses { .. } => timeout(GRACE, slower).await.unwrap_or_else(|_| no_answer()),
        Family::None(_) | Family::Failed(_) => slower.await,
    }
}

fn family(outcome: Result<Lookup, NetError>) -> Family {
    match outcome {
        Ok(found) => {
            let addresses = addresses(&found);
            if addresses.is_empty() {
                return Family::None("the name has no addresses".into());
            }
            let seconds = found
                .answers()
                .iter()
                .map(|record| record.ttl)
                .min()
                .unwrap_or(0);
            Family::Addresses {
                addresses,
                ttl: Duration::from_secs(seconds.into()),
            }
        }
        Err(error) if error.is_nx_domain() => Family::None("no such name (NXDOMAIN)".into()),
        Err(error) if error.is_no_records_found() => {
            Family::None("the name has no addresses".into())
        }
        Err(error) => Family::Failed(error.to_string().into()),
    }
}

fn addresses(found: &Lookup) -> Vec<std::net::IpAddr> {
    let addresses = found
        .answers()
        .iter()
        .filter_map(|record| record.data.ip_addr());
    addresses.map(|ip| ip.to_canonical()).collect()
}

fn no_answer() -> Family {
    Family::Failed("the name servers did not answer in time".into())
}

fn failed(why: String) -> Answer {
    let why: Arc<str> = why.into();
    Answer {
        v4: Family::Failed(why.clone()),
        v6: Family::Failed(why),
    }
}

#[cfg(test)]
pub(crate) mod tests;
