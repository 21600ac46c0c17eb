//! What an operation works with: the world as it stands, the settings, the edge, and the edits that it asks for. Operations are
//! pure functions over it; nothing has happened until the store has taken the edits.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use portolan_config::model::{Config, Source};

use super::arn::{AcceleratorId, AttachmentId, GroupId, ListenerId, Resource};
use super::edge::Edge;
use super::errors::{ApiError, Exception, invalid};
use super::pool::Pool;
use super::records::{
    AcceleratorRecord, AttachmentRecord, CustomGroup, Edit, GroupBody, GroupRecord, Kind,
    ListenerRecord, StandardGroup, Tags,
};
use super::settings::Settings;
use super::shapes::tags::Tag;
use super::time::Timestamp;
use super::world::World;
use crate::aws::Answers;

/// Tags of one resource, as everywhere in AWS.
const MOST_TAGS: usize = 50;

/// The surroundings of one request.
pub(crate) struct Context<'a> {
    /// What the API made.
    pub(crate) world: &'a World,
    /// What others made.
    pub(crate) foreign: &'a World,
    pub(crate) settings: &'a Settings,
    pub(crate) config: Arc<Config>,
    pub(crate) edge: &'a dyn Edge,
    /// What AWS said about the endpoints that the request names.
    pub(crate) answers: &'a Answers,
    pub(crate) now: Timestamp,
    /// The version of the world that the data path serves.
    pub(crate) served: u64,
    /// What is asked for.
    pub(crate) edits: Vec<Edit>,
    /// The accelerator that the edits change the service of.
    pub(crate) touched: Option<AcceleratorId>,
}

/// A found resource: its id and its record.
pub(crate) type Found<'a, I, R> = Result<(I, &'a R), ApiError>;

