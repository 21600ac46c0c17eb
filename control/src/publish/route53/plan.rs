//! From what the zone holds to what it should hold: a pure function. A name with its leaves and marks is one group; a group is
//! changed whole or not at all. Nothing is changed or deleted that does not carry our mark, unless adoption is asked for.

mod assess;
mod change;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use portolan_config::model::DnsMode;
use serde::Serialize;

pub use self::change::{Action, Change, Counts, Finding, FindingKind, GroupPlan, Shrink};

use self::assess::{Assessed, assess};
use super::Zone;
use super::batches;
use super::cost::Cost;
use super::desired::Desired;
use super::health_checks::{CheckChange, CheckConfig, CurrentCheck, Matched, match_checks};
use super::limits::Limits;
use super::model::{CheckRef, Key, RecordSet, hash};
use super::ownership::{Holder, Ownership, Publisher, group};
use super::validate::{Prospect, by_group};

/// Below so many record sets of ours a share of them says nothing.
const SHRINK_FROM: usize = 10;

/// Deletes of more than three in ten wait for an operator.
const SHRINK_TENTHS: usize = 3;

/// What a plan is made from.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// The zone.
    pub zone: &'a Zone,
    /// Whether the zone has yet to be made.
    pub new_zone: bool,
    /// Who publishes.
    pub us: &'a Publisher,
    /// What it should hold of us.
    pub desired: &'a Desired,
    /// All that it holds.
    pub current: &'a [RecordSet],
    /// The health checks that are ours.
    pub checks: &'a [CurrentCheck],
    /// What may be written; `Observe` plans as `Sync`.
    pub mode: DnsMode,
    /// Whether unmarked sets, and those of PoPs of the same owner, are taken over.
    pub adopt: bool,
    /// Quotas and protections.
    pub limits: &'a Limits,
}

/// What would be changed, and what an operator should know.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// The zone.
    pub zone: Zone,
    /// Whether it is made first.
    pub new_zone: bool,
    /// Who publishes.
    pub owner: String,
    /// Which PoP of it.
    pub pop: String,
    /// `[dns] mode`.
    pub mode: &'static str,
    /// What is changed, by name, in the order in which it has to be.
    pub groups: Vec<GroupPlan>,
    /// Health checks that are made, changed or deleted.
    pub checks: Vec<CheckChange>,
    /// What is not as it should be.
    pub findings: Vec<Finding>,
    /// How much of everything.
    pub counts: Counts,
    /// Set when the plan deletes so much that it waits for a word.
    pub shrink: Option<Shrink>,
    /// What it costs.
    pub cost: Cost,
    /// Names exactly these changes.
    pub checksum: String,
}

impl Plan {
    /// Whether anything would be changed.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.checks.is_empty() && !self.new_zone
    }
}

/// The plan.
pub fn plan(inputs: Inputs<'_>) -> Plan {
    let Inputs {
        zone,
        new_zone,
        us,
        desired,
        current,
        checks,
        mode,
        adopt,
        limits,
    } = inputs;
    let wished: BTreeSet<CheckConfig> = desired.checks.values().cloned().collect();
    let ownership = Ownership::read(us, current);
    let matched = match_checks(&wished, checks, &pinned(desired, current, &ownership));
    let Assessed {
        mut groups,
        mut findings,
    } = assess(&inputs, &ownership, &matched);
    findings.extend(overridden(checks));
    permit(&mut groups, mode, &mut findings);
    limits.spare_protected(&mut groups, &mut findings);
    refuse_invalid(zone, current, &mut groups, &mut findings);
    groups.retain(|_, changes| !changes.is_empty());

    let mut planned = in_order(groups);
    limits.fit(&mut planned, &mut findings);
    let used = used_checks(desired, &planned, current, &matched);
    let check_changes = permitted_checks(&matched, &used, current, mode);
    limits.tell(&check_changes, &mut findings);
    let counts = Counts::of(&planned, current, &ownership);
    let after = current.len() + counts.create - counts.delete;
    let ours = desired.groups.values().flatten();
    let cost = Cost::of(new_zone, after, &used, ours);
    let shrink = shrink(&planned, &counts, &ownership);
    findings.sort();
    let checksum = checksum(zone, new_zone, &planned, &check_changes);
    Plan {
        zone: zone.clone(),
        new_zone,
        owner: us.owner.clone(),
        pop: us.pop.clone(),
        mode: mode.as_str(),
        groups: planned,
        checks: check_changes,
        findings,
        counts,
        shrink,
        cost,
        checksum,
    }
    .with_adoption(adopt)
}

