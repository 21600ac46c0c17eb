//! What the data path receives with on this host, for `run` and `check`: io_uring that is demanded and cannot be had is an error, one that
//! is left to choice, and splicing, are shown with the reason why not.

use portolan_config::model::{Config, IoEngine, Pop};
use portolan_proxy::{can_splice, can_use_io_uring};

use crate::limits::Unmet;

/// What is wrong with `[pop] io_engine` here, if anything is.
pub(crate) fn unmet(config: &Config) -> Option<Unmet> {
    if config.pop.io_engine != IoEngine::IoUring {
        return None;
    }
    can_use_io_uring().err().map(|error| Unmet {
        key: "pop.io_engine".to_owned(),
        what: format!("io_uring cannot be used by this process here: {error}"),
        remedy: "allow it (sysctl kernel.io_uring_disabled=0, a seccomp profile with io_uring_setup, Linux 6.1 or newer), or set \"auto\""
            .to_owned(),
    })
}

/// What is used, and what decides it, for the table of limits.
pub(crate) fn row(pop: &Pop) -> (&'static str, String, String) {
    let (used, by) = receiving(pop.io_engine);
    let (used, by) = match pop.splice.then(can_splice) {
        None => (used.to_owned(), by),
        Some(Ok(())) => (
            format!("{used}, splice"),
            format!("{by}; [pop] splice: bulk is not copied"),
        ),
        Some(Err(error)) => (
            used.to_owned(),
            format!("{by}; splice cannot be used here: {error}"),
        ),
    };
    ("relay", used, by)
}

fn receiving(asked: IoEngine) -> (&'static str, String) {
    match (asked, can_use_io_uring()) {
        (IoEngine::Epoll, _) => ("epoll", "[pop] io_engine".to_owned()),
        (IoEngine::IoUring, Ok(())) => ("io_uring", "[pop] io_engine".to_owned()),
        (IoEngine::Auto, Ok(())) => (
            "epoll, io_uring",
            "[pop] io_engine = \"auto\": io_uring for flows of small messages while many are busy"
                .to_owned(),
        ),
        (IoEngine::Auto | IoEngine::IoUring, Err(error)) => {
            ("epoll", format!("io_uring cannot be used here: {error}"))
        }
    }
}
