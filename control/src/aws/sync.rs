//! The sync's loop: read, plan, keep, serve, tell; again every `interval`. It owns its clock and its session; what it decides is
//! [`plan::cycle`]'s. Traffic never waits for it, and its end changes nothing that is served.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use portolan_config::model::{Accelerator, Aws, Config, Source};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::map::{self, Advice, Allocations, Desired, Settings};
use super::plan::{self, Action, Change, Known};
use super::session::{CallError, Session};
use super::status::{AwsView, Published, Wish, told};
use super::walk::{Gathered, walk};
use super::{advice, cache};
use crate::ControlHandle;
use crate::event::EventKind;

/// One wish says as much as many.
const PENDING_WISHES: usize = 1;

/// How often it is looked whether the file asks for AWS when it did not.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Advice is not asked for more often: it takes two calls a load balancer and more.
const ADVICE_EVERY: Duration = Duration::from_secs(60);

/// Older advice is none.
const ADVICE_GOOD_FOR: Duration = Duration::from_secs(300);

/// What was known when the process before ended.
pub struct Restored {
    path: PathBuf,
    known: Known,
}

impl Restored {
    /// Reads the last good answer. One that cannot be read is moved aside and told; the one before it stands in.
    pub fn open(config: &Config) -> Self {
        let path = cache::path(&config.store);
        let known = match cache::load(&path) {
            Ok(known) => known,
            Err(error) => {
                let aside = match cache::put_aside(&path) {
                    Ok(aside) => format!("it was moved to {}", aside.display()),
                    Err(error) => format!("it could not be moved aside: {error}"),
                };
                let before = cache::load_before(&path);
                let instead = match before.is_some() {
                    true => "the answer before it is served",
                    false => "nothing of AWS is served until it answers",
                };
                tracing::error!("what AWS said last is lost: {error}; {aside}; {instead}");
                before.unwrap_or_default()
            }
        };
        let known = begun_anew(known, SystemTime::now());
        Self { path, known }
    }

    /// What is served until AWS is asked, and for as long as it does not answer.
    pub fn accelerators(&mut self, config: &Config) -> Vec<Accelerator> {
        let Some(aws) = config.aws.as_ref().filter(|aws| aws.import) else {
            return Vec::new();
        };
        let settings = Settings {
            keys: self.known.keys.clone(),
            ..settings(aws, config)
        };
        map::desired(
            &self.known.picture,
            &settings,
            &Advice::default(),
            &mut self.known.allocations,
        )
        .accelerators
    }
}

/// Another process's clock confirms nothing here: losses wait anew, and an answer that is yet to come has no age.
fn begun_anew(mut known: Known, now: SystemTime) -> Known {
    for held in known.held.values_mut() {
        held.since = now;
        held.cycles = 0;
    }
    known.read_at = known.read_at.filter(|read_at| *read_at <= now);
    known
}

/// What the file says that the plan needs. `config` may hold every source's accelerators.
pub(crate) fn settings(aws: &Aws, config: &Config) -> Settings {
    let others = || {
        config
            .accelerators
            .iter()
            .filter(|accelerator| accelerator.source != Source::Aws)
    };
    let mut taken: BTreeSet<IpAddr> = others()
        .flat_map(|accelerator| accelerator.addresses.iter().copied())
        .collect();
    taken.extend(&config.pop.addresses);
    taken.extend(aws.addresses.iter().flat_map(|(_, addresses)| addresses));
    Settings {
        reach: aws.reach,
        aliases: config.endpoint_aliases.clone(),
        addresses: aws.addresses.clone(),
        pool: config
            .api
            .as_ref()
            .map(|api| api.address_pool.clone())
            .unwrap_or_default(),
        taken,
        named: others()
            .map(|accelerator| accelerator.name.to_string())
            .collect(),
        keys: map::Keys::new(),
    }
}

/// The loop. It ends when the future is dropped; must be polled within a tokio runtime.
pub async fn run(control: ControlHandle, restored: Restored) {
    let (sender, wishes) = mpsc::channel(PENDING_WISHES);
    control.aws().open(sender);
    let Restored { path, known } = restored;
    let task = Task {
        events: control.events(),
        control,
        path,
        saved: Some(known.clone()),
        known,
        session: None,
        advice: Advice::default(),
        advised_at: None,
        advisers: JoinSet::new(),
        cycle: 0,
        fulfilled: 0,
        last: Last::default(),
    };
    task.run(wishes).await;
}

