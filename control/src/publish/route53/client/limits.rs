//! Reads what bounds a plan: how much the zone and the account hold and may hold, and which records are protected. The typed client
//! does not know protections yet, so they are asked for by hand.

use std::collections::BTreeSet;

use aws_sdk_route53::types::{AccountLimitType, HostedZoneLimitType};
use serde::Deserialize;

use super::super::Zone;
use super::super::limits::{Limits, Quota};
use super::super::model::{Kind, name as our_name};
use super::{Client, MAX_PAGES, REGION, call};
use crate::aws::session::{
    Account, Answered, ByHand, CallError, ErrorClass, Fault, Service, encoded,
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Protections {
    resource_record_set_protections: Option<Items>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Items {
    #[serde(default)]
    resource_record_set_protection: Vec<Protection>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Protection {
    record_name: String,
    record_type: String,
}

/// In both of the shapes that Route 53 has for errors.
#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "Error")]
    error: Option<RefusalDetail>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RefusalDetail {
    code: Option<String>,
    message: Option<String>,
}

impl Client {
    /// Everything that bounds a plan of the zone. What cannot be read bounds nothing, as Route 53 refuses what it does not take.
    pub(in super::super) async fn limits(&self, zone: &Zone) -> Limits {
        let mut limits = Limits::default();
        let mut unread = Vec::new();
        let mut keep = |error: CallError| match error.class() {
            ErrorClass::Denied | ErrorClass::Credentials => unread.push(error.to_string()),
            // Another Route 53 than AWS's own may not know it.
            ErrorClass::NotFound
            | ErrorClass::Refused
            | ErrorClass::Throttled
            | ErrorClass::Unavailable
            | ErrorClass::Timeout
            | ErrorClass::Unreachable
            | ErrorClass::Malformed
            | ErrorClass::WrongAccount => {}
        };
        match self.record_quota(zone).await {
            Ok(quota) => limits.records = quota,
            Err(error) => keep(error),
        }
        match self.health_check_quota().await {
            Ok(quota) => limits.checks = quota,
            Err(error) => keep(error),
        }
        match self.protections(zone).await {
            Ok(protected) => limits.protected = protected,
            Err(error) => keep(error),
        }
        limits.unread = unread;
        limits
    }

    /// Record sets of the zone.
    pub(crate) async fn record_quota(&self, zone: &Zone) -> Result<Option<Quota>, CallError> {
        let ask = || async {
            let asked = self.sdk.get_hosted_zone_limit().hosted_zone_id(&zone.id);
            let asked = asked.r#type(HostedZoneLimitType::MaxRrsetsByZone);
            Ok(asked.send().await?)
        };
        let answer = self.once(&call("GetHostedZoneLimit"), ask).await?;
        Ok(answer
            .limit()
            .and_then(|limit| quota(limit.value(), answer.count())))
    }

    /// Health checks of the account.
    pub(crate) async fn health_check_quota(&self) -> Result<Option<Quota>, CallError> {
        let ask = || async {
            let asked = self.sdk.get_account_limit();
            let asked = asked.r#type(AccountLimitType::MaxHealthChecksByOwner);
            Ok(asked.send().await?)
        };
        let answer = self.once(&call("GetAccountLimit"), ask).await?;
        Ok(answer
            .limit()
            .and_then(|limit| quota(limit.value(), answer.count())))
    }

    /// Names and types that Route 53 changes for nobody.
    pub(crate) async fn protections(
        &self,
        zone: &Zone,
    ) -> Result<BTreeSet<(String, Kind)>, CallError> {
        let call = call("ListResourceRecordSetProtections");
        let mut protected = BTreeSet::new();
        let mut token: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let page = self.once(&call, || self.page(zone, token.as_deref()));
            let page = page.await?;
            let items = page.resource_record_set_protections;
            let items = items.map_or_else(Vec::new, |items| items.resource_record_set_protection);
            protected.extend(
                items
                    .into_iter()
                    .map(|p| (our_name(&p.record_name), Kind::of(&p.record_type))),
            );
            let next = page.next_token.filter(|next| !next.is_empty());
            if next.is_none() || next == token {
                break;
            }
            token = next;
        }
        Ok(protected)
    }

    async fn page(&self, zone: &Zone, token: Option<&str>) -> Result<Protections, Fault> {
        let mut path = format!(
            "/2013-04-01/hostedzone/{}/rrsetprotection?maxresults=300",
            encoded(&zone.id)
        );
        if let Some(token) = token {
            path += &format!("&nexttoken={}", encoded(token));
        }
        let request = ByHand {
            service: Service::Route53,
            account: &Account::Own,
            region: REGION,
            method: "GET",
            path: &path,
            content_type: None,
            body: "",
        };
        let Answered {
            status,
            request_id,
            body,
        } = request.send(&self.read).await?;
        if status != 200 {
            let error = quick_xml::de::from_str::<Refusal>(&body).ok();
            let error = error.and_then(|refusal| refusal.error);
            let (code, message) = error.map_or((None, None), |e| (e.code, e.message));
            return Err(Fault::answered(status, code, message, request_id));
        }
        let unread = |what: String| Fault::new(ErrorClass::Malformed, what);
        if !body.trim_end().ends_with("Response>") {
            return Err(unread("the answer is cut off".to_owned()));
        }
        quick_xml::de::from_str(&body)
            .map_err(|error| unread(format!("the answer cannot be read: {error}")))
    }
}

/// The typed client fills in nothing where something is missing, and a quota of nothing is none.
fn quota(most: i64, there: i64) -> Option<Quota> {
    (most > 0).then_some(Quota { most, there })
}
