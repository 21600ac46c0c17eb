//! Publication in Route 53, as the file asks for it.

use std::fmt;
use std::time::Duration;

use crate::units::AcceleratorName;

/// `[dns]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Where the records are kept.
    pub hosted_zone: HostedZone,
    /// Unique among all who write the zone; half of the mark.
    pub owner: String,
    /// What may be written.
    pub mode: DnsMode,
    /// From one full comparison to the next.
    pub interval: Duration,
    /// Whether a zone that is not there is made.
    pub create_zone: bool,
    /// The records, in the order of the file; name and set are unique.
    pub records: Vec<DnsRecord>,
}

/// How the hosted zone is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostedZone {
    /// By its name, lower case, without a trailing dot.
    Name(String),
    /// By its id.
    Id(String),
}

impl fmt::Display for HostedZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostedZone::Name(text) | HostedZone::Id(text) => f.write_str(text),
        }
    }
}

/// What the edge may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DnsMode {
    /// Nothing.
    Observe,
    /// What is not there.
    CreateOnly,
    /// The same, and changes of what is its own.
    UpsertOnly,
    /// The same, and deletes of what is its own.
    Sync,
}

impl DnsMode {
    /// Every mode with the file's word for it.
    pub const WORDS: [(&'static str, DnsMode); 4] = [
        ("observe", DnsMode::Observe),
        ("create-only", DnsMode::CreateOnly),
        ("upsert-only", DnsMode::UpsertOnly),
        ("sync", DnsMode::Sync),
    ];

    /// The file's word.
    pub fn as_str(self) -> &'static str {
        match self {
            DnsMode::Observe => "observe",
            DnsMode::CreateOnly => "create-only",
            DnsMode::UpsertOnly => "upsert-only",
            DnsMode::Sync => "sync",
        }
    }
}

/// `[[dns.record]]`: an A and an AAAA record set under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsRecord {
    /// Lower case, without a trailing dot; `*.` may lead it.
    pub name: String,
    /// Tells several sets of one PoP under one name apart.
    pub set: Option<String>,
    /// What the name gives.
    pub value: RecordValue,
    /// Seconds that resolvers may keep it.
    pub ttl: u32,
    /// Who gets it.
    pub policy: RoutingPolicy,
    /// The Route 53 health check of this PoP that it depends on.
    pub health_check: Option<PopCheck>,
}

/// What a record gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordValue {
    /// The addresses of an accelerator; the PoP's where that listens on every address.
    Accelerator(AcceleratorName),
    /// `[pop] addresses`.
    Pop,
    /// What another name gives.
    Alias {
        /// That name, lower case, without a trailing dot.
        name: String,
        /// The hosted zone that it is in; `None` is the record's own, or a load balancer's, which is found out.
        zone: Option<String>,
        /// Whether the record is healthy only while that name is.
        evaluate_target_health: bool,
    },
}

/// `policy`: who gets the record among all under its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoutingPolicy {
    /// Everybody: it is the only one.
    Simple,
    /// By weight, 0 to 255.
    Weighted(u8),
    /// Whom this AWS region is the nearest of all to.
    Latency(String),
    /// Whoever is at this place.
    Geolocation(Location),
    /// Whom this place is the nearest of all to.
    Geoproximity {
        /// The place.
        at: Place,
        /// −99 to 99: grows or shrinks its catchment.
        bias: i8,
    },
    /// Everybody, while it is healthy or the other is not.
    Failover(FailoverRole),
    /// Everybody, among up to eight healthy ones.
    Multivalue,
}

impl RoutingPolicy {
    /// The file's word.
    pub fn as_str(&self) -> &'static str {
        match self {
            RoutingPolicy::Simple => "simple",
            RoutingPolicy::Weighted(_) => "weighted",
            RoutingPolicy::Latency(_) => "latency",
            RoutingPolicy::Geolocation(_) => "geolocation",
            RoutingPolicy::Geoproximity { .. } => "geoproximity",
            RoutingPolicy::Failover(_) => "failover",
            RoutingPolicy::Multivalue => "multivalue",
        }
    }
}

