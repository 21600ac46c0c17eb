//! What the API's model does not say about a listener or a group: the file's own defaults, read from an empty file, so that
//! there is one place for them.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use portolan_config::file;
use portolan_config::model::{GroupSettings, HealthCheck, ListenerSettings, Protocol};

/// Of one protocol.
pub(crate) struct Defaults {
    pub(crate) listener: Arc<ListenerSettings>,
    pub(crate) group: Arc<GroupSettings>,
    pub(crate) health_check: HealthCheck,
}

impl Defaults {
    /// Of a protocol.
    pub(crate) fn of(protocol: Protocol) -> &'static Defaults {
        static TCP: LazyLock<Defaults> = LazyLock::new(|| Defaults::read("TCP"));
        static UDP: LazyLock<Defaults> = LazyLock::new(|| Defaults::read("UDP"));
        match protocol {
            Protocol::Tcp => &TCP,
            Protocol::Udp => &UDP,
        }
    }

    fn read(protocol: &str) -> Defaults {
        let text = format!(
            "[[accelerator]]\nname = \"a\"\n[[accelerator.listener]]\nprotocol = \"{protocol}\"\nports = [80]\n\
             [[accelerator.listener.endpoint_group]]\nregion = \"r\"\nendpoints = []\n"
        );
        let config = file::parse(&text, Path::new("defaults"))
            .expect("what it must hold is in it")
            .config;
        let listener = &config.accelerators[0].listeners[0];
        let group = &listener.endpoint_groups[0];
        Defaults {
            listener: listener.settings.clone(),
            group: group.settings.clone(),
            health_check: (*group.health_check).clone(),
        }
    }
}
