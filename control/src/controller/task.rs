//! The controller's one task: waits for whatever comes first, hands it to [`Core`], publishes. It ends when the last handle
//! is dropped.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use portolan_config::file::Loaded;
use portolan_config::signal::Signal;
use portolan_config::units::{EndpointId, Region};
use portolan_healthcheck::Checker;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep_until;

use super::Core;
use super::saver::Saver;
use crate::drains::Drain;
use crate::handle::{
    Command, DrainError, DrainOutcome, DrainRequest, ReloadError, ReloadOutcome, UndrainRequest,
};
use crate::places::{self, Found};
use crate::reload::{self, Read, Stamp, Watch};
use crate::resolve::Answer;
use crate::resolve::driver::Askers;

/// Order, expiries, and the full resync of everything else.
const TICK: Duration = Duration::from_secs(1);

/// Changes that may wait do so for this long, so that a start with a thousand endpoints makes a few snapshots.
const COALESCE: Duration = Duration::from_millis(5);

/// A file is read this long after the last hint that it changed: whoever writes it may need several steps.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// The file is looked at this often when no hint comes: network file systems give none.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Signals taken in one turn; the rest waits for the next, after everything else had its chance.
const SIGNALS_A_TURN: usize = 256;

/// What the task works with beside the state.
pub(crate) struct Drivers {
    pub(crate) checker: Arc<Checker>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) signals: mpsc::Receiver<Signal>,
    pub(crate) askers: Askers,
    pub(crate) saver: Saver,
    pub(crate) config_path: Option<PathBuf>,
}

/// The file and where its reading stands.
struct ConfigFile {
    path: PathBuf,
    watch: Option<Watch>,
    /// Of the content that was last read.
    stamp: Option<Stamp>,
    /// When to read it.
    due: Option<Instant>,
    next_look: Instant,
    reading: Option<JoinHandle<Read>>,
    /// Who waits for the reading under way, and for the one after it.
    waiting: Vec<oneshot::Sender<Result<ReloadOutcome, ReloadError>>>,
    waiting_next: Vec<oneshot::Sender<Result<ReloadOutcome, ReloadError>>>,
}

enum FileNews {
    /// Something in its folder changed.
    Hint,
    /// A reading has ended.
    Read(Box<Read>),
}

struct Task {
    core: Core,
    saver: Saver,
    askers: Askers,
    asks: JoinSet<(Arc<str>, Answer)>,
    file: Option<ConfigFile>,
    next_tick: Instant,
    publish_at: Option<Instant>,
}

/// Runs until the last handle is dropped.
pub(crate) async fn run(core: Core, drivers: Drivers) {
    let Drivers {
        checker,
        mut commands,
        mut signals,
        askers,
        saver,
        config_path,
    } = drivers;
    let now = Instant::now();
    let mut task = Task {
        core,
        saver,
        askers,
        asks: JoinSet::new(),
        file: config_path.map(|path| ConfigFile::new(path, now)),
        next_tick: now + TICK,
        publish_at: None,
    };
    let mut signals_open = true;
    let mut batch = Vec::with_capacity(SIGNALS_A_TURN);
    loop {
        task.ask_names(Instant::now());
        let deadline = task.deadline(Instant::now());
        tokio::select! {
            () = checker.changed() => task.observe_health(Instant::now()),
            command = commands.recv() => match command {
                Some(command) => task.obey(command, Instant::now()),
                None => return,
            },
            taken = signals.recv_many(&mut batch, SIGNALS_A_TURN), if signals_open => {
                signals_open = taken > 0;
                batch.drain(..).for_each(|signal| task.core.suspect(signal));
            }
            Some(answer) = task.asks.join_next() => {
                if let Ok((name, answer)) = answer {
                    task.core.answered(&name, answer, Instant::now());
                    task.publish_soon(Instant::now());
                }
            }
            news = ConfigFile::news(&mut task.file) => match news {
                FileNews::Hint => task.file_hint(Instant::now()),
                FileNews::Read(read) => task.follow_file(*read, Instant::now()),
            },
            () = sleep_until(deadline.into()) => {}
        }
        task.keep_time(Instant::now());
    }
}

impl Task {
    fn deadline(&mut self, now: Instant) -> Instant {
        let file = self
            .file
            .as_ref()
            .map(|file| file.due.unwrap_or(file.next_look).min(file.next_look));
        let names = self.core.names().next_due();
        let moments = [self.publish_at, self.core.next_verdict(now), file, names];
        moments
            .into_iter()
            .flatten()
            .fold(self.next_tick, Instant::min)
    }