struct Task {
    control: ControlHandle,
    events: broadcast::Receiver<crate::event::Event>,
    path: PathBuf,
    known: Known,
    /// What is on disk.
    saved: Option<Known>,
    session: Option<(Aws, Session)>,
    advice: Advice,
    /// When it was last asked for, and last whole.
    advised_at: Option<Instant>,
    advisers: JoinSet<(Advice, Vec<CallError>)>,
    cycle: u64,
    /// The ticket of the last wish that was fulfilled.
    fulfilled: u64,
    last: Last,
}

/// What the last reading had to tell.
#[derive(Default)]
struct Last {
    errors: Vec<String>,
    remarks: Vec<String>,
}

/// Why the loop woke.
enum Woken {
    Due,
    Asked(Wish),
    FileChanged,
    Advised((Advice, Vec<CallError>)),
    /// Nobody can ask any more: the process ends.
    Over,
}

impl Task {
    async fn run(mut self, mut wishes: mpsc::Receiver<Wish>) {
        self.serve().await;
        let mut due = Instant::now();
        loop {
            let woken = self.wake(due, &mut wishes).await;
            let (accept, ticket) = match woken {
                Woken::Over => return,
                Woken::FileChanged => {
                    self.serve().await;
                    // Another [aws] may ask another account: at once.
                    due = if self.session_fits() {
                        due
                    } else {
                        Instant::now()
                    };
                    continue;
                }
                Woken::Advised((advice, errors)) => {
                    self.take_advice(advice, &errors);
                    self.serve().await;
                    continue;
                }
                Woken::Due => (false, self.fulfilled),
                Woken::Asked(Wish::Sync {
                    accept_shrink,
                    ticket,
                }) => (accept_shrink, ticket),
            };
            due = match self.aws() {
                Some(aws) if !self.control.aws().is_paused() => {
                    self.read(&aws, accept, ticket).await;
                    self.ask_for_advice();
                    Instant::now() + spread(aws.interval, rand::random())
                }
                Some(_) => Instant::now() + LOOK_AGAIN,
                None => {
                    self.serve().await;
                    Instant::now() + LOOK_AGAIN
                }
            };
        }
    }

    async fn wake(&mut self, due: Instant, wishes: &mut mpsc::Receiver<Wish>) -> Woken {
        loop {
            tokio::select! {
                () = sleep_until(due.into()) => return Woken::Due,
                wish = wishes.recv() => return wish.map_or(Woken::Over, Woken::Asked),
                Some(advised) = self.advisers.join_next() => {
                    if let Ok(advised) = advised {
                        return Woken::Advised(advised);
                    }
                }
                event = self.events.recv() => match event {
                    Ok(event) => if let EventKind::Reload { error: None, .. } = event.what {
                        return Woken::FileChanged;
                    },
                    Err(broadcast::error::RecvError::Lagged(_)) => return Woken::FileChanged,
                    Err(broadcast::error::RecvError::Closed) => return Woken::Over,
                },
            }
        }
    }

    fn aws(&self) -> Option<Aws> {
        self.control.config().aws.clone().filter(|aws| aws.import)
    }

    fn session_fits(&self) -> bool {
        let aws = self.aws();
        self.session.as_ref().map(|(of, _)| of) == aws.as_ref()
    }

    async fn session(&mut self, aws: &Aws) -> Session {
        if let Some((of, session)) = &self.session
            && of == aws
        {
            return session.clone();
        }
        let session = Session::open(aws).await;
        let session = session.counting(self.control.aws().calls().clone());
        self.session = Some((aws.clone(), session.clone()));
        session
    }

    async fn read(&mut self, aws: &Aws, accept: bool, ticket: u64) {
        let session = self.session(aws).await;
        let aliases = self.control.config().endpoint_aliases.clone();
        let Gathered {
            reading,
            errors,
            remarks,
        } = walk(&session, aws, &aliases, &self.known.picture).await;
        errors
            .iter()
            .for_each(|error| self.control.aws().count(error.class()));
        let settings = settings(aws, &self.control.config());
        let now = self.control.aws().clock().now();
        let outcome = plan::cycle(&self.known, &reading, &settings, accept, now);
        self.known = outcome.known;
        self.cycle += 1;
        self.fulfilled = ticket;
        let before = std::mem::take(&mut self.last);
        self.last = Last {
            errors: told(errors.iter().map(ToString::to_string)),
            remarks: told(remarks.into_iter()),
        };
        self.tell(&outcome.changes, &before);
        self.serve().await;
        self.save().await;
    }

