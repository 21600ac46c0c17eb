//! Every key that the file may hold: the reader takes defaults and the set of known keys from here, and README's table is
//! made of it.

use std::fmt::Write as _;

use super::values::ValueError;

/// A table of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// The file itself.
    Root,
    /// `[pop]`
    Pop,
    /// `[admin]`
    Admin,
    /// `[readiness]`
    Readiness,
    /// `[shutdown]`
    Shutdown,
    /// `[log]`
    Log,
    /// `[limits]`
    Limits,
    /// `[resolver]`
    Resolver,
    /// `[api]`
    Api,
    /// `credentials` of `[api]`
    Credential,
    /// `[aws]`
    Aws,
    /// `roles` of `[aws]`
    AwsRole,
    /// `[aws.addresses]`
    AwsAddresses,
    /// `[store]`
    Store,
    /// `[[endpoint_alias]]`
    EndpointAlias,
    /// `[dns]`
    Dns,
    /// `[[dns.record]]`
    DnsRecord,
    /// `policy` of a DNS record
    DnsPolicy,
    /// `health_check` of a DNS record
    DnsHealthCheck,
    /// `[announce]`
    Announce,
    /// `[[accelerator]]`
    Accelerator,
    /// `[[accelerator.listener]]`
    Listener,
    /// `accept_proxy` of a listener
    AcceptProxy,
    /// `[[accelerator.listener.endpoint_group]]`
    EndpointGroup,
    /// `health_check` of an endpoint group
    HealthCheck,
    /// `port_overrides` of an endpoint group
    PortOverride,
    /// `endpoints` of an endpoint group
    Endpoint,
}

impl Table {
    /// Every table, in the order of the reference.
    pub const ALL: [Table; 27] = [
        Table::Root,
        Table::Pop,
        Table::Admin,
        Table::Readiness,
        Table::Shutdown,
        Table::Log,
        Table::Limits,
        Table::Resolver,
        Table::Api,
        Table::Credential,
        Table::Aws,
        Table::AwsRole,
        Table::AwsAddresses,
        Table::Store,
        Table::EndpointAlias,
        Table::Dns,
        Table::DnsRecord,
        Table::DnsPolicy,
        Table::DnsHealthCheck,
        Table::Announce,
        Table::Accelerator,
        Table::Listener,
        Table::AcceptProxy,
        Table::EndpointGroup,
        Table::HealthCheck,
        Table::PortOverride,
        Table::Endpoint,
    ];

