//! Standard accelerators and the attributes of both kinds. The custom routing operations build on the functions here.

use std::net::{IpAddr, Ipv4Addr};

use portolan_config::model::Source;

use crate::api::arn::{AcceleratorId, dns_label};
use crate::api::context::{Context, exceeded, plain, tags};
use crate::api::desired;
use crate::api::errors::{ApiError, Exception, invalid};
use crate::api::paging::{Asked, page};
use crate::api::pool;
use crate::api::records::{AcceleratorRecord, Edit, Kind, Tags};
use crate::api::shapes::NoOutput;
use crate::api::shapes::accelerators::*;
use crate::api::shapes::byoip::ByoipCidrState;
use crate::api::shapes::tags::Tag;

/// Accelerators of each kind that an account may have.
const MOST_STANDARD: usize = 20;
const MOST_CUSTOM: usize = 10;

/// Events that an accelerator shows.
const EVENTS_SHOWN: usize = 10;

/// The longest name.
const LONGEST_NAME: usize = 64;

pub(crate) fn create(
    context: &mut Context<'_>,
    request: CreateAcceleratorRequest,
) -> Result<CreateAcceleratorResponse, ApiError> {
    let CreateAcceleratorRequest {
        name,
        ip_address_type,
        ip_addresses,
        enabled,
        idempotency_token: _,
        tags,
    } = request;
    let new = New {
        kind: Kind::Standard,
        name,
        ip_address_type,
        ip_addresses,
        enabled,
        tags,
    };
    let (id, record) = create_any(context, new)?;
    Ok(CreateAcceleratorResponse {
        accelerator: show(context, &id, &record),
    })
}

pub(crate) fn describe(
    context: &mut Context<'_>,
    request: DescribeAcceleratorRequest,
) -> Result<DescribeAcceleratorResponse, ApiError> {
    let (id, record) = context.accelerator(&request.accelerator_arn, Kind::Standard)?;
    Ok(DescribeAcceleratorResponse {
        accelerator: show(context, &id, record),
    })
}

pub(crate) fn list(
    context: &mut Context<'_>,
    request: ListAcceleratorsRequest,
) -> Result<ListAcceleratorsResponse, ApiError> {
    let asked = Asked {
        list: "accelerators",
        max_results: request.max_results,
        next_token: request.next_token.as_deref(),
    };
    let (page, next_token) = page(
        &context.world.meta.page_key,
        &asked,
        all(context, Kind::Standard),
    )?;
    let accelerators = page
        .into_iter()
        .map(|(id, record)| show(context, id, record))
        .collect();
    Ok(ListAcceleratorsResponse {
        accelerators,
        next_token,
    })
}

pub(crate) fn update(
    context: &mut Context<'_>,
    request: UpdateAcceleratorRequest,
) -> Result<UpdateAcceleratorResponse, ApiError> {
    let UpdateAcceleratorRequest {
        accelerator_arn,
        name,
        ip_address_type,
        ip_addresses,
        enabled,
    } = request;
    let (id, record) = context.accelerator(&accelerator_arn, Kind::Standard)?;
    let record = update_any(
        context,
        &id,
        record,
        (name, ip_address_type, ip_addresses, enabled),
    )?;
    Ok(UpdateAcceleratorResponse {
        accelerator: show(context, &id, &record),
    })
}

pub(crate) fn delete(
    context: &mut Context<'_>,
    request: DeleteAcceleratorRequest,
) -> Result<NoOutput, ApiError> {
    let (id, record) = context.accelerator(&request.accelerator_arn, Kind::Standard)?;
    delete_any(context, &id, record)
}

pub(crate) fn describe_attributes(
    context: &mut Context<'_>,
    request: DescribeAcceleratorAttributesRequest,
) -> Result<DescribeAcceleratorAttributesResponse, ApiError> {
    let (_, record) = context.accelerator(&request.accelerator_arn, Kind::Standard)?;
    Ok(DescribeAcceleratorAttributesResponse {
        accelerator_attributes: record.attributes.clone(),
    })
}

