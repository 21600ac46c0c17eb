//! What systemd is told (`Type=notify`, `notify-reload` and `WatchdogSec=`); without NOTIFY_SOCKET every call does nothing.

use sd_notify::NotifyState;
use tokio::task::JoinSet;
use tokio::time::interval;
use tracing::warn;

/// Serving, for the first time or again after a reload.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Reading the file again. systemd 253 and newer want the time with it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// Draining.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The service's main process is another one from here on. Said by both of them: which one is heard depends on `NotifyAccess=`.
pub(super) fn main_pid(pid: u32) {
    tell(&[NotifyState::MainPid(pid), NotifyState::Ready]);
}

/// Pets the watchdog for as long as the result is held, twice as often as asked, from the runtime that control lives on: when
/// that hangs, systemd hears nothing.
pub(super) fn watchdog() -> JoinSet<()> {
    let mut petting = JoinSet::new();
    if let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) {
        petting.spawn(async move {
            let mut pace = interval(limit / 2);
            loop {
                pace.tick().await;
                tell(&[NotifyState::Watchdog]);
            }
        });
    }
    petting
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "systemd cannot be told {state:?}");
    }
}
