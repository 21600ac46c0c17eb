//! The Global-Accelerator-compatible API: AWS's own command line, SDKs and Terraform ask it with `--endpoint-url`. A request goes
//! wire → signature → check by the model → operation → store → memory → desired state. It decides what is desired and nothing
//! else: the controller serves it, and traffic goes on when the API hangs.

mod arn;
mod attaching;
mod audit;
mod context;
mod custom;
pub(crate) mod defaults;
mod desired;
mod edge;
mod endpoint_id;
mod engine;
mod errors;
mod foreign;
mod health;
mod idempotency;
mod keeper;
mod limiter;
mod looked_up;
mod operations;
mod paging;
mod pool;
mod publisher;
mod records;
mod refresher;
mod seats;
mod settings;
mod shapes;
mod sigv4;
mod time;
mod wire;
mod world;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use portolan_config::model::{Accelerator, Config};
use tokio_util::sync::CancellationToken;

pub use self::engine::ImportError;
pub use self::sigv4::KeyError;
pub use self::world::BadRecord;

use self::endpoint_id::Meaning;
use self::engine::Engine;
use self::keeper::Keeper;
use self::publisher::Publisher;
use self::settings::Settings;
use self::sigv4::Keys;
use self::world::World;
use crate::ControlHandle;
use crate::store::{Embedded, Export, StoreError};

/// Why the API cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The store cannot be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record of the store cannot be understood.
    #[error("{path}: {source}")]
    Record {
        /// The store's file.
        path: String,
        /// Which, and why.
        source: BadRecord,
    },
    /// A secret cannot be had.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The API's records, read before the controller starts, so that its first snapshot serves them.
pub struct Opened {
    settings: Settings,
    keys: Keys,
    keeper: Keeper,
    world: World,
}

impl Opened {
    /// Opens the store. `None` without `[api]` in the file.
    pub fn open(config: &Config) -> Result<Option<Opened>, ApiError> {
        let Some(api) = &config.api else {
            return Ok(None);
        };
        let keys = Keys::read(&api.credentials)?;
        let path = config.store.clone();
        let keeper = Keeper::open(move || Ok(Arc::new(Embedded::open(&path)?)))?;
        let world = load(&keeper, &config.store)?;
        Ok(Some(Opened {
            settings: Settings::of(api),
            keys,
            keeper,
            world,
        }))
    }

    /// What the records ask for.
    pub fn accelerators(&self, config: &Config) -> Vec<Accelerator> {
        Publisher::default().build(&self.world, &self.settings, Meaning::of(config))
    }
}

fn load(keeper: &Keeper, path: &Path) -> Result<World, ApiError> {
    let records = keeper.load()?;
    let loaded = World::load(&records);
    let mut world = loaded.map_err(|source| ApiError::Record {
        path: path.display().to_string(),
        source,
    })?;
    if let Some(edit) = world.settle() {
        keeper.commit(&[edit.to_change()], Vec::new)?;
        world.apply(vec![edit], None);
    }
    Ok(world)
}

/// The API.
pub struct Api {
    engine: Arc<Engine>,
    keys: Keys,
    control: ControlHandle,
}

/// A cheap handle for the admin server.
#[derive(Clone)]
pub struct ApiHandle(Arc<Engine>);

impl Api {
    /// Over the controller that serves what the records ask for.
    pub fn new(opened: Opened, control: ControlHandle) -> Api {
        let Opened {
            settings,
            keys,
            keeper,
            world,
        } = opened;
        if keys.is_open() {
            tracing::warn!(
                "[api] has no credentials: whoever reaches it on this host may change what is served"
            );
        }
        let engine = Engine::new(settings, keeper, world, Arc::new(control.clone()));
        let engine = Arc::new(engine.answering_once_served(engine::SERVED_WITHIN));
        Api {
            engine,
            keys,
            control,
        }
    }

    /// A handle.
    pub fn handle(&self) -> ApiHandle {
        ApiHandle(self.engine.clone())
    }

    /// Answers on `listener` until `stop` is cancelled or the future is dropped, which ends every connection; a change under way is
    /// made whole all the same. Must be polled within a tokio runtime.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
        let Api {
            engine,
            keys,
            control,
        } = self;
        let mut publishing = tokio::task::JoinSet::new();
        publishing.spawn(publisher::run(engine.clone(), control));
        publishing.spawn(refresher::run(engine.clone()));
        tokio::select! {
            ended = wire::serve(listener, engine, keys) => ended,
            () = stop.cancelled() => Ok(()),
        }
    }
}

impl ApiHandle {
    /// Everything that the store holds.
    pub async fn export(&self) -> Result<Export, ImportError> {
        self.0.clone().export().await
    }

    /// Puts an export in the place of everything that the store holds.
    pub async fn import(&self, export: Export) -> Result<usize, ImportError> {
        self.0.clone().import(export).await
    }

    /// Lets the store go, so that another process can open it. What wants to change something waits, and is refused in the end.
    pub async fn release(&self) {
        self.0.release().await;
    }

    /// Undoes [`ApiHandle::release`].
    pub async fn take_back(&self) {
        self.0.clone().take_back().await;
    }

    /// Every static address of an accelerator that the API made.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.0.addresses()
    }
}
