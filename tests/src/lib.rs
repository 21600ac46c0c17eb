//! The harness of the end-to-end tests: the built binary as a child process, endpoints and clients in this one, everything on loopback.
//!
//! Every test process has loopback addresses of its own, so tests run in parallel, and beside those of another checkout. Nothing sleeps:
//! whoever waits, waits with [`deadline`].

pub mod api;
pub mod aws;
pub mod binary;
pub mod client;
pub mod datagram;
pub mod deadline;
pub mod dns;
pub mod edge;
pub mod endpoint;
mod fake;
pub mod http;
pub mod lab;
pub mod load;
pub mod metrics;
pub mod moto;
pub mod names;
pub mod near_and_far;
pub mod network;
pub mod payload;
pub mod peer;
pub mod place;
pub mod process;
pub mod publication;
pub mod route53;
pub mod soak;
pub mod toml;