/// Where a resolver or its client is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// AWS's two letters.
    Continent(String),
    /// ISO 3166-1 alpha-2; `*` is everywhere that no other set names.
    Country(String),
    /// A state of the United States.
    State(String),
}

/// Where a PoP is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// At an AWS region.
    Region(String),
    /// At an AWS local zone group.
    LocalZoneGroup(String),
    /// At a point, in hundredths of a degree.
    Coordinates {
        /// −9000 to 9000.
        latitude: i32,
        /// −18000 to 18000.
        longitude: i32,
    },
}

/// Which of the two a failover set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailoverRole {
    /// While it is healthy.
    Primary,
    /// While the primary is not.
    Secondary,
}

/// `health_check` of a record: how Route 53 asks this PoP.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PopCheck {
    /// What is asked.
    pub protocol: PopCheckProtocol,
    /// Where.
    pub port: u16,
    /// What HTTP and HTTPS ask for.
    pub path: String,
    /// The Host header, and the name that HTTPS asks for.
    pub host: Option<String>,
    /// Text that must be in the first 5120 bytes of the answer.
    pub search: Option<String>,
    /// Every 10 instead of every 30 seconds.
    pub fast: bool,
    /// Results in a row that change the state.
    pub threshold: u8,
}

/// What a Route 53 health check speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PopCheckProtocol {
    /// A connect.
    Tcp,
    /// A GET.
    Http,
    /// A GET over TLS; the certificate is not verified.
    Https,
}

/// The region in the name that AWS gave a load balancer: `x-1.REGION.elb.amazonaws.com` of application load balancers,
/// `x-1.elb.REGION.amazonaws.com` of network load balancers. `None` for every other name.
pub fn load_balancer_region(name: &str) -> Option<&str> {
    let name = name.trim_end_matches('.');
    let rest = name
        .strip_suffix(".amazonaws.com")
        .or_else(|| name.strip_suffix(".amazonaws.com.cn"))?;
    let (rest, last) = rest.rsplit_once('.')?;
    let (first, before) = rest.rsplit_once('.')?;
    match (before, last) {
        (region, "elb") | ("elb", region) if !first.is_empty() && region.contains('-') => {
            Some(region)
        }
        (_, _) => None,
    }
}

/// AWS regions that latency and geoproximity know (Route 53 API, `ResourceRecordSetRegion`).
pub const LATENCY_REGIONS: [&str; 39] = [
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eusc-de-east-1",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-west-1",
    "us-west-2",
];

/// Continents of geolocation (Route 53 API, `GeoLocationContinentCode`).
pub const CONTINENTS: [&str; 7] = ["AF", "AN", "AS", "EU", "NA", "OC", "SA"];

/// ISO 3166-1 alpha-2.
const COUNTRIES: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ \
CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI \
GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI \
LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF \
PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL \
TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW";

/// States and territories that geolocation knows under `US`.
const STATES: &str = "AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK OR PA \
RI SC SD TN TX UT VT VA WA WV WI WY";

/// Whether geolocation knows the country; `*` is everywhere else.
pub fn is_country(code: &str) -> bool {
    code == "*" || (code.len() == 2 && COUNTRIES.split(' ').any(|known| known == code))
}

/// Whether geolocation knows the state of the United States.
pub fn is_state(code: &str) -> bool {
    code.len() == 2 && STATES.split(' ').any(|known| known == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_balancers_name_says_its_region() {
        for (name, region) in [
            ("web-1.eu-central-1.elb.amazonaws.com", Some("eu-central-1")),
            (
                "dualstack.web-1.us-east-1.elb.amazonaws.com",
                Some("us-east-1"),
            ),
            ("nlb-0a.elb.eu-west-1.amazonaws.com", Some("eu-west-1")),
            ("web-1.cn-north-1.elb.amazonaws.com.cn", Some("cn-north-1")),
            ("elb.amazonaws.com", None),
            ("x.s3.eu-west-1.amazonaws.com", None),
            ("web-1.elb.example.com", None),
            ("app.example.com", None),
        ] {
            assert_eq!(load_balancer_region(name), region, "{name}");
        }
    }
}
