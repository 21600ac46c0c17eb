//! What this process may use: raises the descriptor limit, reads its capabilities, and shows the limits that are in force as one
//! table, before the first flow. Called by `run` at start; `check` shows the same table for a file.

use std::fmt;
use std::thread;

use caps::{CapSet, Capability};
use portolan_config::model::{Config, Limits, Protocol};
use portolan_proxy::{
    MOST_SOCKET_PORTS, effective_max_flows, listening_descriptors, splice_descriptors,
};
use rlimit::Resource;

use crate::{engine, steering};

/// The descriptor limit before and after it was raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// The soft limit that the process was started with.
    pub(crate) started_with: u64,
    /// The soft limit in force.
    pub(crate) soft: u64,
    /// The hard limit, which only the service manager raises (`LimitNOFILE=`).
    pub(crate) hard: u64,
}

/// Raises the soft limit to the hard one. A refusal is no error: the edge then serves fewer flows, and the table says so.
pub(crate) fn raise_descriptors() -> Descriptors {
    let (started_with, hard) = Resource::NOFILE.get().unwrap_or((1024, 1024));
    let soft = match Resource::NOFILE.set(hard, hard) {
        Ok(()) => hard,
        Err(_) => started_with,
    };
    Descriptors {
        started_with,
        soft,
        hard,
    }
}

/// What a file asks for and this process cannot carry on this host: an error, for who asks for it counts on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unmet {
    /// The key.
    pub(crate) key: String,
    /// What is wrong.
    pub(crate) what: String,
    /// What helps.
    pub(crate) remedy: String,
}

impl Unmet {
    /// What is wrong with `config` here, if anything is.
    pub(crate) fn of(config: &Config, descriptors: Descriptors) -> Option<Self> {
        Self::of_limits(&config.limits, Beside::of(config), descriptors)
            .or_else(|| steering::unmet(config))
            .or_else(|| engine::unmet(config))
    }

    fn of_limits(limits: &Limits, beside: Beside, descriptors: Descriptors) -> Option<Self> {
        let uncapped = Limits {
            max_flows: 0,
            ..*limits
        };
        let (asked, carried) = (
            limits.max_flows,
            effective_max_flows(&uncapped, beside.all()),
        );
        let needed = u64::from(asked) * 2 + RESERVED + beside.all();
        let descriptors = descriptors.soft;
        (asked > carried).then(|| Self {
            key: "limits.max_flows".to_owned(),
            what: format!(
                "{asked} is more than the {carried} flows that {descriptors} descriptors carry beside {beside}"
            ),
            remedy: format!("allow {needed} descriptors (LimitNOFILE=, ulimit -Hn), or lower it"),
        })
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.key, self.what, self.remedy)
    }
}

/// Descriptors that are not flows' in the remedy: what the data path keeps back.
const RESERVED: u64 = 512;

/// Every limit in force.
pub(crate) struct Effective<'a> {
    /// Descriptors of the process.
    pub(crate) descriptors: Descriptors,
    /// The most flows at once.
    pub(crate) max_flows: usize,
    /// Data-path threads.
    pub(crate) workers: usize,
    /// The file.
    pub(crate) config: &'a Config,
}

/// The most flows that this process carries with `config`.
pub(crate) fn max_flows(config: &Config) -> usize {
    effective_max_flows(&config.limits, Beside::of(config).all()) as usize
}

/// Descriptors of the data path that are no flows'.
#[derive(Clone, Copy)]
struct Beside {
    listening: u64,
    pipes: u64,
}

impl Beside {
    fn of(config: &Config) -> Self {
        let binds = |protocol| sockets(config, protocol, MOST_SOCKET_PORTS).1;
        let (tcp, udp) = (binds(Protocol::Tcp), binds(Protocol::Udp));
        let workers = workers(config);
        Self {
            listening: listening_descriptors(tcp, udp, workers),
            pipes: splice_descriptors(config.pop.splice, workers),
        }
    }

    fn all(self) -> u64 {
        self.listening + self.pipes
    }
}

impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} listening sockets", self.listening)?;
        match self.pipes {
            0 => Ok(()),
            pipes => write!(f, " and {pipes} descriptors of pipes"),
        }
    }
}

/// Data-path threads that `[pop] workers` asks for.
pub(crate) fn workers(config: &Config) -> usize {
    match config.pop.workers {
        0 => thread::available_parallelism().map_or(1, usize::from),
        asked => asked,
    }
}

impl Effective<'_> {
    /// Name, value and what decides it; the lines of the table.
    pub(crate) fn rows(&self) -> Vec<(&'static str, String, String)> {
        let Limits {
            max_flows,
            max_flows_per_source,
            new_flows_per_source,
            flow_table,
        } = self.config.limits;
        let Descriptors {
            started_with,
            soft,
            hard,
        } = self.descriptors;
        let flows_by = if max_flows != 0 && self.max_flows == max_flows as usize {
            "[limits] max_flows"
        } else {
            "the descriptor limit, two a flow"
        };
        let raised = if soft == started_with {
            String::new()
        } else {
            format!(", raised from {started_with}")
        };
        let descriptors_by = format!("soft limit{raised}; hard limit {hard} (LimitNOFILE=)");
        let workers_by = if self.config.pop.workers == 0 {
            "one a core"
        } else {
            "[pop] workers"
        };
        vec![
            ("descriptors", soft.to_string(), descriptors_by),
            ("flows", self.max_flows.to_string(), flows_by.into()),
            (
                "flows per source",
                or_off(max_flows_per_source),
                "[limits] max_flows_per_source".into(),
            ),
            (
                "new flows/s per source",
                or_off(new_flows_per_source),
                "[limits] new_flows_per_source".into(),
            ),
            (
                "flow table",
                format!("{} MiB", flow_table >> 20),
                "[limits] flow_table; UDP".into(),
            ),
            ("workers", self.workers.to_string(), workers_by.into()),
            engine::row(&self.config.pop),
            steering::row(self.config.pop.port_steering),
            (
                "capabilities",
                capabilities(),
                "of those that features may ask for".into(),
            ),
            (
                "listeners",
                listeners(self.config),
                "addresses × ports".into(),
            ),
        ]
    }
}

impl fmt::Display for Effective<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        let name_width = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
        let value_width = rows
            .iter()
            .map(|(_, value, _)| value.len())
            .max()
            .unwrap_or(0);
        for (index, (name, value, by)) in rows.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "  {name:name_width$}  {value:value_width$}  {by}")?;
        }
        Ok(())
    }
}

fn or_off(limit: u32) -> String {
    match limit {
        0 => "off".into(),
        limit => limit.to_string(),
    }
}

/// Those that a feature may need; everything else is none of our business.
const OF_USE: [(Capability, &str); 4] = [
    (Capability::CAP_NET_BIND_SERVICE, "net_bind_service"),
    (Capability::CAP_NET_ADMIN, "net_admin"),
    (Capability::CAP_NET_RAW, "net_raw"),
    (Capability::CAP_BPF, "bpf"),
];

fn capabilities() -> String {
    let held: Vec<&str> = OF_USE
        .iter()
        .filter(|(capability, _)| {
            caps::has_cap(None, CapSet::Effective, *capability).unwrap_or(false)
        })
        .map(|(_, name)| *name)
        .collect();
    if held.is_empty() {
        "none".into()
    } else {
        held.join(" ")
    }
}

fn listeners(config: &Config) -> String {
    let all = |protocol| sockets(config, protocol, usize::MAX);
    let (tcp, udp) = (all(Protocol::Tcp), all(Protocol::Udp));
    format!("{} on {} addresses and ports", tcp.0 + udp.0, tcp.1 + udp.1)
}

