//! The controller's one task: waits for whatever comes first, hands it to [`Core`], publishes. It ends when the last handle
//! is dropped.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use portolan_config::address::EndpointAddr;
use portolan_config::file::Loaded;
use portolan_config::signal::Signal;
use portolan_config::units::{EndpointId, Region};
use portolan_healthcheck::{Checker, NoWayBack, find_way_back};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep_until;

use super::Core;
use super::config_file::{ConfigFile, FileNews};
use super::saver::Saver;
use crate::drains::Drain;
use crate::handle::{
    self, Command, DrainError, DrainOutcome, DrainRequest, ReloadError, ReloadOutcome,
    UndrainRequest,
};
use crate::places::{self, Found};
use crate::reload::Read;
use crate::resolve::Answer;
use crate::resolve::driver::Askers;

/// Order, expiries, and the full resync of everything else.
const TICK: Duration = Duration::from_secs(1);

/// Changes that may wait do so for this long, so that a start with a thousand endpoints makes a few snapshots.
const COALESCE: Duration = Duration::from_millis(5);

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

struct Task {
    core: Core,
    saver: Saver,
    askers: Askers,
    /// A successor has what there was to follow: the file, and what operators want.
    handed_over: bool,
    config_path: Option<PathBuf>,
    asks: JoinSet<(Arc<str>, Answer)>,
    ways_back: JoinSet<(EndpointAddr, Result<(), NoWayBack>)>,
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
        handed_over: false,
        config_path: config_path.clone(),
        asks: JoinSet::new(),
        ways_back: JoinSet::new(),
        file: config_path.map(|path| ConfigFile::new(path, now)),
        next_tick: now + TICK,
        publish_at: None,
    };
    let mut signals_open = true;
    let mut batch = Vec::with_capacity(SIGNALS_A_TURN);
    loop {
        task.ask_names(Instant::now());
        task.ask_ways_back(Instant::now());
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
            Some(found) = task.ways_back.join_next() => {
                if let Ok((to, found)) = found
                    && task.core.way_back(to, found, Instant::now())
                {
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
        let file = self.file.as_ref().map(ConfigFile::next);
        let names = self.core.names().next_due();
        let ways = self.core.next_way_back();
        let moments = [
            self.publish_at,
            self.core.next_verdict(now),
            file,
            names,
            ways,
        ];
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

    fn ask_ways_back(&mut self, now: Instant) {
        for to in self.core.take_ways_back(now) {
            self.ways_back
                .spawn(async move { (to, find_way_back(to).await) });
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
            Command::Know(reply) => {
                let _ = reply.send(Ok(self.core.known(now)));
            }
            Command::HandOver(reply) => self.hand_over(reply),
            Command::TakeBack => self.take_back(now),
            Command::TakeOver(reply) => self.take_over(reply, now),
            Command::Drain(_, reply) | Command::Undrain(_, reply) if self.handed_over => {
                let _ = reply.send(Err(DrainError::Ended));
            }
            Command::DrainPop(_, reply) if self.handed_over => {
                let _ = reply.send(Err(DrainError::Ended));
            }
            Command::Reload(reply) if self.handed_over => {
                let _ = reply.send(Err(ReloadError::Ended));
            }
            Command::Accelerators(source, accelerators, reply) => {
                self.core.set_accelerators(source, accelerators, now);
                self.publish(now);
                let _ = reply.send(Ok(self.core.generation()));
            }
            Command::Fills(fills, hints, reply) => {
                self.core.set_fills(fills, hints, now);
                self.publish(now);
                let _ = reply.send(Ok(()));
            }
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

    /// From here on the file, the state file and what operators want are a successor's affair. Replies once the state file says
    /// what is in force.
    fn hand_over(&mut self, reply: oneshot::Sender<Result<(), DrainError>>) {
        self.handed_over = true;
        self.file = None;
        // Once more only if need be: the disk may take seconds, and the successor waits.
        let saved = (!self.saver.is_saved()).then(|| self.saver.save(self.core.drains().clone()));
        self.saver.leave(true);
        tokio::spawn(async move {
            if let Some(saved) = saved {
                // An error is logged where it happens; the drains in force could not have outlived this process either.
                let _ = saved.await;
            }
            let _ = reply.send(Ok(()));
        });
    }

    /// The successor is none: everything as before.
    fn take_back(&mut self, now: Instant) {
        self.handed_over = false;
        self.saver.leave(false);
        self.file = self
            .config_path
            .clone()
            .map(|path| ConfigFile::new(path, now));
    }

    /// The predecessor writes the state file no more: what it says holds, and is ours.
    fn take_over(&mut self, reply: oneshot::Sender<Result<(), DrainError>>, now: Instant) {
        let (drains, warnings) = handle::load_drains(self.saver.path());
        self.saver.leave(false);
        self.core.take_drains(drains, warnings, now);
        self.publish(now);
        let _ = reply.send(Ok(()));
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
            file.hint(now);
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
            for reply in file.was_read(read.stamp) {
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
        let changed = *self.core.file() != config;
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