pub(crate) fn update_attributes(
    context: &mut Context<'_>,
    request: UpdateAcceleratorAttributesRequest,
) -> Result<UpdateAcceleratorAttributesResponse, ApiError> {
    let UpdateAcceleratorAttributesRequest {
        accelerator_arn,
        flow_logs_enabled,
        flow_logs_s3_bucket,
        flow_logs_s3_prefix,
    } = request;
    let (id, record) = context.accelerator(&accelerator_arn, Kind::Standard)?;
    let wanted = (flow_logs_enabled, flow_logs_s3_bucket, flow_logs_s3_prefix);
    let accelerator_attributes = update_attributes_of_any(context, &id, record, wanted)?;
    Ok(UpdateAcceleratorAttributesResponse {
        accelerator_attributes,
    })
}

/// What a create of either kind says.
pub(crate) struct New {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) ip_address_type: Option<IpAddressType>,
    pub(crate) ip_addresses: Option<Vec<String>>,
    pub(crate) enabled: Option<bool>,
    pub(crate) tags: Option<Vec<Tag>>,
}

pub(crate) fn create_any(
    context: &mut Context<'_>,
    new: New,
) -> Result<(AcceleratorId, AcceleratorRecord), ApiError> {
    let New {
        kind,
        name,
        ip_address_type,
        ip_addresses,
        enabled,
        tags: given,
    } = new;
    check_name(&name)?;
    let most = match kind {
        Kind::Standard => MOST_STANDARD,
        Kind::CustomRouting => MOST_CUSTOM,
    };
    if context
        .world
        .accelerators
        .values()
        .filter(|record| record.kind == kind)
        .count()
        >= most
    {
        return Err(exceeded(format!(
            "an account has at most {most} accelerators of this kind"
        )));
    }
    let ip_address_type = ip_address_type.unwrap_or(IpAddressType::Ipv4);
    let mut meta = context.world.meta.clone();
    let ipv4 = ipv4_addresses(context, &ip_addresses.unwrap_or_default())?;
    meta.last_ipv4 = ipv4
        .iter()
        .rfind(|ip| is_of_pool(context, **ip))
        .copied()
        .or(meta.last_ipv4);
    let ipv6 = match ip_address_type {
        IpAddressType::Ipv4 => Vec::new(),
        IpAddressType::DualStack => context.pool().ipv6(meta.last_ipv6)?,
    };
    meta.last_ipv6 = ipv6.last().copied().or(meta.last_ipv6);
    let id = AcceleratorId::random();
    let record = AcceleratorRecord {
        seq: context.world.next_seq(),
        kind,
        served_as: context.served_as(&name, &id),
        name,
        ip_address_type,
        enabled: enabled.unwrap_or(true),
        ipv4,
        ipv6,
        dns_label: dns_label(),
        created: context.now,
        modified: context.now,
        events: Vec::new(),
        attributes: AcceleratorAttributes {
            flow_logs_enabled: false,
            flow_logs_s3_bucket: None,
            flow_logs_s3_prefix: None,
        },
        tags: tags(&Tags::new(), given.as_deref().unwrap_or_default())?,
        source: Source::Api,
    };
    context.edit(Edit::Meta(meta));
    context.edit(Edit::Accelerator(id.clone(), Some(record.clone())));
    context.touch(&id);
    Ok((id, record))
}

fn is_of_pool(context: &Context<'_>, ip: Ipv4Addr) -> bool {
    context
        .settings
        .address_pool
        .iter()
        .any(|net| net.contains(&IpAddr::V4(ip)))
}

/// The addresses that were asked for, filled up from the pool.
fn ipv4_addresses(context: &Context<'_>, asked: &[String]) -> Result<Vec<Ipv4Addr>, ApiError> {
    let mut pool = context.pool();
    let mut given: Vec<Ipv4Addr> = Vec::with_capacity(pool::EACH);
    let mut ranges = Vec::new();
    for text in asked {
        let ip: Ipv4Addr = text
            .parse()
            .or_else(|_| invalid(format!("'{}' is not a valid IPv4 address", plain(text))))?;
        let range = context
            .world
            .byoip
            .iter()
            .find(|(net, _)| net.contains(&ip));
        match range {
            Some((net, record)) => {
                if !matches!(
                    record.state,
                    ByoipCidrState::Ready | ByoipCidrState::Advertising
                ) {
                    return invalid(format!("{ip} belongs to {net}, which is not provisioned"));
                }
                if ranges.contains(net) {
                    return invalid(format!(
                        "an accelerator takes one address of a range, and {net} was named twice"
                    ));
                }
                ranges.push(*net);
                if pool.taken.contains(&IpAddr::V4(ip)) {
                    return invalid(format!("{ip} is in use"));
                }
            }
            None if pool.is_free(ip) => {}
            None => {
                return invalid(format!(
                    "{ip} is in use, or neither of a range that was brought along nor of the address pool"
                ));
            }
        }
        pool.taken.insert(IpAddr::V4(ip));
        given.push(ip);
    }
    let missing = pool::EACH.saturating_sub(given.len());
    given.extend(pool.ipv4(missing, context.world.meta.last_ipv4)?);
    Ok(given)
}