    fn tell(&self, changes: &[Change], before: &Last) {
        for Change {
            what,
            action,
            detail,
        } in changes
        {
            match action {
                Action::Add => tracing::info!("AWS: new: {what}: {detail}"),
                Action::Change => tracing::info!("AWS: {what}: {detail}"),
                Action::Remove => tracing::warn!("AWS: gone, it drains: {what}"),
                Action::Hold => tracing::warn!("AWS: gone there, kept here: {what}: {detail}"),
            }
        }
        if self.last.errors != before.errors {
            self.last
                .errors
                .iter()
                .for_each(|error| tracing::warn!("AWS: {error}; what is served stays"));
            if self.last.errors.is_empty() {
                tracing::info!("AWS answers again");
            }
        }
    }

    /// Puts what is known into desired state, and into what others see.
    async fn serve(&mut self) {
        let config = self.control.config();
        let Some(aws) = config.aws.as_ref().filter(|aws| aws.import) else {
            self.control.aws().publish(None);
            self.control.ledger().insist(Source::Aws, []);
            self.control.set_accelerators(Source::Aws, Vec::new()).await;
            self.control.set_fills(Vec::new(), Vec::new()).await;
            return;
        };
        let settings = settings(aws, &config);
        let Desired {
            accelerators,
            fills,
            hints,
            notes,
            unreached,
        } = self.desired(&settings);
        let known = &self.known;
        let view = AwsView {
            account: known.picture.account.clone(),
            cycle: self.cycle,
            fulfilled: self.fulfilled,
            accelerators: accelerators.len(),
            errors: self.last.errors.clone(),
            held: plan::waiting(known, &settings),
            notes,
            remarks: self.last.remarks.clone(),
            ..AwsView::default()
        };
        self.control
            .set_accelerators(Source::Aws, accelerators)
            .await;
        self.control.set_fills(fills, hints).await;
        self.control.aws().publish(Some(Published {
            view,
            read_at: known.read_at,
            unreached,
        }));
    }

    /// What the picture comes to. Addresses of the pool are entered before anybody hears of them; when another source was faster,
    /// others are taken.
    fn desired(&mut self, settings: &Settings) -> Desired {
        let none = Advice::default();
        let is_good = self
            .advised_at
            .is_some_and(|at| at.elapsed() < ADVICE_GOOD_FOR);
        let advice = if is_good { &self.advice } else { &none };
        let ledger = self.control.ledger();
        // Each time around somebody else has got some of a pool that ends.
        loop {
            let mut settings = settings.clone();
            settings.keys.clone_from(&self.known.keys);
            settings.taken.extend(ledger.of_others(Source::Aws));
            let mut allocations = self.known.allocations.clone();
            allocations.retain(|_, kept| kept.iter().all(|ip| !settings.taken.contains(ip)));
            let desired = map::desired(&self.known.picture, &settings, advice, &mut allocations);
            let given = allocations.values().flatten().copied();
            if ledger.claim(Source::Aws, given).is_ok() {
                self.known.allocations = allocations;
                return desired;
            }
        }
    }

    async fn save(&mut self) {
        if self.saved.as_ref() == Some(&self.known) {
            return;
        }
        let (path, known) = (self.path.clone(), self.known.clone());
        let written =
            tokio::task::spawn_blocking(move || cache::save(&path, &known).map(|()| known)).await;
        match written {
            Ok(Ok(known)) => self.saved = Some(known),
            Ok(Err(error)) => {
                tracing::error!(
                    "{}: what AWS said would not outlive this process: {error}",
                    self.path.display()
                );
            }
            // The thread ended with the process.
            Err(_) => {}
        }
    }

