//! Tags of anything that has an ARN.

use crate::api::arn::Resource;
use crate::api::context::{Context, no_accelerator, tags};
use crate::api::errors::ApiError;
use crate::api::records::{
    AcceleratorRecord, AttachmentRecord, Edit, GroupRecord, ListenerRecord, Tags,
};
use crate::api::shapes::tags::*;

pub(crate) fn tag(
    context: &mut Context<'_>,
    request: TagResourceRequest,
) -> Result<TagResourceResponse, ApiError> {
    let TagResourceRequest {
        resource_arn,
        tags: given,
    } = request;
    change(context, &resource_arn, |old| tags(old, &given))?;
    Ok(TagResourceResponse {})
}

pub(crate) fn untag(
    context: &mut Context<'_>,
    request: UntagResourceRequest,
) -> Result<UntagResourceResponse, ApiError> {
    let UntagResourceRequest {
        resource_arn,
        tag_keys,
    } = request;
    change(context, &resource_arn, |old| {
        let mut new = old.clone();
        new.retain(|key, _| !tag_keys.contains(key));
        Ok(new)
    })?;
    Ok(UntagResourceResponse {})
}

pub(crate) fn list(
    context: &mut Context<'_>,
    request: ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResponse, ApiError> {
    let arn = &request.resource_arn;
    let tags = match context.settings.account.parse(arn) {
        Some(Resource::Accelerator(_)) | None => &context.any_accelerator(arn)?.1.tags,
        Some(Resource::Listener(id)) => {
            let record = context.world_of(&id.accelerator).listeners.get(&id);
            &record.ok_or_else(crate::api::context::no_listener)?.tags
        }
        Some(Resource::Group(_)) => &context.group(arn)?.1.tags,
        Some(Resource::Attachment(_)) => &context.attachment(arn)?.1.tags,
    };
    let tags = tags.iter().map(|(key, value)| Tag {
        key: key.clone(),
        value: value.clone(),
    });
    Ok(ListTagsForResourceResponse {
        tags: tags.collect(),
    })
}

/// Tag and Untag declare one exception for a resource that is not there, whatever its kind.
fn change(
    context: &mut Context<'_>,
    arn: &str,
    make: impl FnOnce(&Tags) -> Result<Tags, ApiError>,
) -> Result<(), ApiError> {
    let missing = |_| no_accelerator();
    let edit = match context.settings.account.parse(arn) {
        Some(Resource::Accelerator(_)) | None => {
            let (id, record) = context.any_accelerator(arn)?;
            context.may_change(&id)?;
            let tags = make(&record.tags)?;
            Edit::Accelerator(
                id,
                Some(AcceleratorRecord {
                    tags,
                    ..record.clone()
                }),
            )
        }
        Some(Resource::Listener(id)) => {
            context.may_change(&id.accelerator)?;
            let record = context
                .world
                .listeners
                .get(&id)
                .ok_or_else(no_accelerator)?;
            let tags = make(&record.tags)?;
            Edit::Listener(
                id,
                Some(ListenerRecord {
                    tags,
                    ..record.clone()
                }),
            )
        }
        Some(Resource::Group(id)) => {
            context.may_change(&id.listener.accelerator)?;
            let (id, record) = context.group(arn).map_err(missing)?;
            let tags = make(&record.tags)?;
            Edit::Group(
                id,
                Some(GroupRecord {
                    tags,
                    ..record.clone()
                }),
            )
        }
        Some(Resource::Attachment(_)) => {
            let (id, record) = context.attachment(arn).map_err(missing)?;
            let tags = make(&record.tags)?;
            Edit::Attachment(
                id,
                Some(AttachmentRecord {
                    tags,
                    ..record.clone()
                }),
            )
        }
    };
    context.edit(edit);
    Ok(())
}
