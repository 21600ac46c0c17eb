//! The parts of a plan: changes by group, counters, findings.

use std::fmt;

use serde::Serialize;

use super::super::model::{Data, Kind, RecordSet};
use super::super::ownership::Ownership;

/// What is done to a record set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is made.
    Create,
    /// It is replaced, as it was read, by another of the same key.
    Update,
    /// It is deleted, as it was read.
    Delete,
}

impl Action {
    /// All, in the order of metrics.
    pub const ALL: [Action; 3] = [Action::Create, Action::Update, Action::Delete];

    /// As metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Create => "create",
            Action::Update => "update",
            Action::Delete => "delete",
        }
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What is done.
    pub action: Action,
    /// The set as it was read.
    pub old: Option<RecordSet>,
    /// The set as it shall be.
    pub new: Option<RecordSet>,
    /// Why.
    pub why: &'static str,
}

impl Change {
    /// The set that it is about.
    pub fn set(&self) -> &RecordSet {
        let either = self.new.as_ref().or(self.old.as_ref());
        either.expect("a change has an old or a new set")
    }

    /// The name of the zone that the new set is an alias of.
    pub(super) fn alias_target(&self) -> Option<&str> {
        match &self.new.as_ref()?.data {
            Data::Alias { name, .. } => Some(name),
            Data::Values { .. } | Data::TrafficPolicy(_) => None,
        }
    }
}

/// All changes of a name with its leaves and marks: made in one request or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupPlan {
    /// The name.
    pub name: String,
    /// At least one.
    pub changes: Vec<Change>,
}

impl GroupPlan {
    /// Sets that go without another of their type coming under the same name: a change of policy loses nothing.
    pub(super) fn lost(&self, ownership: &Ownership<'_>) -> usize {
        let coming: Vec<&Kind> = self
            .changes
            .iter()
            .filter_map(|change| Some(&change.new.as_ref()?.key.kind))
            .collect();
        let gone = self.changes.iter().filter(|change| {
            change.action == Action::Delete
                && !ownership.is_mark(&change.set().key)
                && !coming.contains(&&change.set().key.kind)
        });
        gone.count()
    }
}

/// How much of everything, marks included but for `owned`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Sets that are made.
    pub create: usize,
    /// Sets that are replaced.
    pub update: usize,
    /// Sets that are deleted.
    pub delete: usize,
    /// All sets of the zone.
    pub existing: usize,
    /// Those that are ours, without marks.
    pub owned: usize,
}

impl Counts {
    pub(super) fn of(
        planned: &[GroupPlan],
        current: &[RecordSet],
        ownership: &Ownership<'_>,
    ) -> Self {
        use super::super::ownership::Holder;
        let count = |action: Action| {
            let changes = planned.iter().flat_map(|group| &group.changes);
            changes.filter(|change| change.action == action).count()
        };
        let is_owned =
            |set: &&RecordSet| ownership.holder(set) == Holder::Us && !ownership.is_mark(&set.key);
        Counts {
            create: count(Action::Create),
            update: count(Action::Update),
            delete: count(Action::Delete),
            existing: current.len(),
            owned: current.iter().filter(is_owned).count(),
        }
    }

    /// By action.
    pub fn get(&self, action: Action) -> usize {
        match action {
            Action::Create => self.create,
            Action::Update => self.update,
            Action::Delete => self.delete,
        }
    }
}

/// What an operator should know, in the order of urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Another one holds it.
    Foreign,
    /// Somebody has protected it in Route 53.
    Protected,
    /// Zone or account are full.
    Quota,
    /// Route 53 would refuse it.
    Invalid,
    /// Not known well enough: left as it is.
    Held,
    /// It could be taken over with `--adopt`.
    Adoptable,
    /// The mode does not permit it.
    Withheld,
    /// Good to know.
    Note,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// What kind it is.
    pub kind: FindingKind,
    /// The name that it is about; empty for none.
    pub group: String,
    /// In words.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.what)
        } else {
            write!(f, "{}: {}", self.group, self.what)
        }
    }
}

/// The plan deletes so much that it waits for a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Shrink {
    /// Sets that would go.
    pub deletes: usize,
    /// Of so many.
    pub owned: usize,
}

impl fmt::Display for Shrink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shrink { deletes, owned } = self;
        write!(
            f,
            "the plan deletes {deletes} of {owned} record sets of this PoP, more than 30 %"
        )
    }
}
