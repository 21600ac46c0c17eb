//! Who changed what, when and by which request: one line a change that was taken, in the log under a target of its own.

use std::net::IpAddr;

use super::operations::Operation;
use super::sigv4::Caller;

/// The target that a log filter names.
const TARGET: &str = "portolan::audit";

/// Who asked, and how the request is called.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) caller: Caller,
    pub(crate) client: IpAddr,
    pub(crate) request_id: String,
}

/// A change was taken.
pub(crate) fn taken(asker: &Asker, operation: Operation, resource: &str) {
    let Asker {
        caller,
        client,
        request_id,
    } = asker;
    let who = caller.access_key_id.as_deref().unwrap_or("anonymous");
    let what = operation.name();
    tracing::info!(target: TARGET, who, %client, what, resource, request_id, "changed by the API");
}

/// Everything was replaced by an import.
pub(crate) fn imported(records: usize) {
    tracing::info!(target: TARGET, who = "operator", what = "import", records, "the store was replaced");
}