    /// The key that it is under in the table above it; empty for the file.
    pub fn name(self) -> &'static str {
        match self {
            Table::Root => "",
            Table::Pop => "pop",
            Table::Admin => "admin",
            Table::Readiness => "readiness",
            Table::Shutdown => "shutdown",
            Table::Log => "log",
            Table::Limits => "limits",
            Table::Resolver => "resolver",
            Table::Api => "api",
            Table::Credential => "credentials",
            Table::Aws => "aws",
            Table::AwsRole => "roles",
            Table::AwsAddresses => "addresses",
            Table::Store => "store",
            Table::EndpointAlias => "endpoint_alias",
            Table::Dns => "dns",
            Table::DnsRecord => "record",
            Table::DnsPolicy => "policy",
            Table::DnsHealthCheck => "health_check",
            Table::Announce => "announce",
            Table::Accelerator => "accelerator",
            Table::Listener => "listener",
            Table::AcceptProxy => "accept_proxy",
            Table::EndpointGroup => "endpoint_group",
            Table::HealthCheck => "health_check",
            Table::PortOverride => "port_overrides",
            Table::Endpoint => "endpoints",
        }
    }

    /// The table above; none for the file.
    pub fn parent(self) -> Option<Table> {
        match self {
            Table::Root => None,
            Table::Pop
            | Table::Admin
            | Table::Readiness
            | Table::Shutdown
            | Table::Log
            | Table::Limits
            | Table::Resolver
            | Table::Api
            | Table::Aws
            | Table::Store
            | Table::EndpointAlias
            | Table::Dns
            | Table::Announce
            | Table::Accelerator => Some(Table::Root),
            Table::DnsRecord => Some(Table::Dns),
            Table::DnsPolicy | Table::DnsHealthCheck => Some(Table::DnsRecord),
            Table::Credential => Some(Table::Api),
            Table::AwsRole | Table::AwsAddresses => Some(Table::Aws),
            Table::Listener => Some(Table::Accelerator),
            Table::AcceptProxy | Table::EndpointGroup => Some(Table::Listener),
            Table::HealthCheck | Table::PortOverride | Table::Endpoint => {
                Some(Table::EndpointGroup)
            }
        }
    }

    /// Whether there may be several.
    pub fn is_array(self) -> bool {
        match self {
            Table::Credential
            | Table::AwsRole
            | Table::EndpointAlias
            | Table::DnsRecord
            | Table::Accelerator
            | Table::Listener
            | Table::EndpointGroup
            | Table::PortOverride
            | Table::Endpoint => true,
            Table::Root
            | Table::Pop
            | Table::Admin
            | Table::Readiness
            | Table::Shutdown
            | Table::Log
            | Table::Limits
            | Table::Resolver
            | Table::Api
            | Table::Aws
            | Table::AwsAddresses
            | Table::Store
            | Table::Dns
            | Table::Announce
            | Table::DnsPolicy
            | Table::DnsHealthCheck
            | Table::AcceptProxy
            | Table::HealthCheck => false,
        }
    }

    /// Whether its keys are the operator's own names.
    pub fn is_open(self) -> bool {
        self == Table::AwsAddresses
    }

    /// As it is written in a file.
    pub fn heading(self) -> &'static str {
        match self {
            Table::Root => "the top level",
            Table::Pop => "[pop]",
            Table::Admin => "[admin]",
            Table::Readiness => "[readiness]",
            Table::Shutdown => "[shutdown]",
            Table::Log => "[log]",
            Table::Limits => "[limits]",
            Table::Resolver => "[resolver]",
            Table::Api => "[api]",
            Table::Credential => "credentials = [{ … }]",
            Table::Aws => "[aws]",
            Table::AwsRole => "roles = [{ … }]",
            Table::AwsAddresses => "[aws.addresses]",
            Table::Store => "[store]",
            Table::EndpointAlias => "[[endpoint_alias]]",
            Table::Dns => "[dns]",
            Table::DnsRecord => "[[dns.record]]",
            Table::DnsPolicy => "policy = { … }",
            Table::DnsHealthCheck => "health_check = { … } of [[dns.record]]",
            Table::Announce => "[announce]",
            Table::Accelerator => "[[accelerator]]",
            Table::Listener => "[[accelerator.listener]]",
            Table::AcceptProxy => "accept_proxy = { … }",
            Table::EndpointGroup => "[[accelerator.listener.endpoint_group]]",
            Table::HealthCheck => "health_check = { … }",
            Table::PortOverride => "port_overrides = [{ … }]",
            Table::Endpoint => "endpoints = [{ … }]",
        }
    }

    /// A sentence about it.
    fn about(self) -> &'static str {
        match self {
            Table::Root => "",
            Table::Pop => "This edge site.",
            Table::Admin => {
                "The admin listener: `/livez`, `/readyz`, `/metrics`, `/api/v1/…`. It is always there."
            }
            Table::Readiness => {
                "A second listener with `/livez` and `/readyz` alone, for health checks from elsewhere. Without the table there is none."
            }
            Table::Shutdown => "What SIGTERM does.",
            Table::Log => "Logs and flow records.",
            Table::Limits => "Caps of the whole process.",
            Table::Resolver => "How endpoints named by a name are resolved.",
            Table::Api => {
                "The API that AWS's tools speak to with `--endpoint-url`. Without the table there is none; a change takes effect at the next start."
            }
            Table::Credential => {
                "Of `[api]`: whose signatures are taken. None is whoever reaches the listener, which then must be on loopback."
            }
            Table::Aws => {
                "What is read from AWS: Global Accelerator's accelerators and tagged load balancers. Credentials come as AWS's own tools find them. Without the table AWS is never asked."
            }
            Table::AwsRole => {
                "Of `[aws]`: roles that describe load balancers of other accounts, one each."
            }
            Table::AwsAddresses => {
                "Where accelerators that come from AWS are served here: without an entry on addresses of `[api] address_pool`, and without `[api]` not at all, which is shown."
            }
            Table::Store => "What the API makes is kept here. One process alone opens it.",
            Table::EndpointAlias => {
                "What an endpoint id of the API stands for that is no address: an ARN, an instance, an Elastic IP, a subnet."
            }
            Table::Dns => {
                "Publication in Route 53. Without the table there is none. Nothing is changed there that does not carry the mark of this owner and this PoP."
            }
            Table::DnsRecord => {
                "An A and an AAAA record set of this PoP. Gives one of `accelerator`, `addresses` and `alias`."
            }
            Table::DnsPolicy => "Of a DNS record: who gets it among all sets of its name.",
            Table::DnsHealthCheck => {
                "Of a DNS record: how Route 53 asks this PoP, at the first of `[pop] addresses` of each family. A PoP leaves by answering 503, without a write to DNS."
            }
            Table::Announce => {
                "Anycast: the accelerators' addresses announced to routers for as long as they are served here. Without the table nothing is announced."
            }
            Table::Accelerator => "A named set of static addresses with listeners.",
            Table::Listener => "A protocol and ports on the accelerator above it.",
            Table::AcceptProxy => "Of a listener: who may say in a PROXY header who the client is.",
            Table::EndpointGroup => "The endpoints of one region under the listener above it.",
            Table::HealthCheck => "Of an endpoint group: how its endpoints are asked.",
            Table::PortOverride => "Of an endpoint group: ports that differ at its endpoints.",
            Table::Endpoint => {
                "Of an endpoint group: what takes the connections. An empty list is a group that is never available."
            }
        }
    }
}

