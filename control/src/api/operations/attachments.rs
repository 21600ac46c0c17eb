//! Cross-account attachments. This edge is one account, which owns what it shares: with its own accelerators, or with accounts
//! that are only named.

use std::collections::BTreeSet;

use crate::api::arn::AttachmentId;
use crate::api::context::{Context, exceeded, plain, tags};
use crate::api::errors::{ApiError, invalid};
use crate::api::paging::{Asked, page};
use crate::api::records::{AttachmentRecord, Edit, Tags};
use crate::api::shapes::NoOutput;
use crate::api::shapes::attachments::*;

const MOST_ATTACHMENTS: usize = 10;
const MOST_PRINCIPALS: usize = 10;
const MOST_RESOURCES: usize = 500;

pub(crate) fn create(
    context: &mut Context<'_>,
    request: CreateCrossAccountAttachmentRequest,
) -> Result<CreateCrossAccountAttachmentResponse, ApiError> {
    let CreateCrossAccountAttachmentRequest {
        name,
        principals,
        resources,
        idempotency_token: _,
        tags: given,
    } = request;
    if context.world.attachments.len() >= MOST_ATTACHMENTS {
        return Err(exceeded(format!(
            "an account has at most {MOST_ATTACHMENTS} cross-account attachments"
        )));
    }
    let record = AttachmentRecord {
        seq: context.world.next_seq(),
        name,
        principals: added(&[], principals),
        resources: added(&[], resources.map(named)),
        created: context.now,
        modified: context.now,
        tags: tags(&Tags::new(), given.as_deref().unwrap_or_default())?,
    };
    check(&record)?;
    let id = AttachmentId::random();
    context.edit(Edit::Attachment(id.clone(), Some(record.clone())));
    Ok(CreateCrossAccountAttachmentResponse {
        cross_account_attachment: show(context, &id, &record),
    })
}

pub(crate) fn describe(
    context: &mut Context<'_>,
    request: DescribeCrossAccountAttachmentRequest,
) -> Result<DescribeCrossAccountAttachmentResponse, ApiError> {
    let (id, record) = context.attachment(&request.attachment_arn)?;
    Ok(DescribeCrossAccountAttachmentResponse {
        cross_account_attachment: show(context, &id, record),
    })
}

pub(crate) fn list(
    context: &mut Context<'_>,
    request: ListCrossAccountAttachmentsRequest,
) -> Result<ListCrossAccountAttachmentsResponse, ApiError> {
    let asked = Asked {
        list: "attachments",
        max_results: request.max_results,
        next_token: request.next_token.as_deref(),
    };
    let mut all: Vec<_> = context
        .world
        .attachments
        .iter()
        .map(|(id, record)| (record.seq, (id, record)))
        .collect();
    all.sort_by_key(|(seq, _)| *seq);
    let (page, next_token) = page(&context.world.meta.page_key, &asked, all)?;
    let cross_account_attachments = page
        .into_iter()
        .map(|(id, record)| show(context, id, record))
        .collect();
    Ok(ListCrossAccountAttachmentsResponse {
        cross_account_attachments,
        next_token,
    })
}

pub(crate) fn update(
    context: &mut Context<'_>,
    request: UpdateCrossAccountAttachmentRequest,
) -> Result<UpdateCrossAccountAttachmentResponse, ApiError> {
    let UpdateCrossAccountAttachmentRequest {
        attachment_arn,
        name,
        add_principals,
        remove_principals,
        add_resources,
        remove_resources,
    } = request;
    let (id, record) = context.attachment(&attachment_arn)?;
    let record = AttachmentRecord {
        name: name.unwrap_or_else(|| record.name.clone()),
        principals: added(
            &removed(&record.principals, remove_principals),
            add_principals,
        ),
        resources: added(
            &removed(&record.resources, remove_resources.map(named)),
            add_resources.map(named),
        ),
        modified: context.now,
        ..record.clone()
    };
    check(&record)?;
    context.edit(Edit::Attachment(id.clone(), Some(record.clone())));
    Ok(UpdateCrossAccountAttachmentResponse {
        cross_account_attachment: show(context, &id, &record),
    })
}

pub(crate) fn delete(
    context: &mut Context<'_>,
    request: DeleteCrossAccountAttachmentRequest,
) -> Result<NoOutput, ApiError> {
    let (id, _) = context.attachment(&request.attachment_arn)?;
    let arn = context.settings.account.attachment_arn(&id);
    if context.world.attachments_in_use().any(|used| used == arn) {
        return invalid(
            "The attachment is in use: remove the endpoints that were added with it first",
        );
    }
    context.edit(Edit::Attachment(id, None));
    Ok(NoOutput {})
}

