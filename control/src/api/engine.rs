//! Carries operations out: one change at a time, each durable before it is answered. Reading never waits for a change.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use portolan_config::model::{Accelerator, Config, Source};
use serde_json::Value;
use tokio::sync::{Notify, OwnedMutexGuard, watch};
use tokio::time::timeout;

use super::arn::AcceleratorId;
use super::audit::{self, Asker};
use super::context::Context;
use super::edge::Edge;
use super::endpoint_id::Meaning;
use super::errors::{ApiError, Exception};
use super::foreign;
use super::idempotency::Attempt;
use super::keeper::Keeper;
use super::looked_up;
use super::operations::Operation;
use super::publisher::Publisher;
use super::records::Edit;
use super::settings::Settings;
use super::time::Timestamp;
use super::world::{BadRecord, World};
use crate::aws::Answers;
use crate::store::{Change, Export, Records, SCHEMA, StoreError, Table};

/// How long a change waits for those before it. A commit takes milliseconds, so who waits longer meets a sick disk.
const PATIENCE: Duration = Duration::from_secs(5);

/// A change is answered once it is served, so that who connects next meets it, or after this long: then its status says so alone.
pub(crate) const SERVED_WITHIN: Duration = Duration::from_millis(100);

/// How often an operation is worked out anew because another source took its addresses meanwhile.
const CLAIMS: usize = 16;

/// Why records could not be exported or imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The export is of another schema.
    #[error("the export has schema {0}, and this Portolan takes {SCHEMA}")]
    Schema(u32),
    /// A record makes no sense; nothing was changed.
    #[error(transparent)]
    Record(#[from] BadRecord),
    /// The store failed; nothing was changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another change took too long, or this one was broken off.
    #[error("the store is busy")]
    Busy,
}

/// A change that is asked for.
struct Asked<'a> {
    operation: Operation,
    input: Value,
    asker: &'a Asker,
    answers: &'a Answers,
}

/// What an operation comes to.
enum Worked {
    /// It was answered before: the same again.
    Before(Value),
    /// The answer, and what has to be stored first.
    Now(Value, Vec<Edit>, Option<AcceleratorId>),
}

/// The API's state.
pub(crate) struct Engine {
    settings: Settings,
    keeper: Keeper,
    /// Held while the store is let go.
    released: Mutex<Option<OwnedMutexGuard<()>>>,
    edge: Arc<dyn Edge>,
    /// Held for moments: nothing waits for a disk while it has this.
    world: RwLock<World>,
    /// Whose turn it is to change something.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// The version of the world that the data path serves.
    served: watch::Sender<u64>,
    changed: Notify,
    /// What others made, and the configuration that it was read from.
    foreign: Mutex<Option<(Arc<Config>, Arc<World>)>>,
    started: Timestamp,
    patience: Duration,
    /// How long an answer waits for its change to be served.
    served_within: Duration,
}

impl Engine {
    /// Over a world that the store holds.
    pub(crate) fn new(
        settings: Settings,
        keeper: Keeper,
        world: World,
        edge: Arc<dyn Edge>,
    ) -> Engine {
        edge.bring_along(world.brought_along());
        edge.advertise(world.advertised());
        // They were told to clients: whoever else serves one of them, yields.
        edge.ledger().insist(Source::Api, world.addresses());
        Engine {
            settings,
            keeper,
            released: Mutex::new(None),
            edge,
            served: watch::Sender::new(world.version),
            world: RwLock::new(world),
            turn: Arc::default(),
            changed: Notify::new(),
            foreign: Mutex::new(None),
            started: Timestamp::now(),
            patience: PATIENCE,
            served_within: Duration::ZERO,
        }
    }

    /// Lets an answer wait so long until its change is served, for somebody who publishes.
    pub(crate) fn answering_once_served(self, served_within: Duration) -> Engine {
        Engine {
            served_within,
            ..self
        }
    }

    /// Waits no longer than this for its turn.
    #[cfg(test)]
    pub(crate) fn with_patience(self, patience: Duration) -> Engine {
        Engine { patience, ..self }
    }

