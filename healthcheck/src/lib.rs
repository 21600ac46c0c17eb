//! Probe → state → health view. The checker asks every address that control names, on a fixed schedule, takes the evidence of
//! live flows besides, and tells what changed. It decides about addresses alone: what a change means for flows is control's.
//!
//! State that lives over time (`machine`, `suspicion`, `schedule`) takes `now` as an argument and does no input or output;
//! `checker` owns the clock and the tasks, `probe` the sockets.

mod checker;
mod counters;
#[cfg(test)]
mod fixture;
mod hang;
mod known;
mod machine;
mod probe;
mod rtt;
mod schedule;
mod suspicion;
mod target;
mod view;
mod way_back;

pub use checker::{Checker, CheckerOptions, Suspicion};
pub use counters::{ProbeCounters, ProbeResult};
pub use known::KnownHealth;
pub use target::ProbeTarget;
pub use view::AddressHealth;
pub use way_back::{NoWayBack, find_way_back};
