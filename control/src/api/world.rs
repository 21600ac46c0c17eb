//! All records in memory, for reading: what the store holds, and in the same form what the file (and AWS) made. Pure: operations
//! look at a world and ask for edits, which come in here only after the store has taken them.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use ipnet::Ipv4Net;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::arn::{AcceleratorId, AttachmentId, GroupId, ListenerId};
use super::paging::hex;
use super::records::{
    AcceleratorRecord, AttachmentRecord, ByoipRecord, Edit, GroupBody, GroupRecord, ListenerRecord,
    Meta, TokenRecord,
};
use super::shapes::byoip::ByoipCidrState;
use crate::advertised::Ranges;
use crate::store::{Change, Records, Table};

/// The records.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct World {
    pub(crate) accelerators: BTreeMap<AcceleratorId, AcceleratorRecord>,
    pub(crate) listeners: BTreeMap<ListenerId, ListenerRecord>,
    pub(crate) groups: BTreeMap<GroupId, GroupRecord>,
    pub(crate) attachments: BTreeMap<AttachmentId, AttachmentRecord>,
    pub(crate) byoip: BTreeMap<Ipv4Net, ByoipRecord>,
    pub(crate) tokens: BTreeMap<String, TokenRecord>,
    pub(crate) meta: Meta,
    /// Counts up with every applied set of edits.
    pub(crate) version: u64,
    /// The version in which an accelerator, or something below it, changed last.
    pub(crate) touched: BTreeMap<AcceleratorId, u64>,
    last_seq: u64,
}

/// The one key of [`Table::Meta`].
const META_KEY: &str = "meta";

/// A record of the store that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("the record {table:?} {key:?} cannot be understood: {what}")]
pub struct BadRecord {
    table: Table,
    key: String,
    what: String,
}

impl World {
    /// From the store.
    pub(crate) fn load(records: &Records) -> Result<World, BadRecord> {
        let mut world = World {
            accelerators: read(records, Table::Accelerators)?,
            listeners: read(records, Table::Listeners)?,
            groups: read(records, Table::EndpointGroups)?,
            attachments: read(records, Table::Attachments)?,
            byoip: read(records, Table::ByoipCidrs)?,
            tokens: read(records, Table::Tokens)?,
            ..World::default()
        };
        let mut meta: BTreeMap<String, Meta> = read(records, Table::Meta)?;
        world.meta = meta.remove(META_KEY).unwrap_or_default();
        world.check_parents()?;
        let seqs = world.accelerators.values().map(|r| r.seq);
        let seqs = seqs
            .chain(world.listeners.values().map(|r| r.seq))
            .chain(world.groups.values().map(|r| r.seq));
        let seqs = seqs
            .chain(world.attachments.values().map(|r| r.seq))
            .chain(world.byoip.values().map(|r| r.seq));
        world.last_seq = seqs.max().unwrap_or(0);
        Ok(world)
    }

    /// An import may hold anything.
    fn check_parents(&self) -> Result<(), BadRecord> {
        let orphan = |table, key: String| BadRecord {
            table,
            key,
            what: "what it belongs to is missing".to_owned(),
        };
        for listener in self.listeners.keys() {
            if !self.accelerators.contains_key(&listener.accelerator) {
                return Err(orphan(Table::Listeners, listener.to_string()));
            }
        }
        for group in self.groups.keys() {
            if !self.listeners.contains_key(&group.listener) {
                return Err(orphan(Table::EndpointGroups, group.to_string()));
            }
        }
        Ok(())
    }

