//! Records → desired state → controller, after every change and after every reload of the file. Level-triggered: many changes at
//! once are one publication, and a change counts as deployed when the snapshot that has it is served.

use std::collections::BTreeMap;
use std::sync::Arc;

use portolan_config::model::{Accelerator, AwsReach, EndpointAlias, Source};
use tokio::sync::broadcast::error::RecvError;

use super::arn::AcceleratorId;
use super::desired;
use super::endpoint_id::Meaning;
use super::engine::Engine;
use super::settings::Settings;
use super::world::World;
use crate::ControlHandle;
use crate::event::EventKind;

/// Makes desired state, and only anew what changed.
#[derive(Default)]
pub(crate) struct Publisher {
    aliases: Vec<EndpointAlias>,
    reach: Option<AwsReach>,
    made: BTreeMap<AcceleratorId, (u64, Accelerator)>,
}

impl Publisher {
    /// All accelerators, in the order of their creation.
    pub(crate) fn build(
        &mut self,
        world: &World,
        settings: &Settings,
        meaning: Meaning<'_>,
    ) -> Vec<Accelerator> {
        if self.aliases != meaning.aliases || self.reach != meaning.reach {
            self.aliases = meaning.aliases.to_vec();
            self.reach = meaning.reach;
            self.made.clear();
        }
        self.made
            .retain(|id, _| world.accelerators.contains_key(id));
        let mut all: Vec<_> = world.accelerators.iter().collect();
        all.sort_by_key(|(_, record)| record.seq);
        let mut accelerators = Vec::with_capacity(all.len());
        for (id, record) in all {
            let version = world.touched.get(id).copied().unwrap_or(0);
            let is_current = self.made.get(id).is_some_and(|(made, _)| *made == version);
            if !is_current {
                let made = desired::accelerator(world, id, record, settings, meaning);
                self.made.insert(id.clone(), (version, made));
            }
            accelerators.extend(self.made.get(id).map(|(_, made)| made.clone()));
        }
        accelerators
    }
}

/// Publishes until it is dropped, or the controller has ended.
pub(crate) async fn run(engine: Arc<Engine>, control: ControlHandle) {
    let mut publisher = Publisher::default();
    let mut events = control.events();
    loop {
        let config = control.config();
        let (version, accelerators) = engine.build(&mut publisher, Meaning::of(&config));
        if control
            .set_accelerators(Source::Api, accelerators)
            .await
            .is_none()
        {
            return;
        }
        engine.is_served(version);
        loop {
            tokio::select! {
                () = engine.changed() => break,
                event = events.recv() => match event.map(|event| event.what) {
                    Ok(EventKind::Reload { .. }) | Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return,
                    Ok(_) => {}
                },
            }
        }
    }
}
