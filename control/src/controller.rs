//! The controller's state and what it does with each thing it hears of: everything ends in [`Core::publish`], which compiles
//! and swaps a snapshot in when it differs. [`task`] owns the clock, the channels and the loop.

mod config_file;
mod follow;
pub(crate) mod saver;
mod suspect;
pub(crate) mod task;
mod transparency;
mod world;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use portolan_config::address::{EndpointAddr, Host};
use portolan_config::model::{Accelerator, Config, Source};
use portolan_config::snapshot::Snapshot;
use portolan_config::units::{EndpointId, Region};
use portolan_healthcheck::{Checker, ProbeTarget};

use crate::compile::{self, Inputs, Touched};
use crate::drains::{self, Drain, Drains};
use crate::event::EventKind;
use crate::handle::{Published, Shared};
use crate::handover::{Inheritance, KnownName, KnownOrder};
use crate::health_view::{self, HealthTable};
use crate::hung::Hung;
use crate::layout::{Layout, ListenerLayout, Resolved, Surroundings};
use crate::order::{Distance, Order};
use crate::registry::Registry;
use crate::reload;
use crate::resolve::{Answer, Names};
use crate::sources::{Fill, Sources};
use crate::state::{ConfigView, build};
use crate::verdict::Verdicts;
use crate::way_back::{Way, WaysBack};

use self::world::Surrounding;

/// The controller's whole state.
pub(crate) struct Core {
    shared: Arc<Shared>,
    checker: Arc<Checker>,
    /// What the process started with: some of it cannot change without a restart.
    started_with: Arc<Config>,
    sources: Sources,
    /// All sources merged.
    config: Arc<Config>,
    config_view: ConfigView,
    file_warnings: Vec<String>,
    state_warnings: Vec<String>,
    registry: Registry,
    names: Names,
    drains: Drains,
    layout: Arc<Layout>,
    target_index: HashMap<ProbeTarget, usize>,
    health: Arc<HealthTable>,
    /// By the index of the layout's listener.
    orders: Vec<Order>,
    /// A predecessor's, until their listeners take them up.
    recalled_orders: Vec<KnownOrder>,
    verdicts: Verdicts,
    hung: Hung,
    ways_back: WaysBack,
    touched: Touched,
    snapshot: Arc<Snapshot>,
    /// What did not listen when last looked at.
    not_listening: Vec<String>,
}

/// What a controller's state begins with.
pub(crate) struct Beginning {
    pub(crate) shared: Arc<Shared>,
    pub(crate) checker: Arc<Checker>,
    pub(crate) config: Arc<Config>,
    pub(crate) config_view: ConfigView,
    pub(crate) file_warnings: Vec<String>,
    pub(crate) drains: Drains,
    pub(crate) state_warnings: Vec<String>,
    pub(crate) known_names: Vec<KnownName>,
    pub(crate) known_orders: Vec<KnownOrder>,
}

/// Answers the layout's questions from names and drains.
struct Known<'a> {
    names: &'a Names,
    drains: &'a Drains,
    ways_back: &'a WaysBack,
}

impl Surroundings for Known<'_> {
    fn resolve(&self, name: &Arc<str>) -> Resolved {
        self.names.resolved(name)
    }

    fn is_draining(&self, endpoint: &EndpointId, region: &Region) -> bool {
        self.drains.covers(endpoint, region)
    }

    fn way_back(&self, to: EndpointAddr) -> Way {
        self.ways_back.of(to)
    }
}

impl Core {
    /// Publishes the first snapshot.
    pub(crate) fn new(beginning: Beginning, now: Instant) -> Core {
        let Beginning {
            shared,
            checker,
            config,
            config_view,
            file_warnings,
            drains,
            state_warnings,
            known_names,
            known_orders,
        } = beginning;
        let mut core = Core {
            shared,
            checker,
            started_with: config.clone(),
            sources: Sources::new(&config),
            config,
            config_view,
            file_warnings,
            state_warnings,
            registry: Registry::default(),
            names: Names::default(),
            drains,
            layout: Arc::default(),
            target_index: HashMap::new(),
            health: Arc::default(),
            orders: Vec::new(),
            recalled_orders: known_orders,
            verdicts: Verdicts::new(),
            hung: Hung::default(),
            ways_back: WaysBack::default(),
            touched: Touched::Everything,
            snapshot: Arc::default(),
            not_listening: Vec::new(),
        };
        core.names.recall(known_names, now);
        core.names.want(names_of(&core.config), now);
        core.lay_out(now);
        core.publish(now);
        core
    }