    /// Carries an operation out. Goes on when its caller has gone: a change is taken whole or not at all.
    pub(crate) async fn call(
        self: Arc<Self>,
        operation: Operation,
        input: Value,
        asker: Asker,
    ) -> Result<Value, ApiError> {
        let input = operation.check(input)?;
        // Before its turn: others need not wait for AWS.
        let answers = match looked_up::concerns(operation) {
            true => self.look_up(&input).await,
            false => Answers::new(),
        };
        let turn = match operation.only_reads() {
            true => None,
            false => Some(self.take_turn().await.ok_or_else(in_progress)?),
        };
        let engine = self.clone();
        let work = move || match turn {
            None => engine.read(operation, input).map(|answer| (answer, None)),
            Some(turn) => {
                let change = Asked {
                    operation,
                    input,
                    asker: &asker,
                    answers: &answers,
                };
                engine.change(change, turn)
            }
        };
        let done = tokio::task::spawn_blocking(work).await;
        let (answer, version) = done.unwrap_or_else(|error| {
            tracing::error!(operation = operation.name(), %error, "an API operation broke off");
            Err(Exception::InternalServiceError
                .because("There was an internal error for Global Accelerator."))
        })?;
        if let Some(version) = version {
            self.until_served(version).await;
        }
        Ok(answer)
    }

    async fn until_served(&self, version: u64) {
        let mut served = self.served.subscribe();
        let is_served = served.wait_for(|served| *served >= version);
        // Later than that it is served all the same.
        let _ = timeout(self.served_within, is_served).await;
    }

    async fn take_turn(&self) -> Option<OwnedMutexGuard<()>> {
        timeout(self.patience, self.turn.clone().lock_owned())
            .await
            .ok()
    }

    /// What AWS has to say about the endpoints of a request.
    async fn look_up(&self, input: &Value) -> Answers {
        let none = Answers::new();
        let wanted = {
            let (world, foreign) = (self.world(), self.foreign());
            looked_up::of_request(&self.context(&world, &foreign, &none), input)
        };
        match wanted.is_empty() {
            true => none,
            false => self.edge.look_up(wanted).await,
        }
    }

    fn read(&self, operation: Operation, input: Value) -> Result<Value, ApiError> {
        let world = self.world();
        let foreign = self.foreign();
        let none = Answers::new();
        operation.run(&mut self.context(&world, &foreign, &none), input)
    }

    /// The answer, and the version of the world that has to be served for it.
    fn change(
        &self,
        asked: Asked<'_>,
        _turn: OwnedMutexGuard<()>,
    ) -> Result<(Value, Option<u64>), ApiError> {
        let named = resource_of(&asked.input);
        for _ in 0..CLAIMS {
            let (answer, edits, touched) = match self.work_out(&asked)? {
                Worked::Before(answer) => return Ok((answer, None)),
                Worked::Now(answer, edits, touched) => (answer, edits, touched),
            };
            // Another source took one of the addresses meanwhile: there are others.
            if self.claim(&edits).is_err() {
                continue;
            }
            let version = self.commit(edits, touched)?;
            let resource = made(&answer).or(named).unwrap_or_default();
            audit::taken(asked.asker, asked.operation, &resource);
            return Ok((answer, version));
        }
        Err(in_progress())
    }

    /// What the operation comes to, before anybody knows of it.
    fn work_out(&self, asked: &Asked<'_>) -> Result<Worked, ApiError> {
        let Asked {
            operation,
            input,
            asker: _,
            answers,
        } = asked;
        let attempt = Attempt::of(operation.name(), input);
        let world = self.world();
        let foreign = self.foreign();
        let mut context = self.context(&world, &foreign, answers);
        if let Some(attempt) = &attempt
            && let Some(answer) = attempt.answered(&world, context.now)?
        {
            return Ok(Worked::Before(answer));
        }
        let answer = operation.run(&mut context, input.clone())?;
        let Context {
            mut edits,
            touched,
            now,
            ..
        } = context;
        if let Some(attempt) = attempt {
            edits.extend(attempt.keep(answer.clone(), &world, now));
        }
        Ok(Worked::Now(answer, edits, touched))
    }

