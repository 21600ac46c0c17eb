//! Address ranges that are brought along. A local pool: there is no registry to ask, so that a range is ready at once. What is
//! advertised is what this edge announces.

use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use crate::api::context::{Context, exceeded, plain};
use crate::api::errors::{ApiError, Exception, invalid};
use crate::api::paging::{Asked, page};
use crate::api::records::{ByoipRecord, Edit, Meta};
use crate::api::shapes::byoip::*;

/// Ranges of one account.
const MOST_RANGES: usize = 32;

/// Only this length can be brought along.
const LENGTH: u8 = 24;

/// Withdrawals come no faster than this, whatever their ranges.
const BETWEEN_WITHDRAWALS: Duration = Duration::from_secs(10);

/// Events that a range shows.
const EVENTS_SHOWN: usize = 10;

pub(crate) fn provision(
    context: &mut Context<'_>,
    request: ProvisionByoipCidrRequest,
) -> Result<ProvisionByoipCidrResponse, ApiError> {
    let ProvisionByoipCidrRequest {
        cidr,
        cidr_authorization_context: CidrAuthorizationContext { message, signature },
    } = request;
    if message.is_empty() || signature.is_empty() {
        return invalid("CidrAuthorizationContext needs a message and a signature");
    }
    let net = parse(&cidr)?;
    if context.world.byoip.contains_key(&net) {
        return Err(wrong_state(net, "is provisioned already"));
    }
    if context.world.byoip.len() >= MOST_RANGES {
        return Err(exceeded(format!(
            "an account has at most {MOST_RANGES} ranges"
        )));
    }
    if context
        .settings
        .address_pool
        .iter()
        .any(|own| own.contains(&IpNet::V4(net)) || IpNet::V4(net).contains(own))
    {
        return invalid(format!(
            "{net} and the edge's own [api] address_pool overlap"
        ));
    }
    let record = ByoipRecord {
        seq: context.world.next_seq(),
        state: ByoipCidrState::Ready,
        events: Vec::new(),
    };
    let byoip_cidr = step(
        context,
        net,
        record,
        "Provisioned.",
        ByoipCidrState::PendingProvisioning,
    );
    Ok(ProvisionByoipCidrResponse { byoip_cidr })
}

pub(crate) fn advertise(
    context: &mut Context<'_>,
    request: AdvertiseByoipCidrRequest,
) -> Result<AdvertiseByoipCidrResponse, ApiError> {
    let (net, record) = find(context, &request.cidr)?;
    if state(context, net, &record) != ByoipCidrState::Ready {
        return Err(wrong_state(net, "must be READY to be advertised"));
    }
    let record = ByoipRecord {
        state: ByoipCidrState::Advertising,
        ..record
    };
    let byoip_cidr = step(
        context,
        net,
        record,
        "Advertised.",
        ByoipCidrState::PendingAdvertising,
    );
    Ok(AdvertiseByoipCidrResponse { byoip_cidr })
}

pub(crate) fn withdraw(
    context: &mut Context<'_>,
    request: WithdrawByoipCidrRequest,
) -> Result<WithdrawByoipCidrResponse, ApiError> {
    let (net, record) = find(context, &request.cidr)?;
    if record.state != ByoipCidrState::Advertising {
        return Err(wrong_state(net, "is not advertised"));
    }
    let meta = context.world.meta.clone();
    if meta
        .last_withdrawal
        .is_some_and(|last| context.now.since(last) < BETWEEN_WITHDRAWALS)
    {
        let message = "Rate exceeded: WithdrawByoipCidr can be called once every 10 seconds, even for different address ranges.";
        return Err(Exception::Throttling.because(message));
    }
    context.edit(Edit::Meta(Meta {
        last_withdrawal: Some(context.now),
        ..meta
    }));
    let record = ByoipRecord {
        state: ByoipCidrState::Ready,
        ..record
    };
    let byoip_cidr = step(
        context,
        net,
        record,
        "Withdrawn.",
        ByoipCidrState::PendingWithdrawing,
    );
    Ok(WithdrawByoipCidrResponse { byoip_cidr })
}

