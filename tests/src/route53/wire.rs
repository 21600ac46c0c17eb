//! Route 53's XML, as the service model has it: elements in its order, names escaped, errors in both of their shapes.

use std::collections::HashMap;

use quick_xml::de::from_str;
use quick_xml::se::to_string_with_root;
use serde::{Deserialize, Serialize};

use super::rules::Place;
use super::{Check, Fault, Said, World, Zone};

/// A record set, element by element.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Set {
    /// With a trailing dot; `*` as it is.
    pub name: String,
    /// The type.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Of routed sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_identifier: Option<String>,
    /// By weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<i64>,
    /// By latency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// By location.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub geo_location: Option<Geo>,
    /// By failover.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failover: Option<String>,
    /// Multivalue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_value_answer: Option<bool>,
    /// Seconds.
    #[serde(rename = "TTL", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<i64>,
    /// Values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_records: Option<Records>,
    /// An alias instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias_target: Option<Alias>,
    /// A health check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check_id: Option<String>,
    /// By proximity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub geo_proximity_location: Option<Proximity>,
}

/// `GeoLocation`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Geo {
    #[serde(skip_serializing_if = "Option::is_none")]
    continent_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    country_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subdivision_code: Option<String>,
}

/// `GeoProximityLocation`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Proximity {
    #[serde(rename = "AWSRegion", skip_serializing_if = "Option::is_none")]
    aws_region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local_zone_group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    coordinates: Option<Coordinates>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bias: Option<i32>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Coordinates {
    latitude: String,
    longitude: String,
}

/// `ResourceRecords`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Records {
    #[serde(rename = "ResourceRecord", default)]
    records: Vec<Record>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    value: String,
}

/// `AliasTarget`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Alias {
    /// The zone of the target.
    pub hosted_zone_id: String,
    /// The target.
    #[serde(rename = "DNSName")]
    pub dns_name: String,
    evaluate_target_health: bool,
}

/// `HealthCheckConfig`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CheckConfig {
    /// Whom it asks.
    #[serde(rename = "IPAddress", skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// What it speaks.
    #[serde(rename = "Type")]
    pub kind: String,
    /// What it asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fully_qualified_domain_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    search_string: Option<String>,
    /// 10 or 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_interval: Option<i32>,
    /// 1 to 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_threshold: Option<i32>,
    #[serde(rename = "EnableSNI", skip_serializing_if = "Option::is_none")]
    enable_sni: Option<bool>,
}

impl Set {
    /// A simple set.
    pub fn simple(name: &str, kind: &str, ttl: i64, values: &[&str]) -> Set {
        let records = values.iter().map(|value| Record {
            value: (*value).to_owned(),
        });
        Set {
            name: format!("{name}."),
            kind: kind.to_owned(),
            ttl: Some(ttl),
            resource_records: Some(Records {
                records: records.collect(),
            }),
            ..Set::default()
        }
    }

    /// Its values.
    pub fn values(&self) -> Vec<&str> {
        let records = self.resource_records.iter().flat_map(|all| &all.records);
        records.map(|record| record.value.as_str()).collect()
    }

    /// The policies that it names: one at most.
    pub fn policies(&self) -> Vec<&'static str> {
        let given = [
            ("weighted", self.weight.is_some()),
            ("latency", self.region.is_some()),
            ("geolocation", self.geo_location.is_some()),
            ("failover", self.failover.is_some()),
            ("multivalue", self.multi_value_answer.is_some()),
            ("geoproximity", self.geo_proximity_location.is_some()),
        ];
        let given = given.into_iter().filter(|(_, is)| *is);
        given.map(|(name, _)| name).collect()
    }

    /// Whether a delete of `other` means this one: everything, values in any order.
    pub(super) fn equals(&self, other: &Set) -> bool {
        let sorted = |set: &Set| {
            let mut set = set.clone();
            if let Some(records) = &mut set.resource_records {
                records.records.sort_by(|a, b| a.value.cmp(&b.value));
            }
            set.name = set.name.to_ascii_lowercase();
            set
        };
        sorted(self) == sorted(other)
    }
}

/// One instruction of a request.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Change {
    /// What to do.
    pub action: String,
    /// With what.
    #[serde(rename = "ResourceRecordSet")]
    pub set: Set,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    change_batch: Batch,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Batch {
    #[serde(default)]
    comment: String,
    changes: Changes,
}