impl Plan {
    /// A plan with adoption is another one, even where it changes the same.
    fn with_adoption(mut self, adopt: bool) -> Self {
        if adopt {
            self.checksum = hash(format!("{}+adopt", self.checksum).as_bytes(), 16);
        }
        self
    }
}

type Groups = BTreeMap<String, Vec<Change>>;

/// Checks that sets refer to which stay as they are: those of others, and those of names that are held.
fn pinned<'a>(
    desired: &Desired,
    current: &'a [RecordSet],
    ownership: &Ownership<'_>,
) -> HashSet<&'a str> {
    let stays = |set: &&RecordSet| {
        ownership.holder(set) != Holder::Us || desired.held.contains_key(&group(&set.key))
    };
    let staying = current.iter().filter(stays);
    let checks = staying.filter_map(|set| match set.health_check.as_ref()? {
        CheckRef::Id(id) => Some(id.as_str()),
        CheckRef::Planned(_) => None,
    });
    checks.collect()
}

fn overridden(checks: &[CurrentCheck]) -> impl Iterator<Item = Finding> + '_ {
    let found = checks
        .iter()
        .filter_map(|check| Some((check, check.overridden?)));
    found.map(|(check, how)| Finding {
        kind: FindingKind::Note,
        group: String::new(),
        what: format!("health check {} was {how} by hand, and stays so", check.id),
    })
}

/// Takes out what the mode does not permit.
fn permit(groups: &mut Groups, mode: DnsMode, findings: &mut Vec<Finding>) {
    let permitted = |change: &Change| match (mode, change.action) {
        (DnsMode::Observe | DnsMode::Sync, _) => true,
        (DnsMode::CreateOnly | DnsMode::UpsertOnly, Action::Create) => true,
        // What cannot be upserted would have to be deleted first.
        (DnsMode::UpsertOnly, Action::Update) => {
            let sets = change.old.as_ref().zip(change.new.as_ref());
            sets.is_some_and(|(old, new)| batches::can_upsert(old, new))
        }
        (DnsMode::CreateOnly, Action::Update) | (_, Action::Delete) => false,
    };
    for (name, changes) in groups {
        let before = changes.len();
        changes.retain(permitted);
        let withheld = before - changes.len();
        if withheld > 0 {
            findings.push(Finding {
                kind: FindingKind::Withheld,
                group: name.clone(),
                what: format!(
                    "mode \"{}\" does not permit {withheld} changes",
                    mode.as_str()
                ),
            });
        }
    }
}

/// Takes out groups that Route 53 would refuse, until what is left stands: one group may rest on another.
fn refuse_invalid(
    zone: &Zone,
    current: &[RecordSet],
    groups: &mut Groups,
    findings: &mut Vec<Finding>,
) {
    for (name, changes) in &mut *groups {
        if let Err(what) = batches::fits(changes) {
            findings.push(Finding {
                kind: FindingKind::Invalid,
                group: name.clone(),
                what,
            });
            changes.clear();
        }
    }
    loop {
        let refused = {
            let mut after: BTreeMap<&Key, &RecordSet> =
                current.iter().map(|set| (&set.key, set)).collect();
            for change in groups.values().flatten() {
                match (&change.old, &change.new) {
                    (_, Some(new)) => drop(after.insert(&new.key, new)),
                    (Some(old), None) => drop(after.remove(&old.key)),
                    (None, None) => {}
                }
            }
            let prospect = Prospect::new(zone, after.into_values());
            let written = groups.values().flatten();
            let written: Vec<&RecordSet> = written.filter_map(|c| c.new.as_ref()).collect();
            by_group(prospect.violations(&written))
        };
        if refused.is_empty() {
            return;
        }
        for (name, whats) in refused {
            groups.remove(&name);
            findings.extend(whats.into_iter().map(|what| Finding {
                kind: FindingKind::Invalid,
                group: name.clone(),
                what,
            }));
        }
    }
}