    /// Enters the addresses that these edits take, beside all that are there: what they give back is free once they are stored.
    fn claim(&self, edits: &[Edit]) -> Result<(), IpAddr> {
        let coming = edits.iter().flat_map(|edit| match edit {
            Edit::Accelerator(_, Some(record)) => record.addresses().collect::<Vec<IpAddr>>(),
            Edit::Accelerator(_, None)
            | Edit::Listener(..)
            | Edit::Group(..)
            | Edit::Attachment(..)
            | Edit::Byoip(..)
            | Edit::Token(..)
            | Edit::Meta(_) => Vec::new(),
        });
        let all: Vec<IpAddr> = self.world().addresses().chain(coming).collect();
        self.edge.ledger().claim(Source::Api, all)
    }

    /// The store first, then memory, then whoever serves it: the version to be served, when it changes what is served.
    fn commit(
        &self,
        edits: Vec<Edit>,
        touched: Option<AcceleratorId>,
    ) -> Result<Option<u64>, ApiError> {
        let changes: Vec<Change> = edits.iter().map(Edit::to_change).collect();
        let undo = || self.world().before(&edits);
        self.keeper.commit(&changes, undo).map_err(|error| {
            tracing::error!(%error, "the API's store takes no change");
            Exception::InternalServiceError
                .because("The change could not be stored, and was not made.")
        })?;
        let is_served = touched.is_some();
        let (version, ranges, advertised) = {
            let mut world = self.world.write().unwrap_or_else(PoisonError::into_inner);
            world.apply(edits, touched);
            (world.version, world.brought_along(), world.advertised())
        };
        self.edge.bring_along(ranges);
        self.edge.advertise(advertised);
        let ours = self.addresses();
        self.edge.ledger().insist(Source::Api, ours);
        if is_served {
            self.changed.notify_one();
        }
        Ok(is_served.then_some(version))
    }