    fn ask_names(&mut self, now: Instant) {
        for name in self.core.names().take_due(now) {
            let asker = self.askers.asker(now);
            self.asks
                .spawn(async move { (name.clone(), asker.ask(name).await) });
        }
    }

    fn observe_health(&mut self, now: Instant) {
        if self.core.observe_health(now) {
            self.publish(now);
        } else {
            self.publish_soon(now);
        }
    }

    fn publish(&mut self, now: Instant) {
        self.publish_at = None;
        self.core.publish(now);
    }

    fn publish_soon(&mut self, now: Instant) {
        self.publish_at.get_or_insert(now + COALESCE);
    }

    /// Does everything that is due.
    fn keep_time(&mut self, now: Instant) {
        if now >= self.next_tick {
            // Not the next multiple: after a stopped clock one tick is enough.
            self.next_tick = now + TICK;
            if self.core.tick(now, SystemTime::now()) {
                drop(self.saver.save(self.core.drains().clone()));
            }
            self.publish(now);
        }
        if self.publish_at.is_some_and(|at| now >= at) || self.core.next_verdict(now).is_some() {
            self.publish(now);
        }
        if let Some(file) = &mut self.file {
            file.keep_time(now);
        }
    }

    fn obey(&mut self, command: Command, now: Instant) {
        match command {
            Command::Drain(request, reply) => self.drain(request, reply, now),
            Command::Undrain(request, reply) => self.undrain(request, reply, now),
            Command::DrainPop(draining, reply) => {
                self.core.drain_pop(draining);
                self.core.share();
                let saved = self.saver.save(self.core.drains().clone());
                reply_when_saved(saved, reply, |_| Ok(()));
            }
            Command::Reload(reply) => match &mut self.file {
                Some(file) => file.ask(reply),
                None => {
                    let _ = reply.send(Err(ReloadError::NoFile));
                }
            },
        }
    }

    fn drain(
        &mut self,
        request: DrainRequest,
        reply: oneshot::Sender<Result<DrainOutcome, DrainError>>,
        now: Instant,
    ) {
        let DrainRequest {
            endpoint,
            region,
            for_,
        } = request;
        let found = places::find(self.core.layout(), &endpoint, region.as_deref());
        if found.places.is_empty() {
            let near = places::near(self.core.layout(), &endpoint, region.as_deref());
            let _ = reply.send(Err(DrainError::UnknownEndpoint {
                endpoint,
                region,
                near,
            }));
            return;
        }
        let (id, in_region) = (EndpointId::new(endpoint.as_str()), region.map(Region::new));
        let Some(drain) = self
            .core
            .drain(id, in_region, for_, (now, SystemTime::now()))
        else {
            let _ = reply.send(Err(DrainError::TooMany {
                limit: crate::drains::MOST_DRAINS,
            }));
            return;
        };
        self.publish(now);
        let saved = self.saver.save(self.core.drains().clone());
        reply_when_saved(saved, reply, move |not_saved| {
            Ok(outcome(endpoint, found, Some(drain), not_saved))
        });
    }

    fn undrain(
        &mut self,
        request: UndrainRequest,
        reply: oneshot::Sender<Result<DrainOutcome, DrainError>>,
        now: Instant,
    ) {
        let UndrainRequest { endpoint, region } = request;
        let (id, in_region) = (
            EndpointId::new(endpoint.as_str()),
            region.clone().map(Region::new),
        );
        if !self.core.undrain(&id, in_region.as_ref(), now) {
            let known = !places::find(self.core.layout(), &endpoint, region.as_deref())
                .places
                .is_empty();
            let near = places::near(self.core.layout(), &endpoint, region.as_deref());
            let _ = reply.send(Err(match known {
                true => DrainError::NotDraining { endpoint, region },
                false => DrainError::UnknownEndpoint {
                    endpoint,
                    region,
                    near,
                },
            }));
            return;
        }
        self.publish(now);
        let found = places::find(self.core.layout(), &endpoint, region.as_deref());
        let saved = self.saver.save(self.core.drains().clone());
        reply_when_saved(saved, reply, move |not_saved| {
            Ok(outcome(endpoint, found, None, not_saved))
        });
    }

    fn file_hint(&mut self, now: Instant) {
        if let Some(file) = &mut self.file {
            // The first hint counts: a folder that never rests, such as one with a log in it, must not put the reading off for ever.
            file.due.get_or_insert(now + DEBOUNCE);
        }
    }