/// A key of a table.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Where it belongs.
    pub table: Table,
    /// How it is called there.
    pub name: &'static str,
    /// What kind of value it takes, with the range.
    pub kind: &'static str,
    /// What holds without it.
    pub default: KeyDefault,
    /// One sentence, in Markdown.
    pub description: &'static str,
}

impl Key {
    /// Its dotted path; arrays of tables are marked, as in `accelerator[].listener[].ports`.
    pub fn path(&self) -> String {
        let mut path = self.name.to_string();
        let mut table = self.table;
        while let Some(parent) = table.parent() {
            let mark = if table.is_array() { "[]" } else { "" };
            path = format!("{}{mark}.{path}", table.name());
            table = parent;
        }
        path
    }
}

/// What holds when a key is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyDefault {
    /// It must be given wherever its table is.
    Required,
    /// This, as it would be written in TOML.
    Value(&'static str),
    /// No value of its own; the text says what happens instead.
    Absent(&'static str),
}

pub use self::list::KEYS;

mod list;

/// The key with this name; every name that the reader asks for is in [`KEYS`].
pub(super) fn find(table: Table, name: &str) -> &'static Key {
    KEYS.iter()
        .find(|key| key.table == table && key.name == name)
        .expect("the reader asks for no key that KEYS lacks")
}

/// Whether the table may hold the key, a table below it included.
pub(super) fn is_known(table: Table, name: &str) -> bool {
    KEYS.iter()
        .any(|key| key.table == table && key.name == name)
        || Table::ALL
            .iter()
            .any(|below| below.parent() == Some(table) && below.name() == name)
}

fn known(table: Table) -> Vec<&'static str> {
    let keys = KEYS.iter().filter(|key| key.table == table);
    let below = Table::ALL
        .iter()
        .filter(|below| below.parent() == Some(table));
    keys.map(|key| key.name)
        .chain(below.map(|below| below.name()))
        .collect()
}

/// Half of a name may differ in letters before it is no longer taken for a slip of the fingers.
const NEAR: f64 = 0.6;

/// The error for a key that the table does not have: the nearest that it has, else where the name belongs, else all.
pub(super) fn unknown(table: Table, name: &str) -> ValueError {
    let known = known(table);
    let likeness = |key: &str| strsim::normalized_damerau_levenshtein(name, key);
    let nearest = known
        .iter()
        .map(|key| (likeness(key), *key))
        .filter(|(likeness, _)| *likeness >= NEAR)
        .max_by(|one, other| one.0.total_cmp(&other.0));
    let mut others = Table::ALL.iter().filter(|other| is_known(**other, name));
    // A name that several tables have says nothing about where this one was meant to be.
    let elsewhere = others.next().filter(|_| others.next().is_none());
    let remedy = match (nearest, elsewhere) {
        (_, Some(other)) => format!("it belongs to {}", other.heading()),
        (Some((_, key)), None) => format!("did you mean \"{key}\"?"),
        (None, None) => format!("{} has {}", table.heading(), known.join(", ")),
    };
    ValueError::new("unknown key".into(), remedy)
}

/// What to do about a required key that is not there.
pub(super) fn remedy_missing(table: Table, name: &str) -> String {
    let key = find(table, name);
    format!("add {name} to {}: {}", table.heading(), key.kind)
}

/// All keys in Markdown, table by table.
pub fn reference_table() -> String {
    let mut out = String::new();
    for table in Table::ALL {
        let keys: Vec<&Key> = KEYS.iter().filter(|key| key.table == table).collect();
        if keys.is_empty() {
            continue;
        }
        let (heading, about) = (table.heading(), table.about());
        let _ = write!(out, "#### `{heading}`\n{about}\n\n");
        out.push_str("| key | value | default | meaning |\n|---|---|---|---|\n");
        for key in keys {
            let default = match key.default {
                KeyDefault::Required => "required".to_string(),
                KeyDefault::Value(toml) => format!("`{toml}`"),
                KeyDefault::Absent(instead) => instead.to_string(),
            };
            let (name, kind, description) = (key.name, key.kind, key.description);
            let row = format!("| `{name}` | {kind} | {default} | {description} |");
            out.push_str(&row);
            out.push('\n');
        }
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}