    /// What a world begins with: a name to serve every accelerator under, which may be another one than in the process before, and
    /// a key for page tokens, when there is none yet.
    pub(crate) fn settle(&mut self) -> Option<Edit> {
        let mut names = HashSet::new();
        let mut by_seq: Vec<(&AcceleratorId, &mut AcceleratorRecord)> =
            self.accelerators.iter_mut().collect();
        by_seq.sort_by_key(|(_, record)| record.seq);
        for (id, record) in by_seq {
            record.served_as.clone_from(&record.name);
            if !names.insert(record.name.clone()) {
                record.served_as = format!(
                    "{}-{}",
                    record.name,
                    id.as_str().get(..8).unwrap_or_default()
                );
            }
        }
        let page_key = || hex(&rand::random::<[u8; 16]>());
        self.meta.page_key.is_empty().then(|| {
            Edit::Meta(Meta {
                page_key: page_key(),
                ..self.meta.clone()
            })
        })
    }

    /// Counts on from the world that this one replaces.
    pub(crate) fn succeed(&mut self, before: &World) {
        self.version = before.version + 1;
        self.touched = self
            .accelerators
            .keys()
            .map(|id| (id.clone(), self.version))
            .collect();
    }

    /// The place of the next new resource in lists.
    pub(crate) fn next_seq(&self) -> u64 {
        self.last_seq + 1
    }

    /// The listeners of an accelerator, in the order of their creation.
    pub(crate) fn listeners_of(
        &self,
        accelerator: &AcceleratorId,
    ) -> Vec<(&ListenerId, &ListenerRecord)> {
        let from = self.listeners.range(ListenerId::first_of(accelerator)..);
        let mut found: Vec<_> = from
            .take_while(|(id, _)| id.accelerator == *accelerator)
            .collect();
        found.sort_by_key(|(_, record)| record.seq);
        found
    }

    /// The groups of a listener, in the order of their creation.
    pub(crate) fn groups_of(&self, listener: &ListenerId) -> Vec<(&GroupId, &GroupRecord)> {
        let from = self.groups.range(GroupId::first_of(listener)..);
        let mut found: Vec<_> = from
            .take_while(|(id, _)| id.listener == *listener)
            .collect();
        found.sort_by_key(|(_, record)| record.seq);
        found
    }

    /// How many groups an accelerator has.
    pub(crate) fn count_groups(&self, accelerator: &AcceleratorId) -> usize {
        let from = self.groups.range(GroupId::first_below(accelerator)..);
        from.take_while(|(id, _)| id.listener.accelerator == *accelerator)
            .count()
    }

