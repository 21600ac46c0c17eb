//! Which prefixes (an address each, or a range that was brought along) are announced, and how: a pure machine over what is wanted, what the self-check says and whether the PoP is to be
//! left. Withdrawing is at once where this PoP cannot serve; announcing again waits until all has been well for a while, and
//! longer each time, so that a sick PoP does not flap through everybody's routing tables.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ipnet::IpNet;

/// Withdrawals count for the wait before the next announcement for so long.
const REMEMBERED: Duration = Duration::from_secs(600);

/// However often an address was withdrawn, it waits no longer than this.
const LONGEST_HOLD: Duration = Duration::from_secs(600);

/// How an address is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Style {
    /// As the best choice.
    Normal,
    /// As the worst choice (RFC 8326, prepended): it is being left.
    Leaving,
}

/// What is announced.
pub(super) type Picture = BTreeMap<IpNet, Style>;

/// What the PoP as a whole does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// It serves.
    Serving,
    /// It is drained, or ends: every address is left, then withdrawn.
    Leaving,
}

/// What is known of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// Nothing yet.
    Unknown,
    /// It can be served here.
    Passes,
    /// It cannot, and why.
    Fails(String),
}

/// The times of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    /// How long an address is announced as the worst choice before it goes.
    pub(super) drain: Duration,
    /// How long all must be well after a withdrawal.
    pub(super) hold: Duration,
}

/// An address and where it is.
#[derive(Clone, Debug)]
struct Entry {
    phase: Phase,
    /// Withdrawals because it could not be served.
    failures: Vec<Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Not announced, and nothing was against it yet.
    New,
    Announced,
    Leaving {
        since: Instant,
    },
    /// Left by the operator's word.
    Left,
    /// It could not be served; well since then.
    Withdrawn {
        well_since: Option<Instant>,
        why: String,
    },
}

/// How an address fares, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// A word.
    pub(super) state: &'static str,
    /// Why it is not announced.
    pub(super) why: Option<String>,
}

/// All addresses.
#[derive(Debug, Default)]
pub(super) struct Machine {
    entries: BTreeMap<IpNet, Entry>,
}

impl Machine {
    /// Goes on to `now`, and says what is to be announced.
    pub(super) fn step(
        &mut self,
        wanted: &BTreeSet<IpNet>,
        checks: impl Fn(&IpNet) -> Check,
        mood: Mood,
        times: Times,
        now: Instant,
    ) -> Picture {
        // An address that no accelerator has is nobody's to announce.
        self.entries.retain(|address, _| wanted.contains(address));
        for address in wanted {
            let entry = self.entries.entry(*address).or_insert_with(Entry::new);
            entry.step(checks(address), mood, times, now);
        }
        let announced = self.entries.iter();
        announced
            .filter_map(|(address, entry)| Some((*address, entry.style()?)))
            .collect()
    }

    /// How each address fares.
    pub(super) fn standings(&self, now: Instant) -> Vec<(IpNet, Standing)> {
        let entries = self.entries.iter();
        entries
            .map(|(address, entry)| (*address, entry.standing(now)))
            .collect()
    }
}

impl Entry {
    fn new() -> Self {
        Self {
            phase: Phase::New,
            failures: Vec::new(),
        }
    }

    fn step(&mut self, check: Check, mood: Mood, times: Times, now: Instant) {
        self.failures
            .retain(|at| now.saturating_duration_since(*at) < REMEMBERED);
        let phase = std::mem::replace(&mut self.phase, Phase::New);
        self.phase = match (phase, mood, check) {
            // What cannot be served is not left politely.
            (Phase::Announced | Phase::Leaving { .. }, _, Check::Fails(why)) => {
                self.failures.push(now);
                Phase::Withdrawn {
                    well_since: None,
                    why,
                }
            }
            (Phase::Announced, Mood::Leaving, _) if times.drain.is_zero() => Phase::Left,
            (Phase::Announced, Mood::Leaving, _) => Phase::Leaving { since: now },
            (Phase::Announced, Mood::Serving, _) => Phase::Announced,
            (Phase::Leaving { since }, Mood::Leaving, _) => {
                match now.saturating_duration_since(since) >= times.drain {
                    true => Phase::Left,
                    false => Phase::Leaving { since },
                }
            }
            (Phase::Leaving { .. }, Mood::Serving, _) => Phase::Announced,
            (Phase::New | Phase::Left, Mood::Serving, Check::Passes) => Phase::Announced,
            (Phase::New | Phase::Left, Mood::Serving, Check::Fails(why)) => Phase::Withdrawn {
                well_since: None,
                why,
            },
            (Phase::New, Mood::Serving, Check::Unknown) => Phase::New,
            (Phase::Left, Mood::Serving, Check::Unknown)
            | (Phase::New | Phase::Left, Mood::Leaving, _) => Phase::Left,
            (Phase::Withdrawn { .. }, _, Check::Fails(why)) => Phase::Withdrawn {
                well_since: None,
                why,
            },
            (Phase::Withdrawn { why, .. }, _, Check::Unknown) => Phase::Withdrawn {
                well_since: None,
                why,
            },
            (Phase::Withdrawn { well_since, why }, mood, Check::Passes) => {
                let since = well_since.unwrap_or(now);
                let waited = now.saturating_duration_since(since);
                match mood == Mood::Serving && waited >= self.hold(times.hold) {
                    true => Phase::Announced,
                    false => Phase::Withdrawn {
                        well_since: Some(since),
                        why,
                    },
                }
            }
        };
    }

    /// The wait before the next announcement: doubled for every withdrawal that is remembered but the last.
    fn hold(&self, hold: Duration) -> Duration {
        let doublings = u32::try_from(self.failures.len().saturating_sub(1)).unwrap_or(u32::MAX);
        // What was never announced has no withdrawal to make up for.
        if self.failures.is_empty() {
            return Duration::ZERO;
        }
        hold.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX))
            .min(LONGEST_HOLD.max(hold))
    }

    fn style(&self) -> Option<Style> {
        match self.phase {
            Phase::Announced => Some(Style::Normal),
            Phase::Leaving { .. } => Some(Style::Leaving),
            Phase::New | Phase::Left | Phase::Withdrawn { .. } => None,
        }
    }

    fn standing(&self, now: Instant) -> Standing {
        let (state, why) = match &self.phase {
            Phase::New => ("waiting", Some("not checked yet".to_owned())),
            Phase::Announced => ("announced", None),
            Phase::Leaving { .. } => ("leaving", Some("the PoP is draining".to_owned())),
            Phase::Left => ("left", Some("the PoP is draining".to_owned())),
            Phase::Withdrawn {
                well_since: None,
                why,
            } => ("withdrawn", Some(why.clone())),
            Phase::Withdrawn {
                well_since: Some(since),
                why,
            } => {
                let well = now.saturating_duration_since(*since).as_secs();
                ("withdrawn", Some(format!("{why}; well again for {well} s")))
            }
        };
        Standing { state, why }
    }
}

#[cfg(test)]
mod tests;
