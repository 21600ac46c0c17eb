//! The control way: sources → desired state → compile → snapshot; health view and signals in, admin and metrics out.

mod compile;
pub mod data_plane;
mod drains;
pub mod event;
pub mod flow_log;
pub mod handle;
mod health_view;
mod layout;
mod order;
mod registry;
mod resolve;
pub mod state;
mod verdict;

pub use handle::{ControlHandle, Controller, ControllerOptions};