    /// Takes another configuration into force.
    pub(crate) fn configure(
        &mut self,
        config: Config,
        warnings: Vec<String>,
        now: Instant,
        wall: SystemTime,
    ) {
        self.sources.set_file(config);
        self.config = Arc::new(self.sources.merged());
        self.config_view.generation += 1;
        self.config_view.loaded_at = drains::rfc3339(wall);
        self.file_warnings = warnings;
        self.names.want(names_of(&self.config), now);
        self.lay_out(now);
        for warning in self.warnings() {
            self.warn(warning);
        }
    }

    fn warn(&self, message: String) {
        tracing::warn!("{message}");
        self.shared.tell(EventKind::Warning { message });
    }

    /// Notes how a reading of the file went, and tells when that is news.
    pub(crate) fn note_reload(&mut self, error: Option<String>, changed: bool) {
        if changed || self.config_view.error != error {
            self.config_view.error.clone_from(&error);
            let generation = self.config_view.generation;
            self.shared.tell(EventKind::Reload { generation, error });
            self.share();
        }
    }

    /// Everything an operator should know.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let restart = reload::needs_restart(&self.started_with, &self.config);
        [
            self.file_warnings.clone(),
            restart,
            self.state_warnings.clone(),
        ]
        .concat()
    }

    /// What the file says.
    pub(crate) fn file(&self) -> &Config {
        self.sources.file()
    }

    /// Takes what another source than the file asks for into force.
    pub(crate) fn set_accelerators(
        &mut self,
        source: Source,
        accelerators: Vec<Accelerator>,
        now: Instant,
    ) {
        if self.sources.set(source, accelerators) {
            self.config = Arc::new(self.sources.merged());
            self.names.want(names_of(&self.config), now);
            self.lay_out(now);
        }
    }

    /// Takes endpoints into force that one source adds to another's accelerators, and stand-ins for names without an answer.
    pub(crate) fn set_fills(
        &mut self,
        fills: Vec<Fill>,
        hints: Vec<(Arc<str>, Vec<IpAddr>)>,
        now: Instant,
    ) {
        let mut differs = self.sources.set_fills(fills);
        if differs {
            self.config = Arc::new(self.sources.merged());
            self.names.want(names_of(&self.config), now);
        }
        for (name, addresses) in hints {
            differs |= self.names.suggest(&name, &addresses);
        }
        if differs {
            self.lay_out(now);
        }
    }

    /// The generation of the published snapshot.
    pub(crate) fn generation(&self) -> u64 {
        self.snapshot.generation
    }

    pub(crate) fn config_generation(&self) -> u64 {
        self.config_view.generation
    }

    pub(crate) fn names(&mut self) -> &mut Names {
        &mut self.names
    }

    pub(crate) fn drains(&self) -> &Drains {
        &self.drains
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What a successor should begin with.
    pub(crate) fn known(&self, now: Instant) -> Inheritance {
        Inheritance {
            health: self.checker.known(),
            names: self.names.known(now),
            orders: self.known_orders(now),
        }
    }

    fn known_orders(&self, now: Instant) -> Vec<KnownOrder> {
        let both = self.layout.listeners.iter().zip(&self.orders);
        let known = both.map(|(listener, order)| {
            let (groups, nearer) = order.known(now);
            KnownOrder {
                accelerator: listener.accelerator.to_string(),
                listener: listener.label.to_string(),
                groups,
                nearer,
            }
        });
        known.collect()
    }

    /// Takes drains of a predecessor into force.
    pub(crate) fn take_drains(&mut self, drains: Drains, warnings: Vec<String>, now: Instant) {
        self.drains = drains;
        self.state_warnings = warnings;
        self.lay_out(now);
    }

    /// Takes the answer for a name.
    pub(crate) fn answered(&mut self, name: &str, answer: Answer, now: Instant) {
        if self
            .names
            .answered(name, answer, self.config.resolver.stale_for, now)
        {
            self.lay_out(now);
        }
    }

    /// Begins a drain; `None` when there are too many.
    pub(crate) fn drain(
        &mut self,
        endpoint: EndpointId,
        region: Option<Region>,
        lasts: Option<Duration>,
        (now, wall): (Instant, SystemTime),
    ) -> Option<Drain> {
        let drain = self.drains.add(endpoint, region, lasts, wall)?.clone();
        self.lay_out(now);
        let view = drain.view();
        self.shared.tell(EventKind::Drain {
            endpoint: Some(view.endpoint),
            region: view.region,
            until: view.until,
        });
        Some(drain)
    }

    /// Ends drains; whether there was one.
    pub(crate) fn undrain(
        &mut self,
        endpoint: &EndpointId,
        region: Option<&Region>,
        now: Instant,
    ) -> bool {
        let ended = self.drains.remove(endpoint, region);
        self.follow_undrain(&ended, now);
        !ended.is_empty()
    }

    /// Drains the whole PoP, or ends that.
    pub(crate) fn drain_pop(&mut self, draining: bool) {
        if self.drains.pop != draining {
            self.drains.pop = draining;
            self.shared.tell(if draining {
                EventKind::Drain {
                    endpoint: None,
                    region: None,
                    until: None,
                }
            } else {
                EventKind::Undrain {
                    endpoint: None,
                    region: None,
                }
            });
        }
    }

    /// Does what time alone asks for. Whether drains ran out, which is to be saved.
    pub(crate) fn tick(&mut self, now: Instant, wall: SystemTime) -> bool {
        let ended = self.drains.expire(wall);
        self.follow_undrain(&ended, now);
        self.verdicts.expire(now);
        self.rank_all(now);
        self.registry.sweep();
        self.look_at_bindings();
        !ended.is_empty()
    }

    /// Tells when something that should listen does not, once for as long as it is so.
    fn look_at_bindings(&mut self) {
        if !self.not_listening.is_empty() {
            // The data path tries again, once a second, when it is given a snapshot; the same one will do.
            self.shared.data_plane.publish(Arc::clone(&self.snapshot));
        }
        let errors = build::binding_errors(&self.shared.data_plane.bindings());
        let before = std::mem::replace(&mut self.not_listening, errors);
        for error in self
            .not_listening
            .iter()
            .filter(|error| !before.contains(error))
        {
            self.warn(error.clone());
        }
        if self.not_listening.is_empty() && !before.is_empty() {
            tracing::info!("every listener listens again");
        }
    }

    fn follow_undrain(&mut self, ended: &[Drain], now: Instant) {
        if ended.is_empty() {
            return;
        }
        self.lay_out(now);
        for drain in ended {
            let view = drain.view();
            self.shared.tell(EventKind::Undrain {
                endpoint: Some(view.endpoint),
                region: view.region,
            });
        }
    }

    /// When held verdicts want to be looked at.
    pub(crate) fn next_verdict(&self, now: Instant) -> Option<Instant> {
        self.verdicts.next_look(now)
    }

    /// Builds the layout anew, moves what is known over to it, and follows up what came, left or changed.
    fn lay_out(&mut self, now: Instant) {
        // What happened up to here belongs to the old layout; taken first, so that no change is lost between the two.
        self.observe_health(now);
        let known = Known {
            names: &self.names,
            drains: &self.drains,
            ways_back: &self.ways_back,
        };
        let new = Layout::build(&self.config, &known, &mut self.registry);
        self.checker.set_targets(new.targets.clone());
        let old_index = std::mem::take(&mut self.target_index);
        let health = new
            .targets
            .iter()
            .map(|target| match old_index.get(target) {
                Some(index) => self.health[*index].clone(),
                None => self.checker.health(target).map(Arc::new),
            });
        let health: HealthTable = health.collect();
        self.target_index = new.targets.iter().cloned().zip(0..).collect();
        let old = std::mem::replace(&mut self.layout, Arc::new(new));
        let old_health = std::mem::replace(&mut self.health, Arc::new(health));
        self.carry_orders(&old, now);
        self.hung.renumber();
        self.want_ways_back(now);
        self.touched = Touched::Everything;
        self.follow_left(&old, now);
        self.follow_stayed(&old, &old_health, now);
        self.rank_all(now);
    }

    fn carry_orders(&mut self, old: &Layout, now: Instant) {
        let by_listener = old
            .listeners
            .iter()
            .map(|listener| Arc::as_ptr(&listener.stats));
        let mut orders: HashMap<_, Order> =
            by_listener.zip(std::mem::take(&mut self.orders)).collect();
        let recalled = &mut self.recalled_orders;
        let mut of = |listener: &ListenerLayout| {
            let carried = orders.remove(&Arc::as_ptr(&listener.stats));
            carried.unwrap_or_else(|| recall(recalled, listener, now))
        };
        self.orders = self.layout.listeners.iter().map(&mut of).collect();
    }

    fn rank_all(&mut self, now: Instant) {
        for listener in 0..self.layout.listeners.len() {
            self.rank(listener, now);
        }
    }

    fn rank(&mut self, listener: usize, now: Instant) {
        let order = &mut self.orders[listener];
        let distances_of = |order: &Order| {
            (0..order.ranking().len())
                .map(|g| order.distance(g))
                .collect::<Vec<_>>()
        };
        // Compared by index: right while the layout is the same, and another one touches everything anyway.
        let before = distances_of(order);
        order.update(
            &distances(&self.layout.listeners[listener], &self.health),
            now,
        );
        for (group, distance) in distances_of(order).into_iter().enumerate() {
            if before.get(group) != Some(&distance) {
                self.touched.add(listener, group);
            }
        }
    }

    /// Compiles, and swaps the snapshot in when it differs from the published one.
    pub(crate) fn publish(&mut self, now: Instant) {
        let listeners: BTreeSet<usize> = self
            .touched
            .groups()
            .map(|(listener, _)| listener)
            .collect();
        for listener in listeners {
            self.rank(listener, now);
        }
        let world = Surrounding {
            layout: &self.layout,
            health: &self.health,
            checker: &self.checker,
        };
        self.verdicts.settle(&world, now);
        self.tell_verdicts(&self.layout.clone());
        let touched = std::mem::replace(&mut self.touched, Touched::nothing());
        let began = Instant::now();
        let compiled = compile::compile(
            &self.snapshot,
            &Inputs {
                layout: &self.layout,
                health: &self.health,
                orders: &self.orders,
                verdicts: self.verdicts.published(),
                touched: &touched,
            },
        );
        self.shared.compile_seconds.observe(began.elapsed());
        if let Some(snapshot) = compiled {
            self.snapshot = Arc::new(snapshot);
            self.shared.data_plane.publish(self.snapshot.clone());
            self.shared.tell(EventKind::Generation {
                generation: self.snapshot.generation,
            });
        }
        self.share();
    }

    /// Lets handles see what is in force.
    pub(crate) fn share(&self) {
        let places = |order: &Order| {
            let mut places = vec![(0, None); order.ranking().len()];
            for (rank, group) in order.ranking().iter().enumerate() {
                places[*group] = (rank, order.distance(*group));
            }
            places
        };
        self.shared.published.store(Arc::new(Published {
            config: self.config.clone(),
            config_view: self.config_view.clone(),
            warnings: self.warnings(),
            drains: self.drains.endpoints().iter().map(Drain::view).collect(),
            pop_draining: self.drains.pop,
            layout: self.layout.clone(),
            health: self.health.clone(),
            places: self.orders.iter().map(places).collect(),
            snapshot: self.snapshot.clone(),
        }));
    }
}