/// What an update of either kind may say: name, type, addresses, enabled.
pub(crate) type Wanted = (
    Option<String>,
    Option<IpAddressType>,
    Option<Vec<String>>,
    Option<bool>,
);

pub(crate) fn update_any(
    context: &mut Context<'_>,
    id: &AcceleratorId,
    record: &AcceleratorRecord,
    (name, ip_address_type, ip_addresses, enabled): Wanted,
) -> Result<AcceleratorRecord, ApiError> {
    context.may_change(id)?;
    let mut record = record.clone();
    if let Some(asked) = ip_addresses.filter(|asked| !asked.is_empty()) {
        let same = asked.len() == record.ipv4.len()
            && record.ipv4.iter().all(|ip| asked.contains(&ip.to_string()));
        if !same {
            return invalid("You can't update IP addresses for an existing accelerator.");
        }
    }
    if let Some(name) = name {
        check_name(&name)?;
        if name != record.name {
            record.served_as = context.served_as(&name, id);
        }
        record.name = name;
    }
    if let Some(ip_address_type) =
        ip_address_type.filter(|wanted| *wanted != record.ip_address_type)
    {
        record.ip_address_type = ip_address_type;
        if ip_address_type == IpAddressType::DualStack && record.ipv6.is_empty() {
            let mut meta = context.world.meta.clone();
            record.ipv6 = context.pool().ipv6(meta.last_ipv6)?;
            meta.last_ipv6 = record.ipv6.last().copied();
            context.edit(Edit::Meta(meta));
        }
        let message = match ip_address_type {
            IpAddressType::Ipv4 => "The accelerator's IP address type was changed to IPv4.",
            IpAddressType::DualStack => {
                "The accelerator's IP address type was changed to dual-stack."
            }
        };
        record.events.insert(
            0,
            AcceleratorEvent {
                message: message.to_owned(),
                timestamp: context.now,
            },
        );
        record.events.truncate(EVENTS_SHOWN);
    }
    record.enabled = enabled.unwrap_or(record.enabled);
    record.modified = context.now;
    context.edit(Edit::Accelerator(id.clone(), Some(record.clone())));
    context.touch(id);
    Ok(record)
}

pub(crate) fn delete_any(
    context: &mut Context<'_>,
    id: &AcceleratorId,
    record: &AcceleratorRecord,
) -> Result<NoOutput, ApiError> {
    context.may_change(id)?;
    if record.enabled {
        let message = "The accelerator that you specified could not be disabled. You must disable an accelerator before you can delete it.";
        return Err(Exception::AcceleratorNotDisabled.because(message));
    }
    if !context.world.listeners_of(id).is_empty() {
        let message = "The accelerator that you specified has a listener associated with it. \
            You must remove all dependent resources from an accelerator before you can delete it.";
        return Err(Exception::AssociatedListenerFound.because(message));
    }
    context.edit(Edit::Accelerator(id.clone(), None));
    context.touch(id);
    Ok(NoOutput {})
}

/// Flow logs: enabled, bucket, prefix.
pub(crate) type WantedAttributes = (Option<bool>, Option<String>, Option<String>);