    fn follow_file(&mut self, read: Read, now: Instant) {
        let before = self.core.config_generation();
        let result = match read.outcome {
            Ok(Loaded { config, warnings }) => {
                let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
                self.take_config(config, warnings, now);
                Ok(ReloadOutcome {
                    generation: self.core.config_generation(),
                    changed: self.core.config_generation() != before,
                    warnings: self.core.warnings(),
                })
            }
            Err(errors) => {
                tracing::error!("the configuration stays as it is, the file is broken:\n{errors}");
                self.core.note_reload(Some(errors.clone()), false);
                Err(ReloadError::Refused(errors))
            }
        };
        if let Some(file) = &mut self.file {
            file.stamp = read.stamp;
            for reply in file.take_waiting() {
                let _ = reply.send(result.clone());
            }
        }
    }

    fn take_config(
        &mut self,
        config: portolan_config::model::Config,
        warnings: Vec<String>,
        now: Instant,
    ) {
        let changed = **self.core.config() != config;
        if changed {
            self.askers
                .use_nameservers(&config.resolver.nameservers, now);
            self.core
                .configure(config, warnings, now, SystemTime::now());
            self.publish(now);
            tracing::info!(
                "configuration {} is in force",
                self.core.config_generation()
            );
        }
        self.core.note_reload(None, changed);
    }
}

fn outcome(
    endpoint: String,
    found: Found,
    drain: Option<Drain>,
    not_saved: Option<String>,
) -> DrainOutcome {
    DrainOutcome {
        endpoint,
        places: found.places,
        active_flows: found.active_flows,
        until: drain.and_then(|drain| drain.view().until),
        not_saved,
    }
}

/// Replies once the state file is written; the change itself is in force already.
fn reply_when_saved<T: Send + 'static>(
    saved: JoinHandle<Option<String>>,
    reply: oneshot::Sender<T>,
    make: impl FnOnce(Option<String>) -> T + Send + 'static,
) {
    tokio::spawn(async move {
        let not_saved = saved.await.unwrap_or_else(|error| Some(error.to_string()));
        let _ = reply.send(make(not_saved));
    });
}

impl ConfigFile {
    fn new(path: PathBuf, now: Instant) -> ConfigFile {
        let watch = Watch::start(&path)
            .inspect_err(|error| {
                let every = LOOK_EVERY.as_secs();
                tracing::warn!(
                    "{}: looked at every {every} s, for it cannot be watched: {error}",
                    path.display()
                );
            })
            .ok();
        ConfigFile {
            path,
            watch,
            // It was read before anybody watched it: once more, in case it changed in between.
            stamp: None,
            due: Some(now),
            next_look: now + LOOK_EVERY,
            reading: None,
            waiting: Vec::new(),
            waiting_next: Vec::new(),
        }
    }

    /// The next thing to know about the file; never when there is none.
    async fn news(file: &mut Option<ConfigFile>) -> FileNews {
        let Some(ConfigFile {
            watch,
            reading,
            stamp,
            ..
        }) = file
        else {
            return std::future::pending().await;
        };
        let hint = async {
            match watch {
                Some(watch) => watch.hint().await,
                None => std::future::pending().await,
            }
        };
        let read = async {
            match reading {
                Some(reading) => reading.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = hint => FileNews::Hint,
            read = read => FileNews::Read(Box::new(read.unwrap_or_else(|error| Read {
                stamp: *stamp,
                outcome: Err(error.to_string()),
            }))),
        }
    }

    fn keep_time(&mut self, now: Instant) {
        if now >= self.next_look {
            self.next_look = now + LOOK_EVERY;
            self.due.get_or_insert(now);
        }
        if self.due.is_some_and(|due| now >= due) {
            self.due = None;
            let stamp = Stamp::of(&self.path);
            if stamp.is_some() && stamp != self.stamp && self.reading.is_none() {
                self.begin();
            }
        }
    }

    fn begin(&mut self) {
        let path = self.path.clone();
        self.reading = Some(tokio::task::spawn_blocking(move || reload::read(path)));
    }

    /// Reads it now, whatever its stamp. A reading under way may have begun before the change that is asked for.
    fn ask(&mut self, reply: oneshot::Sender<Result<ReloadOutcome, ReloadError>>) {
        if self.reading.is_some() {
            self.waiting_next.push(reply);
        } else {
            self.waiting.push(reply);
            self.begin();
        }
    }

    /// A reading has ended: who waited for it. Begins the next one, if somebody waits for that.
    fn take_waiting(&mut self) -> Vec<oneshot::Sender<Result<ReloadOutcome, ReloadError>>> {
        self.reading = None;
        let waited = std::mem::replace(&mut self.waiting, std::mem::take(&mut self.waiting_next));
        if !self.waiting.is_empty() {
            self.begin();
        }
        waited
    }
}