    fn world(&self) -> RwLockReadGuard<'_, World> {
        self.world.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn context<'a>(
        &'a self,
        world: &'a World,
        (config, foreign): &'a (Arc<Config>, Arc<World>),
        answers: &'a Answers,
    ) -> Context<'a> {
        Context {
            world,
            foreign,
            settings: &self.settings,
            config: config.clone(),
            edge: &*self.edge,
            answers,
            now: Timestamp::now(),
            served: *self.served.borrow(),
            edits: Vec::new(),
            touched: None,
        }
    }

    /// What others made, read anew only when the configuration is another one.
    fn foreign(&self) -> (Arc<Config>, Arc<World>) {
        let config = self.edge.config();
        let mut kept = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((of, world)) if Arc::ptr_eq(of, &config) => (config, world.clone()),
            Some(_) | None => {
                let world = Arc::new(foreign::world(&config, self.started));
                *kept = Some((config.clone(), world.clone()));
                (config, world)
            }
        }
    }

    /// The version of the world and what it asks for.
    pub(crate) fn build(
        &self,
        publisher: &mut Publisher,
        meaning: Meaning<'_>,
    ) -> (u64, Vec<Accelerator>) {
        let world = self.world();
        (
            world.version,
            publisher.build(&world, &self.settings, meaning),
        )
    }

    /// How often AWS is asked about endpoints again; `None` without `[aws]`.
    pub(crate) fn aws_interval(&self) -> Option<Duration> {
        self.edge.config().aws.as_ref().map(|aws| aws.interval)
    }

    /// Asks AWS about every endpoint that it can be asked about, and keeps what has changed.
    pub(crate) async fn refresh(self: &Arc<Self>) {
        let config = self.edge.config();
        let wanted = looked_up::of_records(&self.world(), Meaning::of(&config));
        if wanted.is_empty() {
            return;
        }
        let answers = self.edge.look_up(wanted).await;
        let Some(turn) = self.take_turn().await else {
            return;
        };
        let engine = self.clone();
        let work = move || engine.learn(&answers, turn);
        // Should it panic, the endpoints stay what they were.
        let _ = tokio::task::spawn_blocking(work).await;
    }

    fn learn(&self, answers: &Answers, _turn: OwnedMutexGuard<()>) {
        let changed = looked_up::learnt(&self.world(), answers);
        for (accelerator, edits) in changed {
            tracing::info!(%accelerator, groups = edits.len(), "endpoints are something else in AWS: followed");
            if self.commit(edits, Some(accelerator)).is_err() {
                return;
            }
        }
    }

    /// The data path serves this version.
    pub(crate) fn is_served(&self, version: u64) {
        self.served.send_replace(version);
    }

    /// Something changed since this was asked last.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        self.world().addresses().collect()
    }

    /// Lets the store go between two changes, and makes none from here on.
    pub(crate) async fn release(&self) {
        let turn = self.turn.clone().lock_owned().await;
        self.keeper.release();
        *self.released.lock().unwrap_or_else(PoisonError::into_inner) = Some(turn);
    }

    /// Opens the store again, and goes on making changes. If it cannot be opened each of them is refused.
    pub(crate) async fn take_back(self: Arc<Self>) {
        let work = move || {
            if let Err(error) = self.keeper.take_back() {
                tracing::error!(%error, "the API's store cannot be opened again: nothing can be changed");
            }
            self.released
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
        };
        // It only opens a file; should it panic, changes go on being refused.
        let _ = tokio::task::spawn_blocking(work).await;
    }

    /// Everything that the store holds, between two changes.
    pub(crate) async fn export(self: Arc<Self>) -> Result<Export, ImportError> {
        let turn = self.take_turn().await.ok_or(ImportError::Busy)?;
        let work = move || {
            let records = self.keeper.load();
            drop(turn);
            Ok(Export {
                schema: SCHEMA,
                records: records?,
            })
        };
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or(Err(ImportError::Busy))
    }

    /// Puts an export in the place of everything; gives the number of records.
    pub(crate) async fn import(self: Arc<Self>, export: Export) -> Result<usize, ImportError> {
        if export.schema != SCHEMA {
            return Err(ImportError::Schema(export.schema));
        }
        let turn = self.take_turn().await.ok_or(ImportError::Busy)?;
        let work = move || {
            let mut world = World::load(&export.records)?;
            let settled = world.settle();
            let old = self.keeper.load()?;
            let count = export.records.values().map(BTreeMap::len).sum();
            let mut changes = replacing(&old, &export.records);
            changes.extend(settled.iter().map(Edit::to_change));
            let back = replacing(&export.records, &old);
            self.keeper.commit(&changes, || back)?;
            world.apply(settled.into_iter().collect(), None);
            let mut current = self.world.write().unwrap_or_else(PoisonError::into_inner);
            world.succeed(&current);
            let (ranges, advertised) = (world.brought_along(), world.advertised());
            *current = world;
            drop(current);
            self.edge.bring_along(ranges);
            self.edge.advertise(advertised);
            let ours = self.addresses();
            self.edge.ledger().insist(Source::Api, ours);
            self.changed.notify_one();
            audit::imported(count);
            drop(turn);
            Ok(count)
        };
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or(Err(ImportError::Busy))
    }
}

/// What puts the new records in the place of the old.
fn replacing(old: &Records, new: &Records) -> Vec<Change> {
    let change = |(table, key, value): (Table, &String, Option<&Value>)| Change {
        table,
        key: key.clone(),
        value: value.cloned(),
    };
    let gone = old
        .iter()
        .flat_map(|(table, rows)| rows.keys().map(|key| (*table, key, None)));
    let come = new
        .iter()
        .flat_map(|(table, rows)| rows.iter().map(|(key, value)| (*table, key, Some(value))));
    gone.chain(come).map(change).collect()
}

fn in_progress() -> ApiError {
    let message =
        "There's already a transaction in progress. Another transaction can't be processed.";
    Exception::TransactionInProgress.because(message)
}

/// What a request is about, for the audit.
fn resource_of(value: &Value) -> Option<String> {
    let members = [
        "EndpointGroupArn",
        "ListenerArn",
        "AcceleratorArn",
        "AttachmentArn",
        "ResourceArn",
        "Cidr",
    ];
    members
        .iter()
        .find_map(|member| value.get(member)?.as_str())
        .map(str::to_owned)
}

/// What a create or an update answers about.
fn made(answer: &Value) -> Option<String> {
    let mut shown = answer.as_object()?.values();
    shown.find_map(resource_of)
}
