//! Sets up logs: text for people or JSON lines, always on stderr. Called once, by `run` and `demo`; everything below speaks
//! `tracing`, and what libraries say through `log` (pingora, notify) is bridged into it.

use std::io::{self, IsTerminal};

use portolan_config::model::LogFormat;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// Libraries that narrate their own life at info are held to warnings.
const QUIET: &str = "pingora_core=warn,pingora_runtime=warn,hickory_resolver=warn,hickory_net=warn,notify=warn,hyper=warn";

/// Starts logging at `level` unless `RUST_LOG` says otherwise. A second call in one process changes nothing.
pub(crate) fn start(format: LogFormat, level: &str) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("{level},{QUIET}")));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    // Already set is the one error there is; tests in one process meet it.
    let _ = match format {
        LogFormat::Text => builder
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .finish()
            .try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
}