/// What others rest on comes first; what is only deleted comes last.
fn in_order(groups: Groups) -> Vec<GroupPlan> {
    let mut depth: HashMap<String, usize> = HashMap::new();
    // An alias of an alias of …: the validator has refused circles, and names are at most 127 labels long.
    for _ in 0..16 {
        let mut changed = false;
        for (name, changes) in &groups {
            let rests_on = changes.iter().filter_map(Change::alias_target);
            let deepest = rests_on
                .filter(|target| *target != name && groups.contains_key(*target))
                .map(|target| depth.get(target).copied().unwrap_or(0) + 1)
                .max()
                .unwrap_or(0);
            changed |= depth.insert(name.clone(), deepest) != Some(deepest);
        }
        if !changed {
            break;
        }
    }
    let mut planned: Vec<GroupPlan> = groups
        .into_iter()
        .map(|(name, changes)| GroupPlan { name, changes })
        .collect();
    planned.sort_by_key(|group| {
        let only_deletes = group.changes.iter().all(|c| c.action == Action::Delete);
        let depth = depth.get(&group.name).copied().unwrap_or(0);
        (only_deletes, depth, group.name.clone())
    });
    planned
}

/// The checks that sets refer to once the plan is applied: those that it writes, and those that it leaves alone.
fn used_checks(
    desired: &Desired,
    planned: &[GroupPlan],
    current: &[RecordSet],
    matched: &Matched,
) -> BTreeSet<CheckConfig> {
    let changes = || planned.iter().flat_map(|group| &group.changes);
    let replaced: HashSet<&Key> = changes()
        .filter_map(|change| Some(&change.old.as_ref()?.key))
        .collect();
    let stays = current.iter().filter(|set| !replaced.contains(&set.key));
    let after = stays.chain(changes().filter_map(|change| change.new.as_ref()));
    let used: HashSet<&CheckRef> = after.filter_map(|set| set.health_check.as_ref()).collect();
    let wished = desired.checks.values();
    wished
        .filter(|wish| used.contains(&matched.reference(wish)))
        .cloned()
        .collect()
}

fn permitted_checks(
    matched: &Matched,
    used: &BTreeSet<CheckConfig>,
    current: &[RecordSet],
    mode: DnsMode,
) -> Vec<CheckChange> {
    let referenced: HashSet<&str> = current
        .iter()
        .filter_map(|set| match set.health_check.as_ref()? {
            CheckRef::Id(id) => Some(id.as_str()),
            CheckRef::Planned(_) => None,
        })
        .collect();
    let mut changes = matched.changes(used, &referenced);
    changes.retain(|change| match (mode, change) {
        (DnsMode::Observe | DnsMode::Sync, _) => true,
        (_, CheckChange::Create { .. }) => true,
        (DnsMode::UpsertOnly, CheckChange::Update { .. }) => true,
        (_, CheckChange::Update { .. } | CheckChange::Delete { .. }) => false,
    });
    changes
}

fn shrink(planned: &[GroupPlan], counts: &Counts, ownership: &Ownership<'_>) -> Option<Shrink> {
    let lost: usize = planned.iter().map(|group| group.lost(ownership)).sum();
    let too_many = lost * 10 > counts.owned * SHRINK_TENTHS;
    (counts.owned >= SHRINK_FROM && too_many).then_some(Shrink {
        deletes: lost,
        owned: counts.owned,
    })
}

/// Names exactly these changes of exactly this zone: the old sets are in it, so a zone that somebody changed gives another.
fn checksum(zone: &Zone, new_zone: bool, planned: &[GroupPlan], checks: &[CheckChange]) -> String {
    let told = serde_json::to_vec(&(zone, new_zone, planned, checks))
        .expect("plans have string keys and no infinite numbers");
    hash(&told, 16)
}

/// Whether a set may be taken over at all.
fn adoptable(holder: &Holder, set: &RecordSet) -> bool {
    match holder {
        Holder::Unmarked | Holder::Sibling(_) => set.key.set_identifier.is_none(),
        Holder::Us | Holder::Portolan(_) | Holder::Marked(_) => false,
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