/// Who shares with us: this account, when an attachment names it, or an accelerator of it, as a principal.
pub(crate) fn list_accounts(
    context: &mut Context<'_>,
    _: ListCrossAccountResourceAccountsRequest,
) -> Result<ListCrossAccountResourceAccountsResponse, ApiError> {
    let owners: BTreeSet<String> = context
        .world
        .attachments
        .values()
        .filter(|record| {
            !record.resources.is_empty() && record.principals.iter().any(|p| is_us(context, p))
        })
        .map(|_| context.settings.account.0.clone())
        .collect();
    Ok(ListCrossAccountResourceAccountsResponse {
        resource_owner_aws_account_ids: owners.into_iter().collect(),
    })
}

pub(crate) fn list_resources(
    context: &mut Context<'_>,
    request: ListCrossAccountResourcesRequest,
) -> Result<ListCrossAccountResourcesResponse, ApiError> {
    let ListCrossAccountResourcesRequest {
        accelerator_arn,
        resource_owner_aws_account_id: owner,
        max_results,
        next_token,
    } = request;
    let for_one = accelerator_arn
        .as_deref()
        .map(|arn| context.any_accelerator(arn))
        .transpose()?;
    let for_one = for_one.map(|(id, _)| context.arn(&id));
    let account = &context.settings.account;
    let shared_with = |record: &AttachmentRecord| {
        record.principals.iter().any(|principal| match &for_one {
            Some(arn) => principal == arn || *principal == account.0,
            None => is_us(context, principal),
        })
    };
    let mut attachments: Vec<_> = context
        .world
        .attachments
        .iter()
        .filter(|(_, record)| shared_with(record))
        .collect();
    attachments.sort_by_key(|(_, record)| record.seq);
    let resources = attachments
        .into_iter()
        .filter(|_| owner == account.0)
        .flat_map(|(id, record)| {
            let arn = account.attachment_arn(id);
            // Attachments that come or go between two pages move nothing.
            let first = record.seq * (MOST_RESOURCES as u64 + 1);
            (first..)
                .zip(&record.resources)
                .map(move |(number, resource)| {
                    let shown = CrossAccountResource {
                        endpoint_id: resource.endpoint_id.clone(),
                        cidr: resource.cidr.clone(),
                        attachment_arn: Some(arn.clone()),
                    };
                    (number, shown)
                })
        });
    let list = format!("resources of {owner} for {for_one:?}");
    let asked = Asked {
        list: &list,
        max_results,
        next_token: next_token.as_deref(),
    };
    let (cross_account_resources, next_token) =
        page(&context.world.meta.page_key, &asked, resources)?;
    Ok(ListCrossAccountResourcesResponse {
        cross_account_resources,
        next_token,
    })
}

/// Some SDKs always send an endpoint id, an empty one beside a range.
fn named(resources: Vec<Resource>) -> Vec<Resource> {
    let named = |resource: Resource| Resource {
        endpoint_id: resource.endpoint_id.filter(|id| !id.is_empty()),
        ..resource
    };
    resources.into_iter().map(named).collect()
}

fn is_us(context: &Context<'_>, principal: &str) -> bool {
    principal == context.settings.account.0 || context.any_accelerator(principal).is_ok()
}

fn added<T: PartialEq + Clone>(old: &[T], more: Option<Vec<T>>) -> Vec<T> {
    let mut all = old.to_vec();
    for item in more.unwrap_or_default() {
        if !all.contains(&item) {
            all.push(item);
            // The caller refuses what is beyond its bound; comparing a body's worth of items pairwise first would take minutes.
            if all.len() > old.len() + MOST_RESOURCES {
                break;
            }
        }
    }
    all
}

fn removed<T: PartialEq + Clone>(old: &[T], gone: Option<Vec<T>>) -> Vec<T> {
    let gone = gone.unwrap_or_default();
    old.iter()
        .filter(|item| !gone.contains(item))
        .cloned()
        .collect()
}

fn check(record: &AttachmentRecord) -> Result<(), ApiError> {
    if record.principals.len() > MOST_PRINCIPALS {
        return Err(exceeded(format!(
            "an attachment has at most {MOST_PRINCIPALS} principals"
        )));
    }
    if record.resources.len() > MOST_RESOURCES {
        return Err(exceeded(format!(
            "an attachment has at most {MOST_RESOURCES} resources"
        )));
    }
    for Resource {
        endpoint_id,
        cidr,
        region: _,
    } in &record.resources
    {
        match (endpoint_id, cidr) {
            (Some(_), None) => {}
            (None, Some(cidr)) if cidr.parse::<ipnet::IpNet>().is_ok() => {}
            (None, Some(cidr)) => return invalid(format!("'{}' is not a valid CIDR", plain(cidr))),
            (Some(_), Some(_)) | (None, None) => {
                return invalid("A resource has either an EndpointId or a Cidr");
            }
        }
    }
    Ok(())
}

fn show(context: &Context<'_>, id: &AttachmentId, record: &AttachmentRecord) -> Attachment {
    Attachment {
        attachment_arn: context.settings.account.attachment_arn(id),
        name: record.name.clone(),
        principals: record.principals.clone(),
        resources: record.resources.clone(),
        last_modified_time: record.modified,
        created_time: record.created,
    }
}
