//! Anycast: the accelerators' addresses announced to routers for exactly as long as this PoP can serve them. A task looks at what is
//! served, checks its own listeners, and carries the picture to an interface, to BIRD, or to a program. Nothing waits for it, and
//! it stops no traffic: what cannot be announced or withdrawn is told and tried again.

mod bird;
mod checks;
mod exec;
mod interface;
mod pace;
mod plan;
mod room;
mod tun;
mod view;

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use ipnet::{IpNet, Ipv4Net};
use portolan_config::model::{Accelerator, Announce, Bird, Config, Protocol, Source};
use tokio::time::sleep;
use tracing::{info, warn};

pub use self::view::{AnnounceView, PrefixView};

use self::checks::{Checks, Question};
use self::interface::Interface;
use self::pace::Pace;
use self::plan::{Machine, Mood, Picture, Times};
use self::room::Room;
use crate::advertised::Ranges;
use crate::drains::rfc3339;
use crate::handle::{Announcing, ControlHandle};

/// How often it is looked: bounds how long a change of mind takes, and costs a comparison of small structures.
const LOOK: Duration = Duration::from_millis(100);

/// At a start nothing that a predecessor announced is touched before every address was checked, or this long.
const FIRST_CHECKS: Duration = Duration::from_secs(5);

/// What the announcer and the rest of control know of each other.
#[derive(Debug, Default)]
pub(crate) struct Door {
    view: ArcSwapOption<AnnounceView>,
    announced: AtomicUsize,
    /// The process ends, and the addresses are to be left.
    ending: AtomicBool,
    /// Nothing is announced any more.
    is_out: AtomicBool,
    /// The predecessor's interface until it is used; then ours, for a successor.
    tun: Mutex<Option<OwnedFd>>,
}

impl Door {
    /// As it stands; `None` without `[announce]`.
    pub(crate) fn view(&self) -> Option<AnnounceView> {
        self.view.load_full().map(|view| (*view).clone())
    }

    /// Prefixes that are announced.
    pub(crate) fn announced(&self) -> usize {
        self.announced.load(Ordering::Relaxed)
    }
}

impl ControlHandle {
    /// The interface of a predecessor, which goes on.
    pub fn inherit_interface(&self, tun: Option<OwnedFd>) {
        *lock(&self.announce_door().tun) = tun;
    }

    /// What holds the interface in life, for a successor.
    pub fn share_interface(&self) -> Option<OwnedFd> {
        let tun = lock(&self.announce_door().tun);
        tun.as_ref().and_then(|tun| tun.try_clone().ok())
    }

