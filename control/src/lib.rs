//! The control way: sources → desired state → compile → snapshot; health view and signals in, admin and metrics out.

pub mod data_plane;
pub mod event;
pub mod handle;
pub mod state;

pub use handle::{ControlHandle, Controller, ControllerOptions};