    fn ask_for_advice(&mut self) {
        let is_due = self
            .advised_at
            .is_none_or(|at| at.elapsed() >= ADVICE_EVERY);
        let Some((_, session)) = self
            .session
            .as_ref()
            .filter(|_| is_due && self.advisers.is_empty())
        else {
            return;
        };
        let (session, picture) = (session.clone(), Arc::new(self.known.picture.clone()));
        self.advisers
            .spawn(async move { advice::gather(&session, &picture).await });
    }

    fn take_advice(&mut self, advice: Advice, errors: &[CallError]) {
        // Counted, but not told beside the reading's errors: it is advice.
        errors
            .iter()
            .for_each(|error| self.control.aws().count(error.class()));
        self.advice = advice;
        self.advised_at = Some(Instant::now());
    }
}

/// Up to a fifth more or less, so that PoPs do not all ask at once; `chance` is from 0 to 1.
fn spread(interval: Duration, chance: f64) -> Duration {
    interval.mul_f64(0.8 + 0.4 * chance.clamp(0.0, 1.0))
}

/// Reads AWS once and says what would change against the last good answer. Changes nothing.
pub async fn plan_once(config: &Config) -> Result<Planned, cache::CacheError> {
    once(config, false).await.map(|(planned, _)| planned)
}

/// The same, and keeps the answer for the next start.
pub async fn sync_once(config: &Config, accept: bool) -> Result<Planned, SyncError> {
    let (planned, known) = once(config, accept).await?;
    let path = cache::path(&config.store);
    cache::save(&path, &known).map_err(|source| SyncError::Save { path, source })?;
    Ok(planned)
}

/// Why a sync without a running edge failed.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The last answer cannot be read.
    #[error(transparent)]
    Load(#[from] cache::CacheError),
    /// The answer cannot be kept.
    #[error("{}: {source}", path.display())]
    Save {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What a reading would come to.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Planned {
    /// The account.
    pub account: Option<String>,
    /// What would change, and what would wait.
    pub changes: Vec<Change>,
    /// What is not served or not reached.
    pub notes: Vec<map::Note>,
    /// What could not be read.
    pub errors: Vec<String>,
    /// What makes no sense.
    pub remarks: Vec<String>,
    /// Everything was read to its end.
    pub whole: bool,
}

async fn once(config: &Config, accept: bool) -> Result<(Planned, Known), cache::CacheError> {
    let known = cache::load(&cache::path(&config.store))?;
    let Some(aws) = &config.aws else {
        let planned = Planned {
            account: None,
            changes: Vec::new(),
            notes: Vec::new(),
            errors: vec!["the file has no [aws]".to_owned()],
            remarks: Vec::new(),
            whole: false,
        };
        return Ok((planned, known));
    };
    let session = Session::open(aws).await;
    let Gathered {
        reading,
        errors,
        remarks,
    } = walk(&session, aws, &config.endpoint_aliases, &known.picture).await;
    let settings = settings(aws, config);
    let mut outcome = plan::cycle(&known, &reading, &settings, accept, SystemTime::now());
    let mut allocations: Allocations = outcome.known.allocations.clone();
    let settings = Settings {
        keys: outcome.known.keys.clone(),
        ..settings
    };
    let desired = map::desired(
        &outcome.known.picture,
        &settings,
        &Advice::default(),
        &mut allocations,
    );
    outcome.known.allocations = allocations;
    let planned = Planned {
        account: reading.account.clone(),
        changes: outcome.changes,
        notes: desired.notes,
        whole: reading.is_whole() && errors.is_empty(),
        errors: told(errors.iter().map(ToString::to_string)),
        remarks: told(remarks.into_iter()),
    };
    Ok((planned, outcome.known))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::guard::Held;
    use super::super::map::Unit;
    use super::*;

    #[test]
    fn a_restart_begins_every_wait_anew_and_believes_no_date_to_come() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let held = Held {
            lost: BTreeSet::new(),
            reason: "much".into(),
            since: SystemTime::UNIX_EPOCH,
            cycles: 99,
        };
        let known = Known {
            held: [(Unit::accelerator("a"), held)].into(),
            read_at: Some(now + Duration::from_secs(1)),
            ..Known::default()
        };
        let begun = begun_anew(known, now);
        let held = begun.held.values().next().expect("it still waits");
        assert_eq!((held.since, held.cycles), (now, 0));
        assert_eq!(begun.read_at, None);
    }
}