    /// Every address that an accelerator holds, reserved ones included.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.accelerators
            .values()
            .flat_map(AcceleratorRecord::addresses)
    }

    /// The ranges that are to be announced.
    pub(crate) fn advertised(&self) -> Ranges {
        let ranges = self.byoip.iter();
        ranges
            .filter(|(_, record)| record.state == ByoipCidrState::Advertising)
            .map(|(net, _)| *net)
            .collect()
    }

    /// The ranges that were brought along, advertised or not.
    pub(crate) fn brought_along(&self) -> Ranges {
        self.byoip.keys().copied().collect()
    }

    /// The attachments that endpoints and subnets were added with.
    pub(crate) fn attachments_in_use(&self) -> impl Iterator<Item = &str> + '_ {
        self.groups.values().flat_map(|group| {
            let used: Vec<&str> = match &group.body {
                GroupBody::Standard(body) => body
                    .endpoints
                    .iter()
                    .filter_map(|e| e.attachment.as_deref())
                    .collect(),
                GroupBody::CustomRouting(body) => body
                    .subnets
                    .iter()
                    .filter_map(|s| s.attachment.as_deref())
                    .collect(),
            };
            used
        })
    }

    /// What puts the store back to before some edits, as this world, which does not have them, knows it.
    pub(crate) fn before(&self, edits: &[Edit]) -> Vec<Change> {
        let inverse = |edit: &Edit| match edit {
            Edit::Accelerator(id, _) => {
                Edit::Accelerator(id.clone(), self.accelerators.get(id).cloned())
            }
            Edit::Listener(id, _) => Edit::Listener(id.clone(), self.listeners.get(id).cloned()),
            Edit::Group(id, _) => Edit::Group(id.clone(), self.groups.get(id).cloned()),
            Edit::Attachment(id, _) => {
                Edit::Attachment(id.clone(), self.attachments.get(id).cloned())
            }
            Edit::Byoip(cidr, _) => Edit::Byoip(*cidr, self.byoip.get(cidr).cloned()),
            Edit::Token(key, _) => Edit::Token(key.clone(), self.tokens.get(key).cloned()),
            Edit::Meta(_) => Edit::Meta(self.meta.clone()),
        };
        edits.iter().map(|edit| inverse(edit).to_change()).collect()
    }

    /// Takes in edits that the store has.
    pub(crate) fn apply(&mut self, edits: Vec<Edit>, touched: Option<AcceleratorId>) {
        self.version += 1;
        for edit in edits {
            match edit {
                Edit::Accelerator(id, record) => {
                    if record.is_none() {
                        self.touched.remove(&id);
                    }
                    self.note_seq(record.as_ref().map(|r| r.seq));
                    put(&mut self.accelerators, id, record);
                }
                Edit::Listener(id, record) => {
                    self.note_seq(record.as_ref().map(|r| r.seq));
                    put(&mut self.listeners, id, record);
                }
                Edit::Group(id, record) => {
                    self.note_seq(record.as_ref().map(|r| r.seq));
                    put(&mut self.groups, id, record);
                }
                Edit::Attachment(id, record) => {
                    self.note_seq(record.as_ref().map(|r| r.seq));
                    put(&mut self.attachments, id, record);
                }
                Edit::Byoip(cidr, record) => {
                    self.note_seq(record.as_ref().map(|r| r.seq));
                    put(&mut self.byoip, cidr, record);
                }
                Edit::Token(key, record) => put(&mut self.tokens, key, record),
                Edit::Meta(meta) => self.meta = meta,
            }
        }
        if let Some(accelerator) = touched.filter(|id| self.accelerators.contains_key(id)) {
            self.touched.insert(accelerator, self.version);
        }
    }

    fn note_seq(&mut self, seq: Option<u64>) {
        self.last_seq = self.last_seq.max(seq.unwrap_or(0));
    }
}

impl Edit {
    /// As the store takes it.
    pub(crate) fn to_change(&self) -> Change {
        match self {
            Edit::Accelerator(id, record) => change(Table::Accelerators, id, record.as_ref()),
            Edit::Listener(id, record) => change(Table::Listeners, id, record.as_ref()),
            Edit::Group(id, record) => change(Table::EndpointGroups, id, record.as_ref()),
            Edit::Attachment(id, record) => change(Table::Attachments, id, record.as_ref()),
            Edit::Byoip(cidr, record) => change(Table::ByoipCidrs, cidr, record.as_ref()),
            Edit::Token(key, record) => change(Table::Tokens, key, record.as_ref()),
            Edit::Meta(meta) => change(Table::Meta, &META_KEY, Some(meta)),
        }
    }
}

fn change(table: Table, key: &impl ToString, record: Option<&impl Serialize>) -> Change {
    let value = record.map(|record| {
        serde_json::to_value(record).expect("records have string keys and finite numbers")
    });
    Change {
        table,
        key: key.to_string(),
        value,
    }
}

fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

fn read<K, V>(records: &Records, table: Table) -> Result<BTreeMap<K, V>, BadRecord>
where
    K: std::str::FromStr + Ord,
    V: DeserializeOwned,
{
    let rows = records.get(&table).into_iter().flatten();
    let bad = |key: &str, what: String| BadRecord {
        table,
        key: key.to_owned(),
        what,
    };
    rows.map(|(key, value)| {
        let id = key
            .parse()
            .map_err(|_| bad(key, "its key is none".to_owned()))?;
        let record = V::deserialize(value).map_err(|error| bad(key, error.to_string()))?;
        Ok((id, record))
    })
    .collect()
}
