//! Whether an attachment lets an accelerator use an endpoint.

use super::arn::AcceleratorId;
use super::context::Context;
use super::errors::{ApiError, Exception};
use super::shapes::attachments::Resource;

/// Refuses what the attachment does not share with the account or the accelerator.
pub(crate) fn check(
    context: &Context<'_>,
    arn: &str,
    accelerator: &AcceleratorId,
    endpoint: &str,
) -> Result<(), ApiError> {
    let (_, attachment) = context
        .attachment(arn)
        .map_err(|_| denied("The attachment that you specified doesn't exist"))?;
    let us = [context.settings.account.0.clone(), context.arn(accelerator)];
    if !attachment
        .principals
        .iter()
        .any(|principal| us.contains(principal))
    {
        return Err(denied(
            "The attachment does not list this account or accelerator as a principal",
        ));
    }
    let shares = |resource: &Resource| resource.endpoint_id.as_deref() == Some(endpoint);
    match attachment.resources.iter().any(shares) {
        true => Ok(()),
        false => Err(denied("The attachment does not list this resource")),
    }
}

fn denied(what: &str) -> ApiError {
    Exception::AccessDenied.because(what)
}
