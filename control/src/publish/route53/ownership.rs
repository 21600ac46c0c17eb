//! Who a record set belongs to. A routed set carries the mark of owner and PoP in its identifier; a simple one has a TXT beside
//! it. What carries neither is foreign, and whoever it seems to belong to is only named.

use std::collections::HashMap;
use std::fmt;

use super::model::{Data, Key, Kind, RecordSet};

const SCHEME: &str = "portolan";

/// First label of the TXT beside a simple set.
const MARK_LABEL: &str = "_portolan-own";

/// Label that the leaves of a name are under.
const LEAF_LABEL: &str = "_portolan";

/// Stands for `*` within names of ours, where it would be no wildcard.
const WILDCARD: &str = "_wildcard";

/// Seconds; nobody asks for marks.
const MARK_TTL: i64 = 300;

/// Who publishes: what we change carries both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Publisher {
    /// `[dns] owner`.
    pub owner: String,
    /// `[pop] name`.
    pub pop: String,
}

/// Whose a record set is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Ours.
    Us,
    /// Another PoP's of the same owner.
    Sibling(String),
    /// Another Portolan owner's.
    Portolan(Publisher),
    /// Marked by another program, as it calls itself.
    Marked(String),
    /// Nobody's that we can name.
    Unmarked,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Us => f.write_str("this PoP"),
            Holder::Sibling(pop) => write!(f, "PoP {pop} of the same owner"),
            Holder::Portolan(Publisher { owner, pop }) => {
                write!(f, "Portolan owner {owner}, PoP {pop}")
            }
            Holder::Marked(by) => f.write_str(by),
            Holder::Unmarked => f.write_str("nobody that left a mark"),
        }
    }
}

impl Publisher {
    /// The identifier of a routed set.
    pub fn set_identifier(&self, set: Option<&str>) -> String {
        let Publisher { owner, pop } = self;
        match set {
            Some(set) => format!("{SCHEME}:{owner}:{pop}:{set}"),
            None => format!("{SCHEME}:{owner}:{pop}"),
        }
    }

    /// Where the values of a routed set of several are: a simple set of this PoP.
    pub fn leaf(&self, name: &str, set: Option<&str>) -> String {
        let Publisher { owner, pop } = self;
        let set = set.map(|set| format!("{set}.")).unwrap_or_default();
        format!("{set}{pop}.{owner}.{LEAF_LABEL}.{}", plain(name)).to_ascii_lowercase()
    }

    /// The TXT that says that a simple set is ours.
    pub fn mark(&self, set: &RecordSet) -> RecordSet {
        let Publisher { owner, pop } = self;
        let value = format!(
            "\"heritage={SCHEME},{SCHEME}/owner={owner},{SCHEME}/pop={pop},{SCHEME}/v=1,{SCHEME}/sha={}\"",
            set.fingerprint()
        );
        RecordSet::simple(mark_name(&set.key), Kind::Txt, MARK_TTL, vec![value])
    }

    fn relation(&self, other: Publisher) -> Holder {
        if other.owner != self.owner {
            Holder::Portolan(other)
        } else if other.pop != self.pop {
            Holder::Sibling(other.pop)
        } else {
            Holder::Us
        }
    }
}

/// Where the mark of a simple set is.
pub fn mark_name(key: &Key) -> String {
    let kind = key.kind.as_str().to_ascii_lowercase();
    format!("{MARK_LABEL}.{kind}.{}", plain(&key.name))
}

fn plain(name: &str) -> String {
    match name.strip_prefix("*.") {
        Some(rest) => format!("{WILDCARD}.{rest}"),
        None => name.to_owned(),
    }
}

/// The name that a set of ours serves: the group that it is planned with.
pub fn group(key: &Key) -> String {
    let mut name = key.name.as_str();
    if key.kind == Kind::Txt
        && let Some(rest) = name.strip_prefix(&format!("{MARK_LABEL}."))
        && let Some((_, rest)) = rest.split_once('.')
    {
        name = rest;
    }
    if let Some((_, rest)) = name.split_once(&format!(".{LEAF_LABEL}.")) {
        name = rest;
    }
    match name.strip_prefix(&format!("{WILDCARD}.")) {
        Some(rest) => format!("*.{rest}"),
        None => name.to_owned(),
    }
}

/// What the zone's marks say.
pub struct Ownership<'a> {
    us: &'a Publisher,
    /// By the name of the mark.
    marks: HashMap<&'a str, Mark>,
    /// By name: TXT of external-dns.
    external: HashMap<&'a str, String>,
}

struct Mark {
    by: Publisher,
    sha: String,
}

