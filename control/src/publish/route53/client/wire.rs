//! Between the SDK's types and ours. Pure.

use std::net::IpAddr;

use aws_sdk_route53::types::{
    AliasTarget, Change, ChangeAction, CidrRoutingConfig, Coordinates, GeoLocation,
    GeoProximityLocation, HealthCheck, HealthCheckConfig, HealthCheckType, ResourceRecord,
    ResourceRecordSet, ResourceRecordSetFailover, ResourceRecordSetRegion, RrType,
};

use super::super::batches::{Op, Verb};
use super::super::health_checks::{CheckConfig, CurrentCheck};
use super::super::model::{
    CheckRef, Data, Key, Kind, RecordSet, Routing, degrees, hundredths, name,
};

/// `/hostedzone/Z1` is how some answers spell `Z1`.
pub(super) fn zone_id(id: &str) -> &str {
    id.strip_prefix("/hostedzone/").unwrap_or(id)
}

pub(super) fn change_id(id: &str) -> &str {
    id.strip_prefix("/change/").unwrap_or(id)
}

pub(super) fn read_set(wire: &ResourceRecordSet) -> RecordSet {
    let data = if let Some(policy) = wire.traffic_policy_instance_id() {
        Data::TrafficPolicy(policy.to_owned())
    } else if let Some(alias) = wire.alias_target() {
        Data::Alias {
            zone: zone_id(alias.hosted_zone_id()).to_owned(),
            name: name(alias.dns_name()),
            evaluate_target_health: alias.evaluate_target_health(),
        }
    } else {
        let values = wire.resource_records().iter();
        Data::Values {
            ttl: wire.ttl().unwrap_or(0),
            values: values.map(|record| record.value().to_owned()).collect(),
        }
    };
    RecordSet {
        key: Key {
            name: name(wire.name()),
            kind: Kind::of(wire.r#type().as_str()),
            set_identifier: wire.set_identifier().map(str::to_owned),
        },
        routing: read_routing(wire),
        data,
        health_check: wire.health_check_id().map(|id| CheckRef::Id(id.to_owned())),
    }
}

fn read_routing(wire: &ResourceRecordSet) -> Routing {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    if let Some(weight) = wire.weight() {
        return Routing::Weighted { weight };
    }
    if let Some(region) = wire.region() {
        return Routing::Latency {
            region: region.as_str().to_owned(),
        };
    }
    if let Some(location) = wire.geo_location() {
        return Routing::Geolocation {
            continent: owned(location.continent_code()),
            country: owned(location.country_code()),
            subdivision: owned(location.subdivision_code()),
        };
    }
    if let Some(location) = wire.geo_proximity_location() {
        let coordinates = location.coordinates().and_then(|at| {
            let (latitude, longitude) = (hundredths(at.latitude()), hundredths(at.longitude()));
            latitude.zip(longitude)
        });
        return Routing::Geoproximity {
            region: owned(location.aws_region()),
            local_zone_group: owned(location.local_zone_group()),
            coordinates,
            bias: location.bias().unwrap_or(0),
        };
    }
    if let Some(failover) = wire.failover() {
        return Routing::Failover {
            primary: *failover == ResourceRecordSetFailover::Primary,
        };
    }
    if wire.multi_value_answer() == Some(true) {
        return Routing::Multivalue;
    }
    match wire.cidr_routing_config() {
        Some(cidr) => Routing::Cidr {
            collection: cidr.collection_id().to_owned(),
            location: cidr.location_name().to_owned(),
        },
        None => Routing::Simple,
    }
}

pub(super) fn write_op(op: &Op) -> Result<Change, String> {
    let action = match op.verb {
        Verb::Create => ChangeAction::Create,
        Verb::Delete => ChangeAction::Delete,
        Verb::Upsert => ChangeAction::Upsert,
    };
    let set = write_set(&op.set)?;
    let change = Change::builder().action(action).resource_record_set(set);
    change.build().map_err(|error| error.to_string())
}

fn write_set(set: &RecordSet) -> Result<ResourceRecordSet, String> {
    let RecordSet {
        key,
        routing,
        data,
        health_check,
    } = set;
    let said = |error: aws_sdk_route53::error::BuildError| error.to_string();
    let mut wire = ResourceRecordSet::builder()
        .name(format!("{}.", key.name))
        .r#type(RrType::from(key.kind.as_str()))
        .set_set_identifier(key.set_identifier.clone());
    match data {
        Data::Values { ttl, values } => {
            wire = wire.ttl(*ttl);
            for value in values {
                let record = ResourceRecord::builder().value(value).build();
                wire = wire.resource_records(record.map_err(said)?);
            }
        }
        Data::Alias {
            zone,
            name,
            evaluate_target_health,
        } => {
            let alias = AliasTarget::builder()
                .hosted_zone_id(zone)
                .dns_name(format!("{name}."))
                .evaluate_target_health(*evaluate_target_health);
            wire = wire.alias_target(alias.build().map_err(said)?);
        }
        Data::TrafficPolicy(_) => return Err("a traffic policy's record is not ours".into()),
    }
    match health_check {
        Some(CheckRef::Id(id)) => wire = wire.health_check_id(id),
        Some(CheckRef::Planned(_)) => return Err("its health check could not be made".into()),
        None => {}
    }
    let wire = write_routing(wire, routing)?;
    wire.build().map_err(said)
}

type SetBuilder = aws_sdk_route53::types::builders::ResourceRecordSetBuilder;

fn write_routing(wire: SetBuilder, routing: &Routing) -> Result<SetBuilder, String> {
    let said = |error: aws_sdk_route53::error::BuildError| error.to_string();
    Ok(match routing {
        Routing::Simple => wire,
        Routing::Weighted { weight } => wire.weight(*weight),
        Routing::Latency { region } => wire.region(ResourceRecordSetRegion::from(region.as_str())),
        Routing::Geolocation {
            continent,
            country,
            subdivision,
        } => wire.geo_location(
            GeoLocation::builder()
                .set_continent_code(continent.clone())
                .set_country_code(country.clone())
                .set_subdivision_code(subdivision.clone())
                .build(),
        ),
        Routing::Geoproximity {
            region,
            local_zone_group,
            coordinates,
            bias,
        } => {
            let coordinates = match coordinates {
                None => None,
                Some((latitude, longitude)) => {
                    let at = Coordinates::builder()
                        .latitude(degrees(*latitude))
                        .longitude(degrees(*longitude));
                    Some(at.build().map_err(said)?)
                }
            };
            wire.geo_proximity_location(
                GeoProximityLocation::builder()
                    .set_aws_region(region.clone())
                    .set_local_zone_group(local_zone_group.clone())
                    .set_coordinates(coordinates)
                    .bias(*bias)
                    .build(),
            )
        }
        Routing::Failover { primary: true } => wire.failover(ResourceRecordSetFailover::Primary),
        Routing::Failover { primary: false } => wire.failover(ResourceRecordSetFailover::Secondary),
        Routing::Multivalue => wire.multi_value_answer(true),
        Routing::Cidr {
            collection,
            location,
        } => {
            let cidr = CidrRoutingConfig::builder()
                .collection_id(collection)
                .location_name(location);
            wire.cidr_routing_config(cidr.build().map_err(said)?)
        }
    })
}

/// The longest that is shown of a refusal.
const MAX_MESSAGES: usize = 8;

/// The sentences of a refusal. It comes as an error with one message, or as a list of them that the SDK does not read.
pub(super) fn messages(body: &[u8]) -> Vec<String> {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_reader(body);
    let mut messages = Vec::new();
    let mut inside = false;
    while messages.len() < MAX_MESSAGES {
        match reader.read_event() {
            Ok(Event::Start(tag)) if tag.local_name().as_ref() == b"Message" => {
                inside = true;
                messages.push(String::new());
            }
            Ok(Event::End(tag)) if tag.local_name().as_ref() == b"Message" => inside = false,
            Ok(Event::Text(text)) if inside => {
                if let (Some(last), Ok(text)) = (messages.last_mut(), text.decode()) {
                    last.extend(text.chars().filter(|c| !c.is_control()));
                }
            }
            Ok(Event::GeneralRef(name)) if inside => {
                let sign = match name.decode().as_deref() {
                    Ok("lt") => "<",
                    Ok("gt") => ">",
                    Ok("amp") => "&",
                    Ok("apos") => "'",
                    Ok("quot") => "\"",
                    Ok(_) | Err(_) => "?",
                };
                if let Some(last) = messages.last_mut() {
                    last.push_str(sign);
                }
            }
            // A broken answer has said what it could.
            Ok(Event::Eof) | Err(_) => break,
            Ok(_) => {}
        }
    }
    messages.retain(|message| !message.is_empty());
    messages
}

pub(super) fn read_check(wire: &HealthCheck) -> CurrentCheck {
    let config = wire.health_check_config();
    let get = |read: fn(&HealthCheckConfig) -> Option<&str>| config.and_then(read);
    let ip = get(HealthCheckConfig::ip_address).and_then(|ip| ip.parse::<IpAddr>().ok());
    let kind = config
        .map(|config| config.r#type().as_str())
        .unwrap_or_default();
    let host = get(HealthCheckConfig::fully_qualified_domain_name).map(str::to_owned);
    let is_https = kind.starts_with("HTTPS");
    let number = |read: fn(&HealthCheckConfig) -> Option<i32>| config.and_then(read);
    let turned = |read: fn(&HealthCheckConfig) -> Option<bool>| config.and_then(read) == Some(true);
    let overridden = if turned(HealthCheckConfig::disabled) {
        Some("disabled (which counts as healthy)")
    } else if turned(HealthCheckConfig::inverted) {
        Some("inverted")
    } else {
        None
    };
    let sni = config.and_then(HealthCheckConfig::enable_sni);
    CurrentCheck {
        id: wire.id().to_owned(),
        caller_reference: wire.caller_reference().to_owned(),
        version: wire.health_check_version(),
        config: CheckConfig {
            ip,
            kind: kind.to_owned(),
            port: number(HealthCheckConfig::port),
            path: get(HealthCheckConfig::resource_path).map(str::to_owned),
            sni: is_https && sni.unwrap_or(host.is_some()),
            host,
            search: get(HealthCheckConfig::search_string).map(str::to_owned),
            interval: number(HealthCheckConfig::request_interval).unwrap_or(30),
            threshold: number(HealthCheckConfig::failure_threshold).unwrap_or(3),
        },
        overridden,
        linked: wire.linked_service().is_some(),
    }
}

pub(super) fn write_check(check: &CheckConfig) -> HealthCheckConfig {
    let CheckConfig {
        ip,
        kind,
        port,
        path,
        host,
        search,
        interval,
        threshold,
        sni,
    } = check;
    let wire = HealthCheckConfig::builder()
        .set_ip_address(ip.map(|ip| ip.to_string()))
        .r#type(HealthCheckType::from(kind.as_str()))
        .set_port(*port)
        .set_resource_path(path.clone())
        .set_fully_qualified_domain_name(host.clone())
        .set_search_string(search.clone())
        .request_interval(*interval)
        .failure_threshold(*threshold);
    let wire = if kind.starts_with("HTTPS") {
        wire.enable_sni(*sni)
    } else {
        wire
    };
    wire.build()
        .expect("the type is given, and nothing else is required")
}

#[cfg(test)]
mod tests {
    use super::super::super::model::Kind;
    use super::*;

    #[test]
    fn refusals_come_in_two_shapes() {
        let list = "<InvalidChangeBatch><Messages><Message>[name='a&lt;b'] is bad</Message><Message>two</Message></Messages></InvalidChangeBatch>";
        assert_eq!(messages(list.as_bytes()), ["[name='a<b'] is bad", "two"]);
        let error = "<ErrorResponse><Error><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>";
        assert_eq!(messages(error.as_bytes()), ["Rate exceeded"]);
        for broken in ["<html>502", "", "<Message>", "\u{0}"] {
            assert_eq!(messages(broken.as_bytes()), [""; 0], "{broken}");
        }
    }

    #[test]
    fn sets_survive_the_way_to_the_wire_and_back() {
        let routings = [
            Routing::Simple,
            Routing::Weighted { weight: 255 },
            Routing::Latency {
                region: "eu-central-1".into(),
            },
            Routing::Geolocation {
                continent: None,
                country: Some("US".into()),
                subdivision: Some("CA".into()),
            },
            Routing::Geoproximity {
                region: None,
                local_zone_group: None,
                coordinates: Some((5011, -868)),
                bias: -20,
            },
            Routing::Failover { primary: true },
            Routing::Failover { primary: false },
            Routing::Multivalue,
            Routing::Cidr {
                collection: "c".into(),
                location: "*".into(),
            },
        ];
        for routing in routings {
            let mut set = RecordSet::simple("*.example.com", Kind::A, 60, vec!["192.0.2.1".into()]);
            if routing != Routing::Simple {
                set.key.set_identifier = Some("portolan:edge:fra1".into());
            }
            set.routing = routing;
            set.health_check = Some(CheckRef::Id("c".into()));
            let wire = write_set(&set).expect("it can be written");
            assert_eq!(read_set(&wire), set);
        }
    }

    #[test]
    fn what_is_not_ours_to_write_is_not_written() {
        let mut set = RecordSet::simple("a.example.com", Kind::A, 60, vec!["192.0.2.1".into()]);
        set.health_check = Some(CheckRef::Planned("f".into()));
        assert!(write_set(&set).is_err());
        set.health_check = None;
        set.data = Data::TrafficPolicy("t".into());
        assert!(write_set(&set).is_err());
    }
}
