//! What the edge tells the world: where it is published. One task reads the zone every `interval`, and at once when what is
//! served changes; it puts right what the mode permits, and shows the rest. Nothing waits for it: a PoP leaves DNS by answering 503
//! to Route 53's health checks, not by a write.

pub mod announce;
pub mod fights;
pub mod route53;
mod view;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use portolan_config::model::{Aws, Config, Dns, DnsMode};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{info, warn};

pub use self::view::{DnsChangesView, DnsView};

use self::fights::{Fights, Verdict};
use self::route53::client::Client;
use self::route53::desired::{Desired, Served};
use self::route53::driver::{self, Applied};
use self::route53::health_checks::CheckChange;
use self::route53::ownership::Publisher;
use self::route53::plan::{Action, Counts, FindingKind, Plan};
use crate::aws::session::Calls;
use crate::drains::rfc3339;
use crate::event::EventKind;
use crate::handle::ControlHandle;

/// How often it is looked whether something else is served. Cheap: a comparison of two small structures.
const LOOK: Duration = Duration::from_secs(1);

/// A check that nothing refers to any more is kept so long: answers with it may still be on their way.
const UNUSED_FOR: Duration = Duration::from_secs(15 * 60);

/// A change is asked after for so long; then the next comparison says whether it came true.
const SYNC_WITHIN: Duration = Duration::from_secs(10 * 60);

/// More findings than this say nothing more.
const FINDINGS_SHOWN: usize = 100;

/// What publication and the rest of control know of each other.
#[derive(Debug, Default)]
pub(crate) struct Door {
    view: ArcSwapOption<DnsView>,
    paused: AtomicBool,
}

impl Door {
    /// As it was last seen; `None` without `[dns]`.
    pub(crate) fn view(&self) -> Option<DnsView> {
        self.view.load_full().map(|view| (*view).clone())
    }

    /// What would still have to be changed, in the order of [`Action::ALL`].
    pub(crate) fn changes(&self) -> [usize; 3] {
        let view = self.view.load();
        let changes = view.as_ref().map(|view| view.changes).unwrap_or_default();
        [changes.create, changes.update, changes.delete]
    }

    /// Leaves the zone to a successor, or takes it back.
    pub(crate) fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    fn show(&self, view: Option<DnsView>) {
        self.view.store(view.map(Arc::new));
    }
}

/// What is served here, as far as a configuration says.
pub fn served(config: &Config) -> Served {
    let accelerators = config.accelerators.iter();
    Served {
        pop: config.pop.addresses.clone(),
        accelerators: accelerators
            .map(|a| (a.name.as_str().to_owned(), a.addresses.clone()))
            .collect(),
    }
}

/// Who publishes.
pub fn publisher(config: &Config, dns: &Dns) -> Publisher {
    Publisher {
        owner: dns.owner.clone(),
        pop: config.pop.name.clone(),
    }
}

/// Publishes for as long as it is polled.
pub async fn run(control: ControlHandle) {
    let mut publication = Publication::default();
    let mut last: Option<(Wish, Instant)> = None;
    loop {
        let wish = Wish::of(&control.config());
        let paused = control.dns_door().paused.load(Ordering::Relaxed);
        match (&wish, paused) {
            (None, _) => {
                control.dns_door().show(None);
                last = None;
            }
            (Some(_), true) => {}
            (Some(wish), false) => {
                let is_due = last
                    .as_ref()
                    .is_none_or(|(before, at)| before != wish || at.elapsed() >= wish.dns.interval);
                if is_due {
                    publication.cycle(wish, &control).await;
                    last = Some((wish.clone(), Instant::now()));
                }
            }
        }
        publication.refresh(control.dns_door());
        sleep(LOOK).await;
    }
}

/// All that a comparison depends on.
#[derive(Clone, PartialEq)]
struct Wish {
    dns: Dns,
    aws: Option<Aws>,
    us: Publisher,
    served: Served,
}

impl Wish {
    fn of(config: &Config) -> Option<Wish> {
        let dns = config.dns.clone()?;
        Some(Wish {
            us: publisher(config, &dns),
            served: served(config),
            aws: config.aws.clone(),
            dns,
        })
    }
}

/// What lasts from one comparison to the next.
#[derive(Default)]
struct Publication {
    client: Option<(Option<Aws>, Arc<Client>)>,
    fights: Fights,
    unused_since: HashMap<String, Instant>,
    view: DnsView,
    in_sync: JoinSet<Vec<String>>,
    /// Names found changed by somebody else in this comparison.
    drifted: Vec<String>,
}