impl<'a> Ownership<'a> {
    /// Reads all marks of a zone.
    pub fn read(us: &'a Publisher, current: &'a [RecordSet]) -> Self {
        let mut marks = HashMap::new();
        let mut external = HashMap::new();
        for set in current {
            let Some(text) = text(set) else { continue };
            let name = set.key.name.as_str();
            if name.starts_with(MARK_LABEL) && set.key.set_identifier.is_none() {
                if let Some(mark) = parse_mark(text) {
                    marks.insert(name, mark);
                }
            } else if let Some(owner) = parse_external(text) {
                external.insert(name, owner);
            }
        }
        Self {
            us,
            marks,
            external,
        }
    }

    /// Whose the set is.
    pub fn holder(&self, set: &RecordSet) -> Holder {
        let RecordSet { key, data, .. } = set;
        // Whatever its marks: a traffic policy writes it.
        if matches!(data, Data::TrafficPolicy(_)) {
            return Holder::Marked("a Route 53 traffic policy".into());
        }
        if let Some(set) = &key.set_identifier {
            return match parse_identifier(set) {
                Some(by) if is_ours(&key.kind) => self.us.relation(by),
                Some(_) | None => self.external(key).unwrap_or(Holder::Unmarked),
            };
        }
        if let Some(mark) = self.marks.get(key.name.as_str())
            && key.kind == Kind::Txt
        {
            return self.us.relation(mark.by.clone());
        }
        let mark = self.marks.get(mark_name(key).as_str());
        match mark.filter(|_| is_ours(&key.kind)) {
            Some(mark) => self.us.relation(mark.by.clone()),
            None => self.external(key).unwrap_or(Holder::Unmarked),
        }
    }

    /// Whether the set is one of our marks, rather than what is marked.
    pub fn is_mark(&self, key: &Key) -> bool {
        key.kind == Kind::Txt && self.marks.contains_key(key.name.as_str())
    }

    /// Whether a simple set is no longer what its mark says: somebody changed it behind our back.
    pub fn drifted(&self, set: &RecordSet) -> bool {
        let mark = self.marks.get(mark_name(&set.key).as_str());
        set.key.set_identifier.is_none() && mark.is_some_and(|mark| mark.sha != set.fingerprint())
    }

    /// external-dns keeps its TXT beside the record or under a name with the type before it.
    fn external(&self, key: &Key) -> Option<Holder> {
        let kind = key.kind.as_str().to_ascii_lowercase();
        let names = [
            key.name.clone(),
            format!("{kind}-{}", key.name),
            format!("cname-{}", key.name),
        ];
        let owner = names
            .iter()
            .find_map(|name| self.external.get(name.as_str()))?;
        Some(Holder::Marked(format!("external-dns owner {owner}")))
    }
}

/// We write addresses and marks alone; another type with our identifier is somebody's copy.
fn is_ours(kind: &Kind) -> bool {
    match kind {
        Kind::A | Kind::Aaaa | Kind::Txt => true,
        Kind::Other(_) => false,
    }
}

fn parse_identifier(identifier: &str) -> Option<Publisher> {
    let mut parts = identifier.split(':');
    if parts.next() != Some(SCHEME) {
        return None;
    }
    let (owner, pop) = (parts.next()?, parts.next()?);
    let _set = parts.next();
    let whole = parts.next().is_none() && !owner.is_empty() && !pop.is_empty();
    whole.then(|| Publisher {
        owner: owner.to_owned(),
        pop: pop.to_owned(),
    })
}

/// The one value of a TXT set, without its quotes.
fn text(set: &RecordSet) -> Option<&str> {
    match (&set.key.kind, &set.data) {
        (Kind::Txt, Data::Values { values, .. }) => match values.as_slice() {
            [value] => Some(value.trim_matches('"')),
            [] | [_, ..] => None,
        },
        (_, _) => None,
    }
}

fn parts<'t>(text: &'t str, heritage: &str) -> Option<HashMap<&'t str, &'t str>> {
    let parts: HashMap<&str, &str> = text
        .split(',')
        .filter_map(|part| part.split_once('='))
        .collect();
    (parts.get("heritage") == Some(&heritage)).then_some(parts)
}

fn parse_mark(text: &str) -> Option<Mark> {
    let parts = parts(text, SCHEME)?;
    Some(Mark {
        by: Publisher {
            owner: (*parts.get("portolan/owner")?).to_owned(),
            pop: (*parts.get("portolan/pop")?).to_owned(),
        },
        sha: parts.get("portolan/sha").copied().unwrap_or("").to_owned(),
    })
}

fn parse_external(text: &str) -> Option<String> {
    let parts = parts(text, "external-dns")?;
    parts.get("external-dns/owner").map(|o| (*o).to_owned())
}

#[cfg(test)]
mod tests;
