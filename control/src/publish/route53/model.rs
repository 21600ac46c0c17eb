//! Record sets as Route 53 keeps them, in one spelling: names in lower case without a trailing dot, addresses parsed. Pure; the
//! client translates to and from the wire.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ring::digest::{SHA256, digest};
use serde::Serialize;

/// A record set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RecordSet {
    /// Where it is.
    pub key: Key,
    /// Who gets it.
    pub routing: Routing,
    /// What it gives.
    pub data: Data,
    /// What must be healthy for it to be given.
    pub health_check: Option<CheckRef>,
}

/// What tells record sets of a zone apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Key {
    /// Lower case, without a trailing dot, `*` unescaped.
    pub name: String,
    /// The type.
    pub kind: Kind,
    /// Of routed sets alone.
    pub set_identifier: Option<String>,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.kind)?;
        match &self.set_identifier {
            Some(set) => write!(f, " ({set})"),
            None => Ok(()),
        }
    }
}

/// A record type. Those that the edge never writes keep their name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "String")]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Text; our marks.
    Txt,
    /// Anything else.
    Other(String),
}

impl Kind {
    /// By Route 53's word.
    pub fn of(word: &str) -> Self {
        match word {
            "A" => Kind::A,
            "AAAA" => Kind::Aaaa,
            "TXT" => Kind::Txt,
            other => Kind::Other(other.to_owned()),
        }
    }

    /// Route 53's word.
    pub fn as_str(&self) -> &str {
        match self {
            Kind::A => "A",
            Kind::Aaaa => "AAAA",
            Kind::Txt => "TXT",
            Kind::Other(word) => word,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Kind> for String {
    fn from(kind: Kind) -> String {
        kind.as_str().to_owned()
    }
}

/// Who gets a set among all of its name and type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case", tag = "policy")]
pub enum Routing {
    /// Everybody.
    Simple,
    /// By weight.
    Weighted {
        /// 0 to 255 on AWS's side.
        weight: i64,
    },
    /// By the nearest AWS region.
    Latency {
        /// That region.
        region: String,
    },
    /// By where the client is.
    Geolocation {
        /// One of the two.
        continent: Option<String>,
        /// The other; `*` is the default.
        country: Option<String>,
        /// Within the country.
        subdivision: Option<String>,
    },
    /// By the nearest place.
    Geoproximity {
        /// One of the three.
        region: Option<String>,
        /// One of the three.
        local_zone_group: Option<String>,
        /// One of the three: latitude and longitude in hundredths of a degree.
        coordinates: Option<(i32, i32)>,
        /// −99 to 99.
        bias: i32,
    },
    /// While it, or the other, is healthy.
    Failover {
        /// Which it is.
        primary: bool,
    },
    /// Some of all healthy ones.
    Multivalue,
    /// By the client's network.
    Cidr {
        /// Which collection.
        collection: String,
        /// Which location in it.
        location: String,
    },
}

impl Routing {
    /// Route 53's word for the policy.
    pub fn policy(&self) -> &'static str {
        match self {
            Routing::Simple => "simple",
            Routing::Weighted { .. } => "weighted",
            Routing::Latency { .. } => "latency",
            Routing::Geolocation { .. } => "geolocation",
            Routing::Geoproximity { .. } => "geoproximity",
            Routing::Failover { .. } => "failover",
            Routing::Multivalue => "multivalue",
            Routing::Cidr { .. } => "IP-based",
        }
    }
}

impl fmt::Display for Routing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.policy())?;
        match self {
            Routing::Simple | Routing::Multivalue => Ok(()),
            Routing::Weighted { weight } => write!(f, " {weight}"),
            Routing::Latency { region } => write!(f, " {region}"),
            Routing::Geolocation {
                continent,
                country,
                subdivision,
            } => {
                for part in [continent, country, subdivision].into_iter().flatten() {
                    write!(f, " {part}")?;
                }
                Ok(())
            }
            Routing::Geoproximity {
                region,
                local_zone_group,
                coordinates,
                bias,
            } => {
                for part in [region, local_zone_group].into_iter().flatten() {
                    write!(f, " {part}")?;
                }
                if let Some((latitude, longitude)) = coordinates {
                    write!(f, " {},{}", degrees(*latitude), degrees(*longitude))?;
                }
                if *bias != 0 {
                    write!(f, " bias {bias}")?;
                }
                Ok(())
            }
            Routing::Failover { primary: true } => f.write_str(" primary"),
            Routing::Failover { primary: false } => f.write_str(" secondary"),
            Routing::Cidr { location, .. } => write!(f, " {location}"),
        }
    }
}

/// Hundredths as Route 53 takes them, such as `-8.68`.
pub fn degrees(hundredths: i32) -> String {
    let sign = if hundredths < 0 { "-" } else { "" };
    let whole = hundredths.unsigned_abs();
    format!("{sign}{}.{:02}", whole / 100, whole % 100)
}

/// Degrees as Route 53 gives them, to hundredths.
pub fn hundredths(degrees: &str) -> Option<i32> {
    let degrees: f64 = degrees.trim().parse().ok()?;
    (degrees.abs() <= 180.0).then(|| (degrees * 100.0).round() as i32)
}

/// What a set gives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Data {
    /// Values, as they are on the wire.
    Values {
        /// Seconds.
        ttl: i64,
        /// In the order of the wire.
        values: Vec<String>,
    },
    /// What another name gives.
    Alias {
        /// The hosted zone of that name.
        zone: String,
        /// Lower case, without a trailing dot.
        name: String,
        /// Whether that name's health counts.
        evaluate_target_health: bool,
    },
    /// What a traffic policy instance gives. Never touched.
    TrafficPolicy(String),
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Data::Values { ttl, values } => write!(f, "{} ttl {ttl}", values.join(" ")),
            Data::Alias {
                name,
                evaluate_target_health: true,
                ..
            } => write!(f, "alias {name}, with its health"),
            Data::Alias { name, .. } => write!(f, "alias {name}"),
            Data::TrafficPolicy(id) => write!(f, "traffic policy {id}"),
        }
    }
}