impl Publication {
    /// Reads, plans, and writes what may be written.
    async fn cycle(&mut self, wish: &Wish, control: &ControlHandle) {
        let door = control.dns_door();
        self.view.zone = wish.dns.hosted_zone.to_string();
        self.view.owner.clone_from(&wish.dns.owner);
        self.view.mode = wish.dns.mode.as_str().to_owned();
        let error = self.compare(wish, control).await.err();
        // What is still here was not put right.
        self.tell_drifts(control, |_| false);
        if let Some(error) = &error
            && self.view.error.as_ref() != Some(error)
        {
            warn!(zone = self.view.zone, "DNS: {error}");
        }
        self.view.error = error;
        self.refresh(door);
        door.show(Some(self.view.clone()));
    }

    /// Shows which changes are on their way.
    fn refresh(&mut self, door: &Door) {
        let before = self.view.pending;
        while let Some(done) = self.in_sync.try_join_next() {
            if let Ok(late) = done
                && !late.is_empty()
            {
                warn!(changes = ?late, "DNS: changes have not reached all name servers in time");
            }
        }
        self.view.pending = self.in_sync.len();
        if self.view.pending != before && door.view.load().is_some() {
            door.show(Some(self.view.clone()));
        }
    }

    async fn client(
        &mut self,
        aws: Option<&Aws>,
        calls: &Arc<Calls>,
    ) -> Result<Arc<Client>, String> {
        if let Some((of, client)) = &self.client
            && of.as_ref() == aws
        {
            return Ok(Arc::clone(client));
        }
        let opened = Client::open(aws, calls).await;
        let opened = Arc::new(opened.map_err(|error| error.to_string())?);
        self.client = Some((aws.cloned(), Arc::clone(&opened)));
        Ok(opened)
    }

    async fn compare(&mut self, wish: &Wish, control: &ControlHandle) -> Result<(), String> {
        let Wish {
            dns, us, served, ..
        } = wish;
        let client = self
            .client(wish.aws.as_ref(), control.aws().calls())
            .await?;
        let mut observed = driver::observe(&client, dns, us)
            .await
            .map_err(|error| error.to_string())?;
        if observed.new_zone && dns.mode != DnsMode::Observe {
            let zone = client.create_zone(&observed.zone.name, us).await;
            let zone = zone.map_err(|error| error.to_string())?;
            info!(
                zone = zone.name,
                id = zone.id,
                "DNS: the hosted zone is made"
            );
            observed = driver::observe(&client, dns, us)
                .await
                .map_err(|error| error.to_string())?;
        }
        let (desired, plan) = driver::plan_for(dns, us, served, &observed, dns.mode, false);
        self.view.zone_id = Some(observed.zone.id.clone()).filter(|id| !id.is_empty());
        self.view.checked_at = Some(rfc3339(SystemTime::now()));
        self.show(&plan);
        let plan = self.without_fights(plan, &desired, dns.interval, control);
        let deletable = self.deletable(&plan);
        let has_checks = plan.checks.iter().any(|change| match change {
            CheckChange::Create { .. } | CheckChange::Update { .. } => true,
            CheckChange::Delete { id, .. } => deletable.contains(id),
        });
        if dns.mode == DnsMode::Observe || (plan.groups.is_empty() && !has_checks) {
            return Ok(());
        }
        if let Some(shrink) = plan.shrink {
            return Err(format!(
                "{shrink}; nothing is written until `portolan dns apply --plan {} --force`, or the records are back",
                plan.checksum
            ));
        }
        let mut told = |line: &str| info!("DNS: {line}");
        let applied = driver::apply(&client, &plan, us, dns.mode, &deletable, &mut told).await;
        let done: HashSet<&str> = applied.outcome.applied.iter().map(String::as_str).collect();
        self.tell_drifts(control, |name| done.contains(name));
        self.after(&client, &plan, &desired, applied)
    }

    /// Each once, with whether it has been put right.
    fn tell_drifts(&mut self, control: &ControlHandle, corrected: impl Fn(&str) -> bool) {
        for name in self.drifted.drain(..) {
            control.tell(EventKind::DnsDrift {
                zone: self.view.zone.clone(),
                corrected: corrected(&name),
                name,
            });
        }
    }

    /// What the plan says, before any of it is done.
    fn show(&mut self, plan: &Plan) {
        self.view.changes = changes(&plan.counts);
        self.view.owned = plan.counts.owned;
        let told = plan.findings.iter();
        let mut findings: Vec<String> = told.map(ToString::to_string).collect();
        let more = findings.len().saturating_sub(FINDINGS_SHOWN);
        findings.truncate(FINDINGS_SHOWN);
        if more > 0 {
            findings.push(format!("and {more} more"));
        }
        let urgent = plan.findings.iter();
        for finding in urgent.filter(|f| f.kind != FindingKind::Note) {
            let text = finding.to_string();
            if !self.view.findings.contains(&text) && findings.contains(&text) {
                warn!("DNS: {text}");
            }
        }
        self.view.findings = findings;
    }

