//! What the controller's tests stand on: a data path that only records, endpoints on loopback, a folder with a file.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use portolan_config::explain::Explanation;
use portolan_config::file;
use portolan_config::health::HealthState;
use portolan_config::model::Protocol;
use portolan_config::signal::Signal;
use portolan_config::snapshot::{EndpointSnapshot, Fate, Snapshot};
use portolan_config::stats::EdgeStats;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::data_plane::{Binding, DataPlane};
use crate::deadline;
use crate::handle::{ControlHandle, Controller, ControllerOptions, DrainRequest};

#[derive(Default)]
pub(super) struct Recorder {
    snapshots: Mutex<Vec<Arc<Snapshot>>>,
    pub(super) refuse_to_bind: Mutex<Option<String>>,
}

impl Recorder {
    pub(super) fn snapshots(&self) -> Vec<Arc<Snapshot>> {
        self.snapshots.lock().expect("not poisoned").clone()
    }

    pub(super) fn newest(&self) -> Arc<Snapshot> {
        self.snapshots().last().expect("one at least").clone()
    }

    pub(super) fn verdicts(&self) -> Vec<Fate> {
        self.newest()
            .verdicts
            .iter()
            .map(|verdict| verdict.fate)
            .collect()
    }
}

impl DataPlane for Recorder {
    fn publish(&self, snapshot: Arc<Snapshot>) {
        self.snapshots.lock().expect("not poisoned").push(snapshot);
    }

    fn bindings(&self) -> Vec<Binding> {
        let snapshot = self.newest();
        let error = self.refuse_to_bind.lock().expect("not poisoned").clone();
        let listeners = snapshot.listeners.iter();
        let bindings = listeners.flat_map(|listener| {
            let addresses = match listener.addresses.as_slice() {
                [] => vec![IpAddr::from([0, 0, 0, 0])],
                some => some.to_vec(),
            };
            let error = error.clone();
            addresses.into_iter().map(move |ip| Binding {
                accelerator: listener.accelerator.clone(),
                protocol: listener.protocol,
                address: SocketAddr::new(ip, listener.ports.first()),
                error: error.clone(),
            })
        });
        bindings.collect()
    }

    fn stats(&self) -> Arc<EdgeStats> {
        Arc::default()
    }

    fn explain(
        &self,
        _: IpAddr,
        _: Option<u16>,
        _: SocketAddr,
        _: Protocol,
    ) -> Option<Explanation> {
        None
    }

    fn relay_mode(&self) -> &'static str {
        "copy"
    }

    fn max_flows(&self) -> usize {
        1
    }
}

/// An endpoint on loopback that accepts until it is dropped.
pub(super) struct Listening {
    pub(super) address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Listening {
    pub(super) async fn start() -> Listening {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            loop {
                drop(listener.accept().await);
            }
        });
        Listening { address, task }
    }

    pub(super) async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

pub(super) struct Bench {
    pub(super) plane: Arc<Recorder>,
    pub(super) control: ControlHandle,
    pub(super) signals: mpsc::Sender<Signal>,
    pub(super) folder: Arc<tempfile::TempDir>,
}

impl Bench {
    pub(super) fn start(text: &str) -> Bench {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        std::fs::write(folder.path().join("portolan.toml"), text).expect("written");
        Bench::start_in(folder)
    }

    pub(super) fn start_in(folder: Arc<tempfile::TempDir>) -> Bench {
        let path = folder.path().join("portolan.toml");
        let loaded = file::load(&path).expect("a valid file");
        let plane = Arc::new(Recorder::default());
        let (signals, receiver) = mpsc::channel(16);
        let control = Controller::start(
            ControllerOptions {
                config: loaded.config,
                warnings: Vec::new(),
                config_path: Some(path),
                state_path: Some(folder.path().join("state.json")),
                data_plane: plane.clone(),
                predecessor: None,
            },
            receiver,
        );
        Bench {
            plane,
            control,
            signals,
            folder,
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("portolan.toml")
    }

    /// Replaces the file as deployment tools do.
    pub(super) fn replace(&self, text: &str) {
        let fresh = self.folder.path().join("fresh");
        std::fs::write(&fresh, text).expect("written");
        std::fs::rename(fresh, self.path()).expect("replaced");
    }

    pub(super) fn endpoint(&self, id: &str) -> Option<EndpointSnapshot> {
        let snapshot = self.plane.newest();
        let groups = snapshot
            .listeners
            .iter()
            .flat_map(|listener| &listener.groups);
        groups
            .flat_map(|group| group.endpoints.iter())
            .find(|endpoint| endpoint.id.as_str() == id)
            .cloned()
    }

    pub(super) async fn is(&self, id: &str, state: HealthState) {
        self.until(&format!("{id} is {state}"), || {
            self.endpoint(id).is_some_and(|e| e.health == state)
        })
        .await;
    }

    pub(super) async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        deadline::until(what, condition, || format!("{:#?}", self.control.state())).await;
    }
}

/// One listener; a group of one endpoint each.
pub(super) fn config(endpoints: &[(&str, SocketAddr)]) -> String {
    let mut text =
        "[[accelerator]]\nname = \"shop\"\naddresses = [\"127.0.0.1\"]\n[[accelerator.listener]]\n\
                    protocol = \"TCP\"\nports = [4999]\n"
            .to_owned();
    for (index, (id, address)) in endpoints.iter().enumerate() {
        write!(
            text,
            "[[accelerator.listener.endpoint_group]]\nregion = \"region-{id}\"\nlatency = \"{}ms\"\n\
             health_check = {{ protocol = \"TCP\", interval = \"50ms\", fast_interval = \"50ms\", timeout = \"1s\", threshold = 2 }}\n\
             endpoints = [{{ id = \"{id}\", address = \"{address}\" }}]\n",
            index + 1,
        )
        .expect("a string takes everything");
    }
    text
}

/// For good, wherever it stands.
pub(super) fn request(endpoint: &str) -> DrainRequest {
    DrainRequest {
        endpoint: endpoint.to_owned(),
        region: None,
        for_: None,
    }
}
