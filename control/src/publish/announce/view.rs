//! What the state view shows of the announcements.

use serde::{Deserialize, Serialize};

/// The announcements, as they stand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AnnounceView {
    /// `interface`, `bird`, `exec`.
    pub mode: Vec<String>,
    /// Every prefix that an accelerator could be reached by.
    pub prefixes: Vec<PrefixView>,
    /// Why what is wished is not so; `null` when it is.
    pub error: Option<String>,
    /// When what is announced last changed, RFC 3339; `null` is never.
    pub changed_at: Option<String>,
}

/// One prefix.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PrefixView {
    /// `address/length`.
    pub prefix: String,
    /// `waiting`, `announced`, `leaving`, `left`, `withdrawn`.
    pub state: String,
    /// Why it is not announced.
    pub reason: Option<String>,
}