    /// The plan without names that somebody else keeps changing.
    fn without_fights(
        &mut self,
        mut plan: Plan,
        desired: &Desired,
        interval: Duration,
        control: &ControlHandle,
    ) -> Plan {
        let now = Instant::now();
        let differing: HashSet<&str> = plan.groups.iter().map(|g| g.name.as_str()).collect();
        for (name, sets) in &desired.groups {
            if !differing.contains(name.as_str()) {
                self.fights.settle(name, &fingerprint(sets));
            }
        }
        plan.groups.retain(|group| {
            let sets = desired.groups.get(&group.name);
            let wished = sets.map(|sets| fingerprint(sets)).unwrap_or_default();
            match self.fights.differs(&group.name, &wished, interval, now) {
                Verdict::Ours => true,
                Verdict::Drift => {
                    self.drifted.push(group.name.clone());
                    let name = &group.name;
                    warn!(name, "DNS: somebody else has changed what is ours; it is put right where the mode permits");
                    true
                }
                Verdict::Fight => false,
            }
        });
        self.view.drifts = self.fights.drifts;
        let fighting = self.fights.fighting(now);
        for (name, flips) in &fighting {
            if self.drifted.contains(name) {
                control.tell(EventKind::DnsFight {
                    zone: self.view.zone.clone(),
                    name: name.clone(),
                    flips: *flips,
                });
            }
        }
        let fights: Vec<String> = fighting
            .into_iter()
            .map(|(name, flips)| {
                format!("{name} was changed by somebody else {flips} times: two writers hold it, and it is put right ever more seldom")
            })
            .collect();
        for fight in fights
            .iter()
            .filter(|fight| !self.view.fights.contains(fight))
        {
            warn!("DNS: {fight}");
        }
        self.view.fights = fights;
        plan
    }

    /// Checks that nothing has referred to for long enough.
    fn deletable(&mut self, plan: &Plan) -> HashSet<String> {
        let now = Instant::now();
        let unused: HashSet<&String> = plan
            .checks
            .iter()
            .filter_map(|change| match change {
                CheckChange::Delete { id, .. } => Some(id),
                CheckChange::Create { .. } | CheckChange::Update { .. } => None,
            })
            .collect();
        self.unused_since.retain(|id, _| unused.contains(id));
        for id in unused {
            self.unused_since.entry(id.clone()).or_insert(now);
        }
        let old = self.unused_since.iter();
        old.filter(|(_, since)| now.duration_since(**since) >= UNUSED_FOR)
            .map(|(id, _)| id.clone())
            .collect()
    }

    fn after(
        &mut self,
        client: &Arc<Client>,
        plan: &Plan,
        desired: &Desired,
        applied: Applied,
    ) -> Result<(), String> {
        let Applied {
            outcome,
            check_errors,
        } = applied;
        let done: HashSet<&str> = outcome.applied.iter().map(String::as_str).collect();
        let mut left = Counts::default();
        for group in &plan.groups {
            if done.contains(group.name.as_str()) {
                if let Some(sets) = desired.groups.get(&group.name) {
                    self.fights.settle(&group.name, &fingerprint(sets));
                }
                continue;
            }
            for change in &group.changes {
                match change.action {
                    Action::Create => left.create += 1,
                    Action::Update => left.update += 1,
                    Action::Delete => left.delete += 1,
                }
            }
        }
        self.view.changes = changes(&left);
        if !done.is_empty() {
            self.view.applied_at = Some(rfc3339(SystemTime::now()));
        }
        if !outcome.changes.is_empty() {
            let (client, changes) = (Arc::clone(client), outcome.changes);
            self.in_sync
                .spawn(async move { driver::wait_in_sync(&client, changes, SYNC_WITHIN).await });
        }
        let aside = outcome.set_aside.iter();
        let mut errors: Vec<String> = aside
            .map(|aside| format!("{}: Route 53 refuses it: {}", aside.group, aside.why))
            .collect();
        errors.extend(outcome.stopped);
        errors.extend(check_errors);
        errors.truncate(FINDINGS_SHOWN);
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors.join("; "))
        }
    }
}

fn changes(counts: &Counts) -> DnsChangesView {
    DnsChangesView {
        create: counts.create,
        update: counts.update,
        delete: counts.delete,
    }
}

/// What a name is wished to be: health checks by what they ask, so that a new id is no new wish.
fn fingerprint(sets: &[route53::model::RecordSet]) -> String {
    let parts: BTreeMap<String, String> = sets
        .iter()
        .map(|set| {
            let check = set.health_check.as_ref().map(ToString::to_string);
            let told = format!("{} {}", set.fingerprint(), check.unwrap_or_default());
            (set.key.to_string(), told)
        })
        .collect();
    format!("{parts:?}")
}