pub(crate) fn deprovision(
    context: &mut Context<'_>,
    request: DeprovisionByoipCidrRequest,
) -> Result<DeprovisionByoipCidrResponse, ApiError> {
    let (net, record) = find(context, &request.cidr)?;
    if state(context, net, &record) != ByoipCidrState::Ready {
        return Err(wrong_state(net, "is advertised: withdraw it first"));
    }
    if context
        .world
        .accelerators
        .values()
        .any(|accelerator| accelerator.ipv4.iter().any(|ip| net.contains(ip)))
    {
        return Err(wrong_state(net, "has addresses that an accelerator uses"));
    }
    context.edit(Edit::Byoip(net, None));
    Ok(DeprovisionByoipCidrResponse {
        byoip_cidr: show(net, &record, ByoipCidrState::PendingDeprovisioning),
    })
}

pub(crate) fn list(
    context: &mut Context<'_>,
    request: ListByoipCidrsRequest,
) -> Result<ListByoipCidrsResponse, ApiError> {
    let asked = Asked {
        list: "ranges",
        max_results: request.max_results,
        next_token: request.next_token.as_deref(),
    };
    let mut all: Vec<_> = context
        .world
        .byoip
        .iter()
        .map(|(net, record)| (record.seq, (net, record)))
        .collect();
    all.sort_by_key(|(seq, _)| *seq);
    let (page, next_token) = page(&context.world.meta.page_key, &asked, all)?;
    let byoip_cidrs = page
        .into_iter()
        .map(|(net, record)| show(*net, record, state(context, *net, record)))
        .collect();
    Ok(ListByoipCidrsResponse {
        byoip_cidrs,
        next_token,
    })
}

/// Keeps the state that a range comes to at once, and shows the one on the way there, as the service does.
fn step(
    context: &mut Context<'_>,
    net: Ipv4Net,
    mut record: ByoipRecord,
    event: &str,
    shown: ByoipCidrState,
) -> ByoipCidr {
    record.events.insert(
        0,
        ByoipCidrEvent {
            message: event.to_owned(),
            timestamp: context.now,
        },
    );
    record.events.truncate(EVENTS_SHOWN);
    context.edit(Edit::Byoip(net, Some(record.clone())));
    show(net, &record, shown)
}

/// How far a range is: what is decided is pending until the announcer of this edge, if there is one, has done it.
fn state(context: &Context<'_>, net: Ipv4Net, record: &ByoipRecord) -> ByoipCidrState {
    let announced = context.edge.announced();
    let is_announced = announced.map(|announced| announced.contains(&net));
    match (record.state, is_announced) {
        (ByoipCidrState::Advertising, Some(false)) => ByoipCidrState::PendingAdvertising,
        (ByoipCidrState::Ready, Some(true)) => ByoipCidrState::PendingWithdrawing,
        (decided, _) => decided,
    }
}

fn find(context: &Context<'_>, cidr: &str) -> Result<(Ipv4Net, ByoipRecord), ApiError> {
    let net = parse(cidr)?;
    let found = context
        .world
        .byoip
        .get(&net)
        .cloned()
        .map(|record| (net, record));
    found.ok_or_else(|| {
        Exception::ByoipCidrNotFound
            .because("The CIDR that you specified was not found or is incorrect.")
    })
}

fn parse(cidr: &str) -> Result<Ipv4Net, ApiError> {
    let net = cidr
        .parse::<Ipv4Net>()
        .ok()
        .filter(|net| net.prefix_len() == LENGTH && net.trunc() == *net);
    net.map_or_else(
        || {
            invalid(format!(
                "'{}' is not an IPv4 prefix of length {LENGTH}",
                plain(cidr)
            ))
        },
        Ok,
    )
}

fn wrong_state(net: Ipv4Net, what: &str) -> ApiError {
    Exception::IncorrectCidrState.because(format!(
        "The CIDR that you specified is not valid for this action: {net} {what}."
    ))
}

fn show(net: Ipv4Net, record: &ByoipRecord, state: ByoipCidrState) -> ByoipCidr {
    ByoipCidr {
        cidr: net.to_string(),
        state,
        events: record.events.clone(),
    }
}