/// Listeners of a protocol, and the addresses and ports that they are on; one port an address where a listener has more than `most`.
fn sockets(config: &Config, protocol: Protocol, most: usize) -> (usize, usize) {
    let enabled = config
        .accelerators
        .iter()
        .filter(|accelerator| accelerator.enabled);
    let (mut listeners, mut sockets) = (0, 0);
    for accelerator in enabled {
        // Without addresses it is the wildcard of both families.
        let addresses = if accelerator.addresses.is_empty() {
            2
        } else {
            accelerator.addresses.len()
        };
        let mine = accelerator
            .listeners
            .iter()
            .filter(|l| l.protocol == protocol);
        for listener in mine {
            listeners += 1;
            let ports = listener.ports.len();
            sockets += addresses * if ports > most { 1 } else { ports };
        }
    }
    (listeners, sockets)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use portolan_config::file;

    use super::*;

    const FILE: &str = r#"
        [limits]
        max_flows = 500
        [[accelerator]]
        name = "shop"
        addresses = ["127.0.0.1", "127.0.0.2"]
        [[accelerator.listener]]
        protocol = "TCP"
        ports = [8080, "8090-8099"]
        [[accelerator]]
        name = "off"
        enabled = false
        [[accelerator.listener]]
        protocol = "TCP"
        ports = [9090]
    "#;

    #[test]
    fn a_cap_that_descriptors_cannot_carry_is_an_error_with_both_figures() {
        let descriptors = Descriptors {
            started_with: 1024,
            soft: 1024,
            hard: 1024,
        };
        let limits = |max_flows| Limits {
            max_flows,
            ..Limits::default()
        };
        let beside = Beside {
            listening: 44,
            pipes: 0,
        };
        assert_eq!(Unmet::of_limits(&limits(0), beside, descriptors), None);
        assert_eq!(Unmet::of_limits(&limits(1), beside, descriptors), None);
        let unmet = Unmet::of_limits(&limits(u32::MAX), beside, descriptors)
            .unwrap()
            .to_string();
        for figure in [
            "limits.max_flows: 4294967295",
            "1024 descriptors",
            "beside 44 listening sockets",
            "allow 8589935146",
        ] {
            assert!(unmet.contains(figure), "{unmet}");
        }
        let beside = Beside {
            pipes: 256,
            ..beside
        };
        let unmet = Unmet::of_limits(&limits(u32::MAX), beside, descriptors).unwrap();
        assert!(unmet.what.ends_with("and 256 descriptors of pipes"));
        assert!(unmet.remedy.contains("allow 8589935402"), "{unmet}");
    }

    #[test]
    fn splicing_takes_descriptors_and_stands_in_the_table() {
        let of = |splice: bool| {
            let file = format!("[pop]\nworkers = 2\nsplice = {splice}\nio_engine = \"epoll\"\n");
            let parsed = file::parse(&file, Path::new("portolan.toml"));
            parsed.unwrap().config
        };
        let (off, on) = (of(false), of(true));
        assert_eq!(Beside::of(&off).pipes, 0);
        assert!(Beside::of(&on).pipes > 0);
        assert_eq!(engine::row(&off.pop).1, "epoll");
        let (_, used, by) = engine::row(&on.pop);
        assert_eq!(used, "epoll, splice", "{by}");
    }

    #[test]
    fn the_table_says_what_is_in_force_and_what_decides_it() {
        let config = file::parse(FILE, Path::new("portolan.toml"))
            .unwrap()
            .config;
        let descriptors = Descriptors {
            started_with: 1024,
            soft: 4096,
            hard: 4096,
        };
        let effective = Effective {
            descriptors,
            max_flows: 500,
            workers: 2,
            config: &config,
        };
        let rows = effective.rows();
        let row = |name| rows.iter().find(|(found, ..)| *found == name).unwrap();
        assert_eq!(row("listeners").1, "1 on 22 addresses and ports");
        assert_eq!(
            (row("flows").1.as_str(), row("flows").2.as_str()),
            ("500", "[limits] max_flows")
        );
        assert!(row("descriptors").2.contains("raised from 1024"));
        assert_eq!(row("flows per source").1, "off");
        assert_eq!(effective.to_string().lines().count(), rows.len());
    }
}
