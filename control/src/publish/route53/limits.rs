//! What bounds a plan beside Route 53's rules: quotas of zone and account, and records that somebody has protected. Pure. What would
//! be refused for them is told and left out, so that it holds up nothing else.

use std::collections::{BTreeMap, BTreeSet};

use super::health_checks::CheckChange;
use super::model::Kind;
use super::plan::{Action, Change, Finding, FindingKind, GroupPlan};

/// From this share of a quota on, in tenths, it is told.
const NEAR_TENTHS: i64 = 9;

/// How much there is, and the most that there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The most.
    pub most: i64,
    /// How much there is.
    pub there: i64,
}

/// As far as it could be read; what could not bounds nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Record sets of the zone.
    pub records: Option<Quota>,
    /// Health checks of the account.
    pub checks: Option<Quota>,
    /// Names and types that Route 53 changes for nobody.
    pub protected: BTreeSet<(String, Kind)>,
    /// What may not be read, a sentence each.
    pub unread: Vec<String>,
}

impl Limits {
    /// Takes groups out that hold a protected record.
    pub(super) fn spare_protected(
        &self,
        groups: &mut BTreeMap<String, Vec<Change>>,
        findings: &mut Vec<Finding>,
    ) {
        groups.retain(|name, changes| {
            let protected = changes.iter().map(|change| &change.set().key);
            let protected = protected
                .filter(|key| self.protected.contains(&(key.name.clone(), key.kind.clone())));
            let told: BTreeSet<String> = protected.map(ToString::to_string).collect();
            if told.is_empty() {
                return true;
            }
            let told: Vec<String> = told.into_iter().collect();
            findings.push(Finding {
                kind: FindingKind::Protected,
                group: name.clone(),
                what: format!(
                    "{} is protected in Route 53, which changes it for nobody until the protection is deleted",
                    told.join(", ")
                ),
            });
            false
        });
    }

    /// Takes out, from the end, what would make more record sets than the zone may hold.
    pub(super) fn fit(&self, planned: &mut Vec<GroupPlan>, findings: &mut Vec<Finding>) {
        let Some(Quota { most, there }) = self.records else {
            return;
        };
        let net = |group: &GroupPlan| -> i64 {
            let of = |change: &Change| match change.action {
                Action::Create => 1,
                Action::Update => 0,
                Action::Delete => -1,
            };
            group.changes.iter().map(of).sum()
        };
        let mut after = there;
        let mut left_out: Vec<String> = Vec::new();
        planned.retain(|group| {
            let more = net(group);
            // What comes behind one that does not fit may rest on it.
            let fits = more <= 0 || (left_out.is_empty() && after + more <= most);
            if fits {
                after += more;
            } else {
                left_out.push(group.name.clone());
            }
            fits
        });
        if let Some(first) = left_out.first() {
            findings.push(Finding {
                kind: FindingKind::Quota,
                group: String::new(),
                what: format!(
                    "the zone holds {there} of {most} record sets: {} names are left out, from {first} on; ask AWS for a higher quota",
                    left_out.len()
                ),
            });
        } else if near(after, most) {
            findings.push(Finding {
                kind: FindingKind::Note,
                group: String::new(),
                what: format!("the zone will hold {after} of {most} record sets"),
            });
        }
    }

    /// Tells of more health checks than the account may have, and of what may not be read.
    pub(super) fn tell(&self, checks: &[CheckChange], findings: &mut Vec<Finding>) {
        let made = checks.iter().filter(|change| match change {
            CheckChange::Create { .. } => true,
            CheckChange::Update { .. } | CheckChange::Delete { .. } => false,
        });
        let made = i64::try_from(made.count()).unwrap_or(i64::MAX);
        if let Some(Quota { most, there }) = self.checks {
            let after = there.saturating_add(made);
            if made > 0 && after > most {
                findings.push(Finding {
                    kind: FindingKind::Quota,
                    group: String::new(),
                    what: format!(
                        "the account has {there} of {most} health checks, and the plan makes {made}: names whose check cannot be made wait"
                    ),
                });
            } else if made > 0 && near(after, most) {
                findings.push(Finding {
                    kind: FindingKind::Note,
                    group: String::new(),
                    what: format!("the account will have {after} of {most} health checks"),
                });
            }
        }
        findings.extend(self.unread.iter().map(|error| Finding {
            kind: FindingKind::Note,
            group: String::new(),
            what: format!("a quota or protection is not known: {error}"),
        }));
    }
}

fn near(after: i64, most: i64) -> bool {
    after.saturating_mul(10) > most.saturating_mul(NEAR_TENTHS)
}