#[derive(Deserialize)]
struct Changes {
    #[serde(rename = "Change")]
    changes: Vec<Change>,
}

pub(super) fn read_changes(body: &str) -> Result<Vec<Change>, String> {
    let request: Request = from_str(body).map_err(|error| error.to_string())?;
    if request.change_batch.comment.chars().count() > 256 {
        return Err("Comment is longer than 256 characters".into());
    }
    Ok(request.change_batch.changes.changes)
}

/// An answer in the error shape of most services.
pub(super) fn error(status: u16, code: &str, message: &str) -> Said {
    let body = format!(
        "<?xml version=\"1.0\"?><ErrorResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Error><Type>Sender</Type>\
         <Code>{code}</Code><Message>{}</Message></Error><RequestId>fake</RequestId></ErrorResponse>",
        escape(message)
    );
    Said::Body(status, body)
}

/// Route 53 tells what is wrong with a request in two shapes; the number of the request decides.
pub(super) fn invalid_batch(number: usize, whats: &[String]) -> Said {
    if number.is_multiple_of(2) {
        return error(
            400,
            "InvalidChangeBatch",
            &format!("[{}]", whats.join(", ")),
        );
    }
    let messages = whats
        .iter()
        .map(|what| format!("<Message>{}</Message>", escape(what)));
    let body = format!(
        "<?xml version=\"1.0\"?><InvalidChangeBatch xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Messages>{}</Messages>\
         <RequestId>fake</RequestId></InvalidChangeBatch>",
        messages.collect::<String>()
    );
    Said::Body(400, body)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn body(root: &str, inner: &str) -> Said {
    Said::Body(
        200,
        format!(
            "<?xml version=\"1.0\"?><{root} xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\">{inner}</{root}>"
        ),
    )
}

fn zone_xml(id: &str, zone: &Zone) -> String {
    format!(
        "<HostedZone><Id>/hostedzone/{id}</Id><Name>{}.</Name><CallerReference>fake</CallerReference>\
         <Config><PrivateZone>false</PrivateZone></Config><ResourceRecordSetCount>{}</ResourceRecordSetCount></HostedZone>",
        zone.name,
        zone.sets.len()
    )
}

pub(super) fn zones(world: &World) -> Said {
    let zones: String = world
        .zones
        .iter()
        .map(|(id, zone)| zone_xml(id, zone))
        .collect();
    body(
        "ListHostedZonesByNameResponse",
        &format!(
            "<HostedZones>{zones}</HostedZones><IsTruncated>false</IsTruncated><MaxItems>100</MaxItems>"
        ),
    )
}

pub(super) fn zone(world: &World, id: &str) -> Said {
    match world.zones.get(id) {
        None => error(404, "NoSuchHostedZone", id),
        Some(zone) => body("GetHostedZoneResponse", &zone_xml(id, zone)),
    }
}

/// Security Token Service's word for whose credentials these are.
pub(super) fn identity() -> Said {
    let account = crate::aws::ACCOUNT;
    Said::Body(
        200,
        format!(
            "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::{account}:user/x</Arn><UserId>x</UserId>\
             <Account>{account}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
        ),
    )
}

/// Names and types that are protected; both families of a name are.
pub(super) fn protections(world: &World, id: &str) -> Said {
    if !world.zones.contains_key(id) {
        return error(404, "NoSuchHostedZone", id);
    }
    if world.hide_protections {
        let what = "not authorized to perform route53:ListResourceRecordSetProtections";
        return error(403, "AccessDenied", what);
    }
    let listed = world.protected.iter().flat_map(|name| {
        ["A", "AAAA", "TXT"].map(|kind| {
            format!(
                "<ResourceRecordSetProtection><RecordName>{name}.</RecordName><RecordType>{kind}</RecordType></ResourceRecordSetProtection>"
            )
        })
    });
    body(
        "ListResourceRecordSetProtectionsResponse",
        &format!(
            "<ResourceRecordSetProtections>{}</ResourceRecordSetProtections>",
            listed.collect::<String>()
        ),
    )
}

fn limit(root: &str, kind: &str, most: usize, there: usize) -> Said {
    body(
        root,
        &format!("<Limit><Type>{kind}</Type><Value>{most}</Value></Limit><Count>{there}</Count>"),
    )
}

pub(super) fn zone_limit(world: &World, id: &str) -> Said {
    match world.zones.get(id) {
        None => error(404, "NoSuchHostedZone", id),
        Some(zone) => limit(
            "GetHostedZoneLimitResponse",
            "MAX_RRSETS_BY_ZONE",
            world.most_sets,
            zone.sets.len(),
        ),
    }
}

pub(super) fn account_limit(world: &World) -> Said {
    limit(
        "GetAccountLimitResponse",
        "MAX_HEALTH_CHECKS_BY_OWNER",
        200,
        world.checks.len(),
    )
}

pub(super) fn create_zone(world: &mut World, body_text: &str) -> Said {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Asked {
        name: String,
    }
    let Ok(asked) = from_str::<Asked>(body_text) else {
        return error(400, "InvalidInput", "no name");
    };
    let id = world.id("Z");
    let zone = Zone::new(asked.name.trim_end_matches('.'));
    let inner = format!(
        "{}<ChangeInfo><Id>/change/C1</Id><Status>INSYNC</Status><SubmittedAt>2026-11-20T00:00:00Z</SubmittedAt></ChangeInfo>\
         <DelegationSet><NameServers><NameServer>ns-1.example.net</NameServer></NameServers></DelegationSet>",
        zone_xml(&id, &zone)
    );
    world.zones.insert(id, zone);
    body("CreateHostedZoneResponse", &inner)
}

/// Names come escaped, in pages, by the three markers.
pub(super) fn list(world: &World, id: &str, query: &HashMap<String, String>) -> Said {
    let Some(zone) = world.zones.get(id) else {
        return error(404, "NoSuchHostedZone", id);
    };
    let get = |key: &str| query.get(key).map(String::as_str).unwrap_or_default();
    let from = Place::new(
        &get("name").replace("\\052", "*"),
        get("type"),
        get("identifier"),
    );
    let most = get("maxitems").parse::<usize>().unwrap_or(300).min(300);
    let begins = !get("name").is_empty();
    let sets = zone
        .sets
        .iter()
        .filter(|(place, _)| !begins || **place >= from);
    let sets: Vec<Set> = sets
        .map(|(_, set)| Set {
            name: set.name.replace('*', "\\052"),
            ..set.clone()
        })
        .collect();
    let page: String = sets
        .iter()
        .take(most)
        .map(|set| to_string_with_root("ResourceRecordSet", set).expect("it has a shape"))
        .collect();
    let next = sets.get(most).map(|set| {
        let identifier = set
            .set_identifier
            .as_ref()
            .map(|identifier| format!("<NextRecordIdentifier>{identifier}</NextRecordIdentifier>"));
        format!(
            "<NextRecordName>{}</NextRecordName><NextRecordType>{}</NextRecordType>{}",
            set.name,
            set.kind,
            identifier.unwrap_or_default()
        )
    });
    let page = if world.fault == Some(Fault::Empty) {
        String::new()
    } else {
        page
    };
    let said = body(
        "ListResourceRecordSetsResponse",
        &format!(
            "<ResourceRecordSets>{page}</ResourceRecordSets><IsTruncated>{}</IsTruncated>{}<MaxItems>{most}</MaxItems>",
            next.is_some() || world.fault == Some(Fault::NoNext),
            next.unwrap_or_default()
        ),
    );
    match said {
        Said::Body(200, text) if world.fault == Some(Fault::Cut) => {
            const END: &str = "</ResourceRecordSet>";
            // Behind the zone's own two.
            let ends: Vec<usize> = text.match_indices(END).map(|(at, _)| at).collect();
            Said::Body(200, text[..ends[1] + END.len()].to_owned())
        }
        said @ (Said::Body(..) | Said::Silence | Said::Lost) => said,
    }
}

fn change_info(id: &str, status: &str) -> String {
    format!(
        "<ChangeInfo><Id>/change/{id}</Id><Status>{status}</Status><SubmittedAt>2026-11-20T00:00:00Z</SubmittedAt></ChangeInfo>"
    )
}

pub(super) fn changed(id: &str) -> Said {
    body(
        "ChangeResourceRecordSetsResponse",
        &change_info(id, "PENDING"),
    )
}

pub(super) fn change(world: &mut World, id: &str) -> Said {
    match world.pending.get_mut(id) {
        None => error(404, "NoSuchChange", id),
        Some(0) => body("GetChangeResponse", &change_info(id, "INSYNC")),
        Some(left) => {
            *left -= 1;
            body("GetChangeResponse", &change_info(id, "PENDING"))
        }
    }
}

fn check_xml(id: &str, check: &Check) -> String {
    let config = to_string_with_root("HealthCheckConfig", &check.config).expect("it has a shape");
    format!(
        "<HealthCheck><Id>{id}</Id><CallerReference>{}</CallerReference>{config}<HealthCheckVersion>{}</HealthCheckVersion></HealthCheck>",
        check.reference, check.version
    )
}

/// Two a page, so that there are pages.
pub(super) fn checks(world: &World, query: &HashMap<String, String>) -> Said {
    let from = query.get("marker").cloned().unwrap_or_default();
    let all: Vec<_> = world.checks.range(from..).collect();
    let page: String = all
        .iter()
        .take(2)
        .map(|(id, check)| check_xml(id, check))
        .collect();
    let next = all
        .get(2)
        .map(|(id, _)| format!("<NextMarker>{id}</NextMarker>"));
    body(
        "ListHealthChecksResponse",
        &format!(
            "<HealthChecks>{page}</HealthChecks><Marker></Marker><IsTruncated>{}</IsTruncated>{}<MaxItems>2</MaxItems>",
            next.is_some(),
            next.unwrap_or_default()
        ),
    )
}

pub(super) fn create_check(world: &mut World, text: &str) -> Said {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Asked {
        caller_reference: String,
        health_check_config: CheckConfig,
    }
    let asked: Asked = match from_str(text) {
        Ok(asked) => asked,
        Err(why) => return error(400, "InvalidInput", &why.to_string()),
    };
    let Asked {
        caller_reference: reference,
        health_check_config: config,
    } = asked;
    if reference.len() > 64 || !matches!(config.request_interval, Some(10 | 30)) {
        return error(400, "InvalidInput", "CallerReference or RequestInterval");
    }
    let same = world
        .checks
        .iter()
        .find(|(_, check)| check.reference == reference);
    match same {
        Some((_, check)) if check.config != config => {
            return error(409, "HealthCheckAlreadyExists", &reference);
        }
        Some((id, check)) => return body("CreateHealthCheckResponse", &check_xml(id, check)),
        None if world.burnt.contains(&reference) => {
            return error(409, "HealthCheckAlreadyExists", &reference);
        }
        None => {}
    }
    let id = world.id("check-");
    let check = Check {
        reference,
        config,
        version: 1,
    };
    let told = check_xml(&id, &check);
    world.checks.insert(id, check);
    body("CreateHealthCheckResponse", &told)
}

pub(super) fn update_check(world: &mut World, id: &str, text: &str) -> Said {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Asked {
        health_check_version: Option<i64>,
        #[serde(rename = "IPAddress")]
        ip_address: Option<String>,
        port: Option<i32>,
        resource_path: Option<String>,
        failure_threshold: Option<i32>,
    }
    let asked: Asked = match from_str(text) {
        Ok(asked) => asked,
        Err(why) => return error(400, "InvalidInput", &why.to_string()),
    };
    let Some(check) = world.checks.get_mut(id) else {
        return error(404, "NoSuchHealthCheck", id);
    };
    if asked
        .health_check_version
        .is_some_and(|version| version != check.version)
    {
        return error(409, "HealthCheckVersionMismatch", id);
    }
    check.version += 1;
    let config = &mut check.config;
    config.ip_address = asked.ip_address.or(config.ip_address.take());
    config.port = asked.port.or(config.port);
    config.resource_path = asked.resource_path.or(config.resource_path.take());
    config.failure_threshold = asked.failure_threshold.or(config.failure_threshold);
    let told = check_xml(id, check);
    body("UpdateHealthCheckResponse", &told)
}

pub(super) fn delete_check(world: &mut World, id: &str) -> Said {
    match world.checks.remove(id) {
        None => error(404, "NoSuchHealthCheck", id),
        Some(check) => {
            world.burnt.insert(check.reference);
            body("DeleteHealthCheckResponse", "")
        }
    }
}
