//! What the state view shows of the publication.

use serde::{Deserialize, Serialize};

/// The publication in Route 53, as it was last seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DnsView {
    /// The zone, as the file names it.
    pub zone: String,
    /// Its id; `null` until it was found.
    pub zone_id: Option<String>,
    /// Whose mark is written.
    pub owner: String,
    /// What may be written.
    pub mode: String,
    /// When the zone was last read to its end, RFC 3339; `null` is never.
    pub checked_at: Option<String>,
    /// When something was last written, RFC 3339; `null` is never.
    pub applied_at: Option<String>,
    /// What would still have to be changed.
    pub changes: DnsChangesView,
    /// Record sets of this PoP, marks left out.
    pub owned: usize,
    /// Changes that have not reached all name servers yet.
    pub pending: usize,
    /// Names found changed by somebody else since the start.
    pub drifts: u64,
    /// Names that two writers keep changing.
    pub fights: Vec<String>,
    /// What an operator should know, each a sentence.
    pub findings: Vec<String>,
    /// Why the zone could not be read or written; `null` when it could.
    pub error: Option<String>,
}

/// Changes by action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsChangesView {
    /// Record sets to make.
    pub create: usize,
    /// Record sets to replace.
    pub update: usize,
    /// Record sets to delete.
    pub delete: usize,
}