impl<'a> Context<'a> {
    /// The world that holds an accelerator.
    pub(crate) fn world_of(&self, id: &AcceleratorId) -> &'a World {
        match self.world.accelerators.contains_key(id) {
            true => self.world,
            false => self.foreign,
        }
    }

    /// The accelerator of one kind that an ARN names.
    pub(crate) fn accelerator(
        &self,
        arn: &str,
        kind: Kind,
    ) -> Found<'a, AcceleratorId, AcceleratorRecord> {
        let (id, record) = self.any_accelerator(arn)?;
        match record.kind == kind {
            true => Ok((id, record)),
            false => Err(no_accelerator()),
        }
    }

    /// The accelerator of either kind that an ARN names.
    pub(crate) fn any_accelerator(&self, arn: &str) -> Found<'a, AcceleratorId, AcceleratorRecord> {
        match self.resource(arn)? {
            Some(Resource::Accelerator(id)) => self
                .accelerator_record(&id)
                .map(|record| (id, record))
                .ok_or_else(no_accelerator),
            Some(Resource::Listener(_) | Resource::Group(_) | Resource::Attachment(_)) | None => {
                Err(no_accelerator())
            }
        }
    }

    /// By id, whoever made it.
    pub(crate) fn accelerator_record(&self, id: &AcceleratorId) -> Option<&'a AcceleratorRecord> {
        self.world
            .accelerators
            .get(id)
            .or_else(|| self.foreign.accelerators.get(id))
    }

    /// The listener below an accelerator of one kind that an ARN names.
    pub(crate) fn listener(&self, arn: &str, kind: Kind) -> Found<'a, ListenerId, ListenerRecord> {
        let found = match self.resource(arn)? {
            Some(Resource::Listener(id)) => {
                let record = self.world_of(&id.accelerator).listeners.get(&id);
                record.map(|record| (id, record))
            }
            Some(Resource::Accelerator(_) | Resource::Group(_) | Resource::Attachment(_))
            | None => None,
        };
        let of_kind = found.filter(|(id, _)| self.kind_of(&id.accelerator) == Some(kind));
        of_kind.ok_or_else(no_listener)
    }

    /// The group of a standard accelerator that an ARN names.
    pub(crate) fn standard_group(
        &self,
        arn: &str,
    ) -> Result<(GroupId, &'a GroupRecord, &'a StandardGroup), ApiError> {
        let (id, record) = self.group(arn)?;
        match &record.body {
            GroupBody::Standard(body) => Ok((id, record, body)),
            GroupBody::CustomRouting(_) => Err(no_group()),
        }
    }

    /// The group of a custom routing accelerator that an ARN names.
    pub(crate) fn custom_group(
        &self,
        arn: &str,
    ) -> Result<(GroupId, &'a GroupRecord, &'a CustomGroup), ApiError> {
        let (id, record) = self.group(arn)?;
        match &record.body {
            GroupBody::CustomRouting(body) => Ok((id, record, body)),
            GroupBody::Standard(_) => Err(no_group()),
        }
    }

    /// The group of either kind that an ARN names.
    pub(crate) fn group(&self, arn: &str) -> Found<'a, GroupId, GroupRecord> {
        let found = match self.resource(arn)? {
            Some(Resource::Group(id)) => {
                let record = self.world_of(&id.listener.accelerator).groups.get(&id);
                record.map(|record| (id, record))
            }
            Some(Resource::Accelerator(_) | Resource::Listener(_) | Resource::Attachment(_))
            | None => None,
        };
        found.ok_or_else(no_group)
    }

    /// The attachment that an ARN names.
    pub(crate) fn attachment(&self, arn: &str) -> Found<'a, AttachmentId, AttachmentRecord> {
        let found = match self.resource(arn)? {
            Some(Resource::Attachment(id)) => {
                let record = self.world.attachments.get(&id);
                record.map(|record| (id, record))
            }
            Some(Resource::Accelerator(_) | Resource::Listener(_) | Resource::Group(_)) | None => {
                None
            }
        };
        found.ok_or_else(no_attachment)
    }

    /// What an ARN names; `None` is a well-formed one that is not ours.
    fn resource(&self, arn: &str) -> Result<Option<Resource>, ApiError> {
        if !arn.starts_with("arn:aws:globalaccelerator:") {
            return invalid(format!(
                "'{}' is not a valid Global Accelerator ARN",
                plain(arn)
            ));
        }
        Ok(self.settings.account.parse(arn))
    }

    fn kind_of(&self, id: &AcceleratorId) -> Option<Kind> {
        self.accelerator_record(id).map(|record| record.kind)
    }

    /// Refuses to change what others made.
    pub(crate) fn may_change(&self, id: &AcceleratorId) -> Result<(), ApiError> {
        let Some(record) = self.accelerator_record(id) else {
            return Ok(());
        };
        let (what, remedy) = match record.source {
            Source::Api => return Ok(()),
            Source::File => ("the edge's configuration file", "change it there"),
            Source::Aws => ("AWS, from where it is synchronised", "change it there"),
        };
        let name = &record.name;
        Err(Exception::AccessDenied.because(format!(
            "The accelerator '{name}' was made by {what}: {remedy}."
        )))
    }

    /// The ARN of an accelerator, listener or group.
    pub(crate) fn arn(&self, id: &impl std::fmt::Display) -> String {
        self.settings.account.accelerator_arn(id)
    }

    /// Asks for an edit.
    pub(crate) fn edit(&mut self, edit: Edit) {
        self.edits.push(edit);
    }

    /// Says that the service of an accelerator changes with the edits.
    pub(crate) fn touch(&mut self, id: &AcceleratorId) {
        self.touched = Some(id.clone());
    }

    /// Whether the newest change of an accelerator is served.
    pub(crate) fn is_deployed(&self, id: &AcceleratorId) -> bool {
        self.touched.as_ref() != Some(id)
            && self
                .world
                .touched
                .get(id)
                .is_none_or(|version| *version <= self.served)
    }

    /// The addresses that may be handed out.
    pub(crate) fn pool(&self) -> Pool<'_> {
        let of_others = self
            .config
            .accelerators
            .iter()
            .flat_map(|a| &a.addresses)
            .chain(&self.config.pop.addresses);
        let mut taken: HashSet<IpAddr> = self.world.addresses().chain(of_others.copied()).collect();
        // What others have taken is in the configuration only once it is served.
        taken.extend(self.edge.ledger().of_others(Source::Api));
        Pool {
            prefixes: &self.settings.address_pool,
            taken,
        }
    }

    /// A name to serve an accelerator under: its own, unless somebody else has it already.
    pub(crate) fn served_as(&self, name: &str, id: &AcceleratorId) -> String {
        let of_api = self
            .world
            .accelerators
            .iter()
            .any(|(other, record)| other != id && record.served_as == name);
        let of_others = self
            .foreign
            .accelerators
            .values()
            .any(|record| record.served_as == name);
        match of_api || of_others {
            false => name.to_owned(),
            true => format!("{name}-{}", &id.as_str()[..8]),
        }
    }
}

/// Tags as a request gives them, over those that are there.
pub(crate) fn tags(old: &Tags, given: &[Tag]) -> Result<Tags, ApiError> {
    let mut tags: BTreeMap<String, String> = old.clone();
    for Tag { key, value } in given {
        if key.to_ascii_lowercase().starts_with("aws:") {
            return invalid(format!(
                "The tag key '{}' is reserved: keys may not begin with aws:",
                plain(key)
            ));
        }
        tags.insert(key.clone(), value.clone());
    }
    match tags.len() <= MOST_TAGS {
        true => Ok(tags),
        false => invalid(format!("A resource has at most {MOST_TAGS} tags.")),
    }
}

/// A piece of a request, fit for one line of a message.
pub(crate) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(128).collect()
}

/// By an ARN that names none.
pub(crate) fn no_accelerator() -> ApiError {
    Exception::AcceleratorNotFound.because("The accelerator that you specified doesn't exist.")
}

/// By an ARN that names none.
pub(crate) fn no_listener() -> ApiError {
    Exception::ListenerNotFound.because("The listener that you specified doesn't exist.")
}

/// By an ARN that names none.
pub(crate) fn no_group() -> ApiError {
    Exception::EndpointGroupNotFound.because("The endpoint group that you specified doesn't exist.")
}

/// By an ARN that names none.
pub(crate) fn no_attachment() -> ApiError {
    Exception::AttachmentNotFound.because("No cross-account attachment was found.")
}

/// The account has as many as it may.
pub(crate) fn exceeded(what: impl std::fmt::Display) -> ApiError {
    let message = format!(
        "Processing your request would cause you to exceed an Global Accelerator limit: {what}."
    );
    Exception::LimitExceeded.because(message)
}