pub(crate) fn update_attributes_of_any(
    context: &mut Context<'_>,
    id: &AcceleratorId,
    record: &AcceleratorRecord,
    (enabled, bucket, prefix): WantedAttributes,
) -> Result<AcceleratorAttributes, ApiError> {
    context.may_change(id)?;
    let old = &record.attributes;
    let new = AcceleratorAttributes {
        flow_logs_enabled: enabled.unwrap_or(old.flow_logs_enabled),
        flow_logs_s3_bucket: bucket.or_else(|| old.flow_logs_s3_bucket.clone()),
        flow_logs_s3_prefix: prefix.or_else(|| old.flow_logs_s3_prefix.clone()),
    };
    let elsewhere = new.flow_logs_s3_bucket != old.flow_logs_s3_bucket
        || new.flow_logs_s3_prefix != old.flow_logs_s3_prefix;
    if old.flow_logs_enabled && new.flow_logs_enabled && elsewhere {
        return invalid(
            "Flow logs are enabled. Disable flow logs before you change where they go.",
        );
    }
    let is_missing = |text: &Option<String>| text.as_deref().is_none_or(str::is_empty);
    if new.flow_logs_enabled
        && (is_missing(&new.flow_logs_s3_bucket) || is_missing(&new.flow_logs_s3_prefix))
    {
        return invalid("FlowLogsS3Bucket and FlowLogsS3Prefix are required to enable flow logs.");
    }
    let record = AcceleratorRecord {
        attributes: new.clone(),
        ..record.clone()
    };
    context.edit(Edit::Accelerator(id.clone(), Some(record)));
    Ok(new)
}

/// Accelerators of one kind, whoever made them, in the order of lists.
pub(crate) fn all<'a>(
    context: &Context<'a>,
    kind: Kind,
) -> Vec<(u64, (&'a AcceleratorId, &'a AcceleratorRecord))> {
    let everybodys = context
        .world
        .accelerators
        .iter()
        .chain(&context.foreign.accelerators);
    let mut found: Vec<_> = everybodys
        .filter(|(_, record)| record.kind == kind)
        .map(|(id, record)| (record.seq, (id, record)))
        .collect();
    found.sort_by_key(|(seq, _)| *seq);
    found
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'-';
    let end = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    let bytes = name.as_bytes();
    if bytes.len() <= LONGEST_NAME
        && bytes.iter().copied().all(plain)
        && end(bytes.first().copied())
        && end(bytes.last().copied())
    {
        return Ok(());
    }
    invalid(format!(
        "The name must have a maximum of {LONGEST_NAME} characters, must contain only alphanumeric characters, periods (.), or \
         hyphens (-), and must not begin or end with a hyphen or period"
    ))
}

/// A standard accelerator as it is shown.
pub(crate) fn show(
    context: &Context<'_>,
    id: &AcceleratorId,
    record: &AcceleratorRecord,
) -> Accelerator {
    let dual = record.ip_address_type == IpAddressType::DualStack;
    Accelerator {
        accelerator_arn: context.arn(id),
        name: record.name.clone(),
        ip_address_type: record.ip_address_type,
        enabled: record.enabled,
        ip_sets: ip_sets(record),
        dns_name: dns_name(record),
        status: status(context, id),
        created_time: record.created,
        last_modified_time: record.modified,
        dual_stack_dns_name: dual
            .then(|| format!("{}.dualstack.awsglobalaccelerator.com", record.dns_label)),
        events: record.events.clone(),
    }
}

/// Whether the newest change is served.
pub(crate) fn status(context: &Context<'_>, id: &AcceleratorId) -> AcceleratorStatus {
    match context.is_deployed(id) {
        true => AcceleratorStatus::Deployed,
        false => AcceleratorStatus::InProgress,
    }
}

/// The form that clients expect, though nobody answers for that zone but AWS.
pub(crate) fn dns_name(record: &AcceleratorRecord) -> String {
    format!("{}.awsglobalaccelerator.com", record.dns_label)
}

/// One set a family.
pub(crate) fn ip_sets(record: &AcceleratorRecord) -> Vec<IpSet> {
    let all = desired::addresses(record);
    let set = |family: IpAddressFamily, name: &str, is_of: fn(&IpAddr) -> bool| {
        let addresses: Vec<String> = all
            .iter()
            .filter(|ip| is_of(ip))
            .map(IpAddr::to_string)
            .collect();
        let zones = ["zone-1", "zone-2"].iter().cycle();
        let details = addresses.iter().zip(zones);
        (!addresses.is_empty()).then(|| IpSet {
            ip_family: name.to_owned(),
            ip_address_family: family,
            ip_address_details: details
                .map(|(ip, zone)| IpAddressDetail {
                    ip_address: ip.clone(),
                    network_zone: (*zone).to_owned(),
                })
                .collect(),
            ip_addresses: addresses.clone(),
        })
    };
    let v4 = set(IpAddressFamily::Ipv4, "IPv4", IpAddr::is_ipv4);
    let v6 = set(IpAddressFamily::Ipv6, "IPv6", IpAddr::is_ipv6);
    v4.into_iter().chain(v6).collect()
}
