//! Group by group: what is there against what should be there, whose it is, and which changes follow. Judges neither mode nor
//! Route 53's rules.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::super::health_checks::Matched;
use super::super::model::{CheckRef, Key, RecordSet};
use super::super::ownership::{Holder, Ownership, group};
use super::{Action, Change, Finding, FindingKind, Groups, Inputs, adoptable};

/// What follows.
pub(super) struct Assessed {
    pub(super) groups: Groups,
    pub(super) findings: Vec<Finding>,
}

pub(super) fn assess(
    inputs: &Inputs<'_>,
    ownership: &Ownership<'_>,
    matched: &Matched,
) -> Assessed {
    let Inputs {
        desired, current, ..
    } = inputs;
    let by_key: BTreeMap<&Key, &RecordSet> = current.iter().map(|set| (&set.key, set)).collect();
    let mut ours: BTreeMap<String, Vec<&RecordSet>> = BTreeMap::new();
    for set in by_key.values().copied() {
        if ownership.holder(set) == Holder::Us {
            ours.entry(group(&set.key)).or_default().push(set);
        }
    }
    let names: BTreeSet<&String> = desired.groups.keys().chain(ours.keys()).collect();
    let mut assessed = Assessed {
        groups: Groups::new(),
        findings: Vec::new(),
    };
    for (name, why) in &desired.held {
        assessed.find(FindingKind::Held, name, format!("left as it is: {why}"));
    }
    for (name, note) in &desired.notes {
        assessed.find(FindingKind::Note, name, note.clone());
    }
    for name in names {
        let ours = ours.get(name).map_or(&[][..], Vec::as_slice);
        if desired.held.contains_key(name) {
            continue;
        }
        let wanted = desired.groups.get(name).into_iter().flatten();
        let wanted: Vec<RecordSet> = wanted
            .map(|set| referring(set.clone(), inputs, matched))
            .collect();
        let one = One {
            name,
            adopt: inputs.adopt,
            ownership,
            by_key: &by_key,
        };
        match one.changes(&wanted, ours) {
            Ok(changes) if changes.is_empty() => {}
            Ok(changes) => drop(assessed.groups.insert(name.clone(), changes)),
            Err(findings) => assessed.findings.extend(findings),
        }
    }
    assessed
}

impl Assessed {
    fn find(&mut self, kind: FindingKind, group: &str, what: String) {
        self.findings.push(Finding {
            kind,
            group: group.to_owned(),
            what,
        });
    }
}

/// The set with the check that stands for the one it wishes.
fn referring(mut set: RecordSet, inputs: &Inputs<'_>, matched: &Matched) -> RecordSet {
    if let Some(CheckRef::Planned(fingerprint)) = &set.health_check
        && let Some(wish) = inputs.desired.checks.get(fingerprint)
    {
        set.health_check = Some(matched.reference(wish));
    }
    set
}

/// One group.
struct One<'a> {
    name: &'a str,
    adopt: bool,
    ownership: &'a Ownership<'a>,
    by_key: &'a BTreeMap<&'a Key, &'a RecordSet>,
}

impl One<'_> {
    /// The changes, or what stands in the way of all of them.
    fn changes(
        &self,
        wanted: &[RecordSet],
        ours: &[&RecordSet],
    ) -> Result<Vec<Change>, Vec<Finding>> {
        let mut changes = Vec::new();
        let mut findings = Vec::new();
        for set in wanted {
            match self.by_key.get(&set.key) {
                None => changes.push(self.create(set, ours)),
                Some(there) => match self.replace(there, set) {
                    Ok(change) => changes.extend(change),
                    Err(finding) => findings.push(finding),
                },
            }
        }
        let keys: HashSet<&Key> = wanted.iter().map(|set| &set.key).collect();
        let gone = ours.iter().filter(|set| !keys.contains(&set.key));
        changes.extend(gone.map(|set| Change {
            action: Action::Delete,
            old: Some((*set).clone()),
            new: None,
            why: "no record asks for it",
        }));
        if findings.is_empty() {
            Ok(changes)
        } else {
            Err(findings)
        }
    }

    fn create(&self, set: &RecordSet, ours: &[&RecordSet]) -> Change {
        let why = if ours.is_empty() {
            "it is not there"
        } else {
            "it is missing among what is ours"
        };
        Change {
            action: Action::Create,
            old: None,
            new: Some(set.clone()),
            why,
        }
    }

    fn replace(&self, there: &RecordSet, set: &RecordSet) -> Result<Option<Change>, Finding> {
        let holder = self.ownership.holder(there);
        let equal = there.says(set);
        let change = |why| Change {
            action: Action::Update,
            old: Some(there.clone()),
            new: Some(set.clone()),
            why,
        };
        if holder == Holder::Us {
            let why = if self.ownership.drifted(there) {
                "somebody changed it"
            } else {
                "it is to be otherwise"
            };
            return Ok((!equal).then(|| change(why)));
        }
        let adoptable = adoptable(&holder, there);
        if adoptable && self.adopt {
            return Ok((!equal).then(|| change("it is adopted")));
        }
        let state = if equal {
            "is as it should be, but"
        } else {
            "differs and"
        };
        let (kind, remedy) = if adoptable {
            (FindingKind::Adoptable, "; --adopt takes it over")
        } else {
            (FindingKind::Foreign, "")
        };
        Err(Finding {
            kind,
            group: self.name.to_owned(),
            what: format!("{} {state} belongs to {holder}{remedy}", there.key),
        })
    }
}
