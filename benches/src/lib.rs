//! What the load harness is made of: generators, the endpoints they talk to, the peers, and the report. Run by `portolan-load`.

pub mod client;
mod control;
pub mod cpu;
pub mod endpoint;
pub mod listener;
pub mod measure;
pub mod options;
pub mod peer;
mod picks;
pub mod profile;
pub mod readme;
pub mod report;
pub mod service;
mod tcp;
mod udp;
pub mod workload;
pub mod write;
