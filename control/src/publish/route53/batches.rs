//! A plan cut into requests within Route 53's limits; a group is never split. Pure.

use std::collections::{BTreeMap, BTreeSet};

use portolan_config::model::DnsMode;

use super::model::{CheckRef, Data, RecordSet, Routing};
use super::plan::{Action, Change, GroupPlan};

/// ResourceRecord elements of a request; an upsert counts twice (developer guide, "quotas").
const MAX_ELEMENTS: usize = 1000;

/// Characters in all values of a request; an upsert counts twice.
const MAX_CHARACTERS: usize = 32_000;

/// Half of what is allowed: a request that is refused is taken apart, and smaller ones take less time apart.
const ROOM: usize = 2;

/// What Route 53 is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Fails when it is there.
    Create,
    /// Fails when it is not there exactly so.
    Delete,
    /// Never fails; used where deletes are not permitted.
    Upsert,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// What to do.
    pub verb: Verb,
    /// With what.
    pub set: RecordSet,
}

/// What goes into one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Whole groups.
    pub groups: Vec<GroupPlan>,
}

impl Batch {
    /// Names of its groups.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(|group| group.name.as_str())
    }

    /// The instructions: deletes before creates, aliases deleted before and created after what they name. A change of what is there is a
    /// delete of exactly what was read and a create: it fails when somebody was faster.
    pub fn ops(&self, mode: DnsMode) -> Vec<Op> {
        let mut ops: Vec<Op> = self
            .groups
            .iter()
            .flat_map(|group| &group.changes)
            .flat_map(|change| ops(change, mode))
            .collect();
        let created: BTreeMap<String, RecordSet> = ops
            .iter()
            .filter(|op| op.verb != Verb::Delete)
            .map(|op| (op.set.key.name.clone(), op.set.clone()))
            .collect();
        ops.sort_by_key(|op| {
            let depth = depth(&op.set, &created);
            let secondary = matches!(op.set.routing, Routing::Failover { primary: false });
            match op.verb {
                Verb::Delete => (0, usize::MAX - depth, !secondary),
                Verb::Create | Verb::Upsert => (1, depth, secondary),
            }
        });
        ops
    }

    /// What it counts against the limits of a request.
    pub fn weight(&self) -> (usize, usize) {
        let weights = self.groups.iter().map(|group| weight(&group.changes));
        weights.fold((0, 0), |(e, c), (elements, characters)| {
            (e + elements, c + characters)
        })
    }

    /// The two halves of a batch that was refused; none of one group.
    pub fn halves(mut self) -> Option<(Batch, Batch)> {
        if self.groups.len() < 2 {
            return None;
        }
        let rest = self.groups.split_off(self.groups.len() / 2);
        Some((self, Batch { groups: rest }))
    }

    /// Puts the ids of checks in that the plan has made.
    pub fn resolve(&mut self, made: &BTreeMap<String, String>) {
        let changes = self.groups.iter_mut().flat_map(|group| &mut group.changes);
        for set in changes.filter_map(|change| change.new.as_mut()) {
            if let Some(CheckRef::Planned(fingerprint)) = &set.health_check
                && let Some(id) = made.get(fingerprint)
            {
                set.health_check = Some(CheckRef::Id(id.clone()));
            }
        }
    }

    /// Fingerprints of checks that are not made yet.
    pub fn unresolved(&self) -> BTreeSet<&str> {
        let changes = self.groups.iter().flat_map(|group| &group.changes);
        changes
            .filter_map(|change| match change.new.as_ref()?.health_check.as_ref()? {
                CheckRef::Planned(fingerprint) => Some(fingerprint.as_str()),
                CheckRef::Id(_) => None,
            })
            .collect()
    }
}

/// How many aliases within the batch it is away from values.
fn depth(set: &RecordSet, created: &BTreeMap<String, RecordSet>) -> usize {
    let mut set = set;
    for depth in 0..16 {
        match &set.data {
            Data::Values { .. } | Data::TrafficPolicy(_) => return depth,
            Data::Alias { name, .. } => match created.get(name) {
                Some(next) => set = next,
                None => return depth + 1,
            },
        }
    }
    16
}

fn ops(change: &Change, mode: DnsMode) -> Vec<Op> {
    let op = |verb, set: &RecordSet| Op {
        verb,
        set: set.clone(),
    };
    match (&change.old, &change.new) {
        (Some(old), Some(new)) if mode == DnsMode::UpsertOnly && can_upsert(old, new) => {
            vec![op(Verb::Upsert, new)]
        }
        (Some(old), Some(new)) => vec![op(Verb::Delete, old), op(Verb::Create, new)],
        (None, Some(new)) => vec![op(Verb::Create, new)],
        (Some(old), None) => vec![op(Verb::Delete, old)],
        (None, None) => Vec::new(),
    }
}

/// An upsert changes neither policy nor whether it is an alias.
pub(super) fn can_upsert(old: &RecordSet, new: &RecordSet) -> bool {
    let is_alias = |set: &RecordSet| matches!(set.data, Data::Alias { .. });
    is_alias(old) == is_alias(new) && old.routing.policy() == new.routing.policy()
}

fn weight(changes: &[Change]) -> (usize, usize) {
    let mut sum = (0, 0);
    for change in changes {
        // A delete and a create weigh what an upsert does, near enough: the larger of both is taken twice.
        let sets = [&change.old, &change.new];
        let largest = |of: fn(&RecordSet) -> usize| {
            let sizes = sets.into_iter().flatten().map(of);
            sizes.max().unwrap_or(0)
        };
        let times = if change.action == Action::Update {
            2
        } else {
            1
        };
        sum.0 += times * largest(RecordSet::elements);
        sum.1 += times * largest(RecordSet::characters);
    }
    sum
}

/// Whether a group goes into one request at all.
pub(super) fn fits(changes: &[Change]) -> Result<(), String> {
    let (elements, characters) = weight(changes);
    if elements > MAX_ELEMENTS {
        return Err(format!(
            "its {elements} values do not fit into one request of {MAX_ELEMENTS}"
        ));
    }
    if characters > MAX_CHARACTERS {
        return Err(format!(
            "its {characters} characters do not fit into one request of {MAX_CHARACTERS}"
        ));
    }
    Ok(())
}

/// Whole groups, in their order, as many a request as half the limits hold.
pub fn batches(groups: &[GroupPlan]) -> Vec<Batch> {
    let mut cut: Vec<Batch> = Vec::new();
    let mut room = (0, 0);
    for group in groups {
        let (elements, characters) = weight(&group.changes);
        match cut.last_mut() {
            Some(batch)
                if room.0 + elements <= MAX_ELEMENTS / ROOM
                    && room.1 + characters <= MAX_CHARACTERS / ROOM =>
            {
                batch.groups.push(group.clone());
                room = (room.0 + elements, room.1 + characters);
            }
            Some(_) | None => {
                cut.push(Batch {
                    groups: vec![group.clone()],
                });
                room = (elements, characters);
            }
        }
    }
    cut
}

#[cfg(test)]
mod tests;
