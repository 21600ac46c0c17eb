//! The control way: sources → desired state → compile → snapshot; health view and signals in, admin and metrics out.

pub mod admin;
pub mod advertised;
pub mod api;
pub mod aws;
mod compile;
mod controller;
pub mod data_plane;
#[cfg(test)]
mod deadline;
mod drains;
pub mod event;
pub mod flow_log;
pub mod handle;
mod handover;
mod health_view;
mod hung;
mod layout;
pub mod metrics;
mod order;
mod places;
mod pool;
pub mod publish;
pub mod readiness;
mod registry;
mod reload;
mod resolve;
mod sources;
pub mod state;
pub mod store;
mod verdict;
mod way_back;

pub use handle::{ControlHandle, Controller, ControllerOptions};
pub use handover::{Inheritance, KnownGroup, KnownName, KnownOrder};
