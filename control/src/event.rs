//! What the controller tells those who listen (`GET /api/v1/events`), the moment it happens.

use serde::{Deserialize, Serialize};

/// One event, with its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, RFC 3339.
    pub at: String,
    /// What.
    #[serde(flatten)]
    pub what: EventKind,
}

/// What happened. The tag is the name of the server-sent event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// An endpoint's health changed.
    Health {
        /// Its accelerator.
        accelerator: String,
        /// Its listener, `PORTS/PROTOCOL`.
        listener: String,
        /// Its region.
        region: String,
        /// Its id.
        endpoint: String,
        /// What it was.
        from: String,
        /// What it is.
        to: String,
        /// Why it is not up.
        reason: Option<String>,
    },
    /// A snapshot was published.
    Generation {
        /// Its number.
        generation: u64,
    },
    /// A drain began.
    Drain {
        /// The endpoint; `None` is the whole PoP.
        endpoint: Option<String>,
        /// In this region alone.
        region: Option<String>,
        /// When it ends by itself, RFC 3339.
        until: Option<String>,
    },
    /// A drain was taken back or ran out.
    Undrain {
        /// The endpoint; `None` is the whole PoP.
        endpoint: Option<String>,
        /// In this region alone.
        region: Option<String>,
    },
    /// A configuration was read.
    Reload {
        /// The generation of the configuration in force.
        generation: u64,
        /// Why it was refused; `None` when it is in force.
        error: Option<String>,
    },
    /// The fate of live flows was decided.
    Verdict {
        /// The accelerator.
        accelerator: String,
        /// The listener, `PORTS/PROTOCOL`.
        listener: String,
        /// The region.
        region: String,
        /// The endpoint.
        endpoint: String,
        /// The address.
        address: String,
        /// `reset`, `drain` or `keep`.
        fate: String,
    },
    /// Somebody else changed what this PoP holds in DNS.
    DnsDrift {
        /// The zone.
        zone: String,
        /// The name.
        name: String,
        /// It has been put right.
        corrected: bool,
    },
    /// Two writers keep changing one name in DNS: it is put right ever more seldom.
    DnsFight {
        /// The zone.
        zone: String,
        /// The name.
        name: String,
        /// How often somebody else has changed it.
        flips: u32,
    },
    /// What an operator should know, a sentence.
    Warning {
        /// The sentence.
        message: String,
    },
}

impl EventKind {
    /// The name of the server-sent event.
    pub fn name(&self) -> &'static str {
        match self {
            EventKind::Health { .. } => "health",
            EventKind::Generation { .. } => "generation",
            EventKind::Drain { .. } => "drain",
            EventKind::Undrain { .. } => "undrain",
            EventKind::Reload { .. } => "reload",
            EventKind::Verdict { .. } => "verdict",
            EventKind::DnsDrift { .. } => "dns_drift",
            EventKind::DnsFight { .. } => "dns_fight",
            EventKind::Warning { .. } => "warning",
        }
    }
}