/// A health check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckRef {
    /// One that is there, by its id.
    Id(String),
    /// One that the plan makes, by what is asked.
    Planned(String),
}

impl fmt::Display for CheckRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckRef::Id(id) => f.write_str(id),
            CheckRef::Planned(what) => write!(f, "new ({what})"),
        }
    }
}

impl RecordSet {
    /// A simple set of values.
    pub fn simple(name: impl Into<String>, kind: Kind, ttl: i64, values: Vec<String>) -> Self {
        RecordSet {
            key: Key {
                name: name.into(),
                kind,
                set_identifier: None,
            },
            routing: Routing::Simple,
            data: Data::Values { ttl, values },
            health_check: None,
        }
    }

    /// Whether both say the same, whatever the order and spelling of values.
    pub fn says(&self, other: &RecordSet) -> bool {
        let RecordSet {
            key,
            routing,
            data,
            health_check,
        } = self;
        *key == other.key
            && *routing == other.routing
            && *health_check == other.health_check
            && match (data, &other.data) {
                (Data::Values { ttl, values }, Data::Values { ttl: t, values: v }) => {
                    ttl == t && self.canonical(values) == other.canonical(v)
                }
                (one, two) => one == two,
            }
    }

    fn canonical(&self, values: &[String]) -> BTreeSet<String> {
        let spell = |value: &String| match self.key.kind {
            Kind::A | Kind::Aaaa => match value.parse::<IpAddr>() {
                Ok(ip) => ip.to_string(),
                Err(_) => value.clone(),
            },
            Kind::Txt | Kind::Other(_) => value.clone(),
        };
        values.iter().map(spell).collect()
    }

    /// ResourceRecord elements that a change of it counts against the limit of a request.
    pub fn elements(&self) -> usize {
        match &self.data {
            Data::Values { values, .. } => values.len().max(1),
            Data::Alias { .. } | Data::TrafficPolicy(_) => 1,
        }
    }

    /// Characters in its values.
    pub fn characters(&self) -> usize {
        match &self.data {
            Data::Values { values, .. } => values.iter().map(String::len).sum(),
            Data::Alias { .. } | Data::TrafficPolicy(_) => 0,
        }
    }

    /// A short name for what it says, whatever the order and spelling of values. Health checks are left out: their ids change.
    pub fn fingerprint(&self) -> String {
        let mut said = format!("{}|{:?}|", self.key, self.routing);
        match &self.data {
            Data::Values { ttl, values } => {
                said.push_str(&format!("{ttl}|{:?}", self.canonical(values)));
            }
            Data::Alias { .. } | Data::TrafficPolicy(_) => {
                said.push_str(&format!("{:?}", self.data));
            }
        }
        hash(said.as_bytes(), 12)
    }
}

/// The first hexadecimal digits of SHA-256.
pub(super) fn hash(bytes: &[u8], digits: usize) -> String {
    let digest = digest(&SHA256, bytes);
    let hex: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    hex[..digits].to_owned()
}

/// A name as Route 53 gives it, in our spelling: `\052` is `*`, a trailing dot goes, capitals are lowered.
pub fn name(wire: &str) -> String {
    let wire = wire.strip_suffix('.').unwrap_or(wire);
    let mut out = String::with_capacity(wire.len());
    let mut rest = wire;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let digits = rest.get(at + 1..at + 4).unwrap_or_default();
        match u8::from_str_radix(digits, 8) {
            // What could be taken for the name's own dots and letters stays escaped.
            Ok(byte) if byte.is_ascii_graphic() && byte != b'.' && byte != b'\\' => {
                out.push(char::from(byte));
                rest = &rest[at + 4..];
            }
            Ok(_) | Err(_) => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    out.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_spelling() {
        for (wire, ours) in [
            ("App.Example.com.", "app.example.com"),
            ("\\052.example.com.", "*.example.com"),
            ("a\\056b.example.com.", "a\\056b.example.com"),
            ("trailing\\", "trailing\\"),
            ("", ""),
        ] {
            assert_eq!(name(wire), ours, "{wire}");
        }
    }

    #[test]
    fn addresses_are_compared_and_text_is_not_read() {
        let set = |kind: Kind, values: &[&str]| {
            let values = values.iter().map(|v| (*v).to_owned()).collect();
            RecordSet::simple("a.example.com", kind, 60, values)
        };
        let long = set(Kind::Aaaa, &["2001:db8:0:0:0:0:0:1", "2001:db8::2"]);
        let short = set(Kind::Aaaa, &["2001:db8::2", "2001:db8::1"]);
        assert!(long.says(&short) && short.says(&long));
        assert_eq!(long.fingerprint(), short.fingerprint());
        assert!(!set(Kind::Txt, &["\"::1\""]).says(&set(Kind::Txt, &["\"0::1\""])));
        assert!(!long.says(&set(Kind::Aaaa, &["2001:db8::2"])));
    }

    #[test]
    fn degrees_go_both_ways() {
        for (hundred, text) in [(5011, "50.11"), (-868, "-8.68"), (-5, "-0.05"), (0, "0.00")] {
            assert_eq!(degrees(hundred), text);
            assert_eq!(hundredths(text), Some(hundred));
        }
        assert_eq!(hundredths("50.1"), Some(5010));
        assert_eq!(hundredths("x"), None);
    }
}