    /// Leaves every address, and returns when none is announced any more, or after the file's `drain` and a little.
    pub async fn leave_addresses(&self) {
        let door = self.announce_door();
        let Some(announce) = self.config().announce.clone() else {
            return;
        };
        door.ending.store(true, Ordering::Relaxed);
        let end = Instant::now() + announce.drain + Duration::from_secs(2);
        while !door.is_out.load(Ordering::Relaxed) && Instant::now() < end {
            sleep(LOOK / 4).await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Announces for as long as it is polled.
pub async fn run(control: ControlHandle) {
    let mut announcer = Announcer::new();
    loop {
        let config = control.config();
        match &config.announce {
            None => {
                announcer.stop(&control, &config).await;
                announcer = Announcer::new();
            }
            Some(announce) => announcer.look(&control, &config, announce).await,
        }
        sleep(LOOK).await;
    }
}

/// What lasts from one look to the next.
struct Announcer {
    began: Instant,
    machine: Machine,
    checks: Checks,
    interface: Option<Interface>,
    /// Why the addresses do not stand on it, though the ways beside it may go on.
    unfounded: Option<String>,
    room: Room,
    /// What the ways were told.
    pace: Pace,
    /// Numbers BIRD's files. From the clock, so that a successor's are others.
    number: u64,
    changed_at: Option<String>,
}

impl Announcer {
    fn new() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            began: Instant::now(),
            machine: Machine::default(),
            checks: Checks::default(),
            interface: None,
            unfounded: None,
            room: Room::default(),
            pace: Pace::default(),
            // BIRD's integers have 32 bits.
            number: since_epoch.as_secs() % (1 << 31),
            changed_at: None,
        }
    }

    async fn look(&mut self, control: &ControlHandle, config: &Config, announce: &Announce) {
        let door = control.announce_door();
        let now = Instant::now();
        let seen = control.announcing();
        let advertised = control.advertised().borrow().clone();
        let wanted = wanted(config, &advertised, &|ip| control.is_brought_along(ip));
        let hosts = hosts(config);
        let unfounded = self.stand(&wanted, &hosts, announce, door).err();
        warn_of(self.unfounded.as_deref(), unfounded.as_deref());
        self.unfounded = unfounded;
        // Where the interface alone announces, an address that is not announced is on no interface that could be asked.
        let stands = |prefix: &IpNet| {
            let carried = self.interface.as_ref().map(|i| i.carries(prefix));
            !is_alone(announce) || carried.unwrap_or(false)
        };
        let is_short = self.room.is_short(seen.refused, now);
        let questions = questions(config, &wanted, &seen, is_short, stands);
        self.checks.go_on(&questions, announce.self_check);
        let mood = match seen.draining || door.ending.load(Ordering::Relaxed) {
            true => Mood::Leaving,
            false => Mood::Serving,
        };
        let times = Times {
            drain: announce.drain,
            hold: announce.hold,
        };
        let checks = &self.checks;
        let of = |prefix: &IpNet| match prefix.prefix_len() == prefix.max_prefix_len() {
            true => checks.of(&prefix.addr()),
            // A whole range goes with the process and the API's word, not with one address in it.
            false => plan::Check::Passes,
        };
        let picture = self.machine.step(&wanted, of, mood, times, now);
        self.apply(config, announce, &picture, now).await;
        self.show(door, announce, now);
        let done = self.pace.is_taken(announce, &picture);
        door.is_out
            .store(done && picture.is_empty(), Ordering::Relaxed);
        if done {
            control.announces(Some(ranges(&picture)));
        }
    }

    /// With BIRD or a program beside it the interface carries every address that is served: flows of an address that is withdrawn go
    /// on. Alone it carries what is announced, which [`Announcer::apply`] sees to.
    fn stand(
        &mut self,
        wanted: &BTreeSet<IpNet>,
        hosts: &BTreeSet<IpNet>,
        announce: &Announce,
        door: &Door,
    ) -> Result<(), String> {
        let Some(name) = &announce.interface else {
            self.interface = None;
            *lock(&door.tun) = None;
            return Ok(());
        };
        if self.interface.as_ref().is_none_or(|i| i.name() != name) {
            // What is there of an interface of ours has another name.
            let inherited = lock(&door.tun).take().filter(|_| self.interface.is_none());
            let made = Interface::open(name, inherited).map_err(|error| error.to_string())?;
            *lock(&door.tun) = made.share().ok();
            info!(
                interface = name,
                "the accelerators' addresses stand on an interface of this process"
            );
            self.interface = Some(made);
        }
        if is_alone(announce) {
            return Ok(());
        }
        let served = wanted | hosts;
        let carried = self.interface.as_mut().map(|i| i.carry(&served));
        carried.unwrap_or(Ok(())).map_err(|error| error.to_string())
    }

    /// Has the ways take up the picture, when it is another one, or when they should be asked whether they still have it.
    async fn apply(
        &mut self,
        config: &Config,
        announce: &Announce,
        picture: &Picture,
        now: Instant,
    ) {
        let stands_nowhere = is_alone(announce) && self.interface.is_none();
        if stands_nowhere || !self.pace.is_due(announce, picture, now) {
            return;
        }
        let mut standings = self.machine.standings(now).into_iter();
        let waits = standings.any(|(_, standing)| standing.state == "waiting");
        if self.pace.taken().is_none() && waits && self.began.elapsed() < FIRST_CHECKS {
            return;
        }
        if let Some(before) = self.pace.settings().cloned() {
            self.leave(config, &before, Some(announce)).await;
        }
        let is_new = !self.pace.is_taken(announce, picture);
        let error = self.carry(config, announce, picture, is_new).await.err();
        warn_of(self.pace.error(), error.as_deref());
        if is_new && error.is_none() {
            self.changed_at = Some(rfc3339(SystemTime::now()));
            tell(self.pace.taken(), picture);
        }
        self.pace.tried(announce, picture, error, now);
    }

    async fn carry(
        &mut self,
        config: &Config,
        announce: &Announce,
        picture: &Picture,
        is_new: bool,
    ) -> Result<(), String> {
        let anew = is_new || self.pace.error().is_some();
        if is_alone(announce)
            && let Some(interface) = &mut self.interface
        {
            let prefixes = standing(picture, &hosts(config));
            interface
                .carry(&prefixes)
                .map_err(|error| error.to_string())?;
        }
        if let Some(ways) = &announce.bird {
            let verified = bird::verify(&ways.socket, &ways.include, self.number);
            if anew || verified.await.is_err() {
                self.write(ways, announce, picture).await?;
            }
        }
        if let Some(command) = &announce.exec
            && anew
        {
            let applied = exec::apply(command, picture, &config.pop.name).await;
            applied.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    async fn write(
        &mut self,
        ways: &Bird,
        announce: &Announce,
        picture: &Picture,
    ) -> Result<(), String> {
        self.number = (self.number + 1) % (1 << 31);
        let (asn, prepend) = (announce.asn, announce.prepend);
        let alone = announce.interface.is_none();
        let text = bird::render(picture, self.number, asn, prepend, alone);
        let applied = bird::apply(&ways.socket, &ways.include, &text, self.number);
        applied.await.map_err(|error| error.to_string())
    }

    /// Withdraws everything by those ways of `before` that there are no more: nobody would tell them later.
    async fn leave(&mut self, config: &Config, before: &Announce, after: Option<&Announce>) {
        let nothing = Picture::new();
        let mut errors = Vec::new();
        let goes_on = after.and_then(|after| after.bird.as_ref());
        if let Some(ways) = &before.bird
            && goes_on.is_none_or(|goes_on| goes_on.include != ways.include)
        {
            errors.extend(self.write(ways, before, &nothing).await.err());
        }
        if let Some(command) = &before.exec
            && after.and_then(|after| after.exec.as_ref()) != Some(command)
        {
            let told = exec::apply(command, &nothing, &config.pop.name).await;
            errors.extend(told.err().map(|error| error.to_string()));
        }
        for error in errors {
            warn!("what was announced by a way that the file has no more may stay: {error}");
        }
    }

    /// The file has no `[announce]` any more: nothing is announced, and the interface goes.
    async fn stop(&mut self, control: &ControlHandle, config: &Config) {
        if let Some(before) = self.pace.settings().cloned() {
            self.leave(config, &before, None).await;
            tell(self.pace.taken(), &Picture::new());
        }
        let door = control.announce_door();
        *lock(&door.tun) = None;
        door.view.store(None);
        door.announced.store(0, Ordering::Relaxed);
        control.announces(None);
    }

    fn show(&self, door: &Door, announce: &Announce, now: Instant) {
        let modes = [
            ("interface", announce.interface.is_some()),
            ("bird", announce.bird.is_some()),
            ("exec", announce.exec.is_some()),
        ];
        let standings = self.machine.standings(now).into_iter();
        let view = AnnounceView {
            mode: modes
                .iter()
                .filter(|(_, is)| *is)
                .map(|(mode, _)| (*mode).to_owned())
                .collect(),
            prefixes: standings
                .map(|(prefix, standing)| PrefixView {
                    prefix: prefix.to_string(),
                    state: standing.state.to_owned(),
                    reason: standing.why,
                })
                .collect(),
            error: self
                .unfounded
                .clone()
                .or_else(|| self.pace.error().map(str::to_owned)),
            changed_at: self.changed_at.clone(),
        };
        let announced = self.pace.taken().map_or(0, Picture::len);
        door.announced.store(announced, Ordering::Relaxed);
        if door.view.load().as_deref() != Some(&view) {
            door.view.store(Some(Arc::new(view)));
        }
    }
}

/// Says an error when it comes, or is another one, and when it goes.
fn warn_of(before: Option<&str>, error: Option<&str>) {
    match (before, error) {
        (None, None) => {}
        (Some(before), None) => info!("announcing works again; before: {before}"),
        (before, Some(error)) if before == Some(error) => {}
        (_, Some(error)) => warn!("announcing: {error}"),
    }
}

/// The interface is all that announces.
fn is_alone(announce: &Announce) -> bool {
    announce.bird.is_none() && announce.exec.is_none()
}

/// Says what has changed, a line each.
fn tell(before: Option<&Picture>, picture: &Picture) {
    let empty = Picture::new();
    let before = before.unwrap_or(&empty);
    for (prefix, style) in picture {
        match (before.get(prefix), style) {
            (Some(last), style) if last == style => {}
            (_, plan::Style::Normal) => info!(%prefix, "announced"),
            (_, plan::Style::Leaving) => {
                info!(%prefix, "announced as the worst choice: it is being left")
            }
        }
    }
    for prefix in before.keys().filter(|prefix| !picture.contains_key(prefix)) {
        info!(%prefix, "withdrawn");
    }
}

fn ranges(picture: &Picture) -> Ranges {
    let nets = picture.keys().filter_map(|prefix| match prefix {
        IpNet::V4(net) if net.prefix_len() < 32 => Some(*net),
        IpNet::V4(_) | IpNet::V6(_) => None,
    });
    nets.collect()
}

/// Every address of accelerators that serve, whatever it is announced with.
fn hosts(config: &Config) -> BTreeSet<IpNet> {
    let serving = config.accelerators.iter().filter(|a| serves(a));
    serving
        .flat_map(|a| &a.addresses)
        .filter(|ip| is_announceable(**ip))
        .map(|ip| IpNet::from(*ip))
        .collect()
}

/// What stands on an interface that alone announces: the picture, and the addresses that are served in its ranges. A range by itself
/// is a route and no address: what comes to it would be taken by nobody.
fn standing(picture: &Picture, hosts: &BTreeSet<IpNet>) -> BTreeSet<IpNet> {
    let in_range = |host: &&IpNet| picture.keys().any(|prefix| prefix.contains(*host));
    let hosts = hosts.iter().filter(in_range).copied();
    picture.keys().copied().chain(hosts).collect()
}

/// The prefixes that this PoP should be reached by: the addresses of accelerators that serve, and whole ranges that the API advertises,
/// in which the API's own addresses do not go by themselves. Those of others do: nobody who asks the API takes them off the network.
fn wanted(
    config: &Config,
    advertised: &Ranges,
    is_brought_along: &impl Fn(IpAddr) -> bool,
) -> BTreeSet<IpNet> {
    let goes_with_range =
        |a: &Accelerator, ip: IpAddr| a.source == Source::Api && is_brought_along(ip);
    let serving = config.accelerators.iter().filter(|a| serves(a));
    let addresses = serving
        .flat_map(|a| a.addresses.iter().map(move |ip| (a, *ip)))
        .filter(|(a, ip)| is_announceable(*ip) && !goes_with_range(a, *ip))
        .map(|(_, ip)| IpNet::from(ip));
    let ranges = advertised.iter().map(|net: &Ipv4Net| IpNet::V4(*net));
    addresses.chain(ranges).collect()
}

fn serves(accelerator: &Accelerator) -> bool {
    accelerator.enabled && !accelerator.listeners.is_empty()
}

/// Loopback is every host's own.
fn is_announceable(ip: IpAddr) -> bool {
    !ip.is_loopback() && !ip.is_unspecified()
}

/// What to ask about each address.
fn questions(
    config: &Config,
    wanted: &BTreeSet<IpNet>,
    seen: &Announcing,
    is_short: bool,
    stands: impl Fn(&IpNet) -> bool,
) -> HashMap<IpAddr, Question> {
    let hosts = wanted
        .iter()
        .filter(|prefix| prefix.prefix_len() == prefix.max_prefix_len());
    hosts
        .filter_map(|prefix| {
            let ip = prefix.addr();
            let mut accelerators = config.accelerators.iter().filter(|a| serves(a));
            let accelerator = accelerators.find(|a| a.addresses.contains(&ip))?;
            let mut question = question(accelerator, ip, seen, stands(prefix));
            if let Question::Connect { has_up, .. } = &mut question {
                *has_up &= !is_short;
            }
            Some((ip, question))
        })
        .collect()
}

fn question(accelerator: &Accelerator, ip: IpAddr, seen: &Announcing, stands: bool) -> Question {
    let mut listeners = accelerator.listeners.iter();
    if let Some(listener) = listeners.find(|l| l.protocol == Protocol::Tcp && stands) {
        return Question::Connect {
            to: SocketAddr::new(ip, listener.ports.first()),
            has_up: seen.has_up(&accelerator.name, &listener.ports),
        };
    }
    let here = seen.bindings.iter().filter(|b| b.address.ip() == ip);
    Question::Listens {
        error: here.filter_map(|b| b.error.clone()).next(),
    }
}

#[cfg(test)]
mod tests;