/// What is known of the distance of a listener's groups.
fn distances(listener: &ListenerLayout, health: &HealthTable) -> Vec<Distance> {
    let groups = listener.groups.iter().map(|group| {
        let measured = group
            .endpoints
            .iter()
            .filter(|endpoint| !endpoint.weight.is_zero())
            .filter_map(|endpoint| health_view::round_trip(endpoint, health))
            .min();
        Distance {
            region: group.region.clone(),
            configured: group.latency,
            measured,
        }
    });
    groups.collect()
}

/// The order that a predecessor had for a listener, or none.
fn recall(recalled: &mut Vec<KnownOrder>, listener: &ListenerLayout, now: Instant) -> Order {
    let is_its = |known: &KnownOrder| {
        known.accelerator == listener.accelerator.as_str() && known.listener == *listener.label
    };
    match recalled.iter().position(is_its) {
        Some(index) => {
            let KnownOrder { groups, nearer, .. } = recalled.swap_remove(index);
            Order::recalled(groups, nearer, now)
        }
        None => Order::default(),
    }
}

/// Every name that a configuration wants resolved.
fn names_of(config: &Config) -> HashSet<Arc<str>> {
    let groups = config
        .accelerators
        .iter()
        .flat_map(|a| &a.listeners)
        .flat_map(|l| &l.endpoint_groups);
    let hosts = groups
        .flat_map(|group| &group.endpoints)
        .map(|endpoint| &endpoint.host);
    hosts
        .filter_map(|host| match host {
            Host::Ip(_) => None,
            Host::Name(name) => Some(name.clone()),
        })
        .collect()
}

#[cfg(test)]
mod tests;
