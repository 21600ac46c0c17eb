//! What the load harness is made of: generators, the endpoints they talk to, the peers, and the report. Run by `portolan-load`.

pub mod client;
pub mod cpu;
pub mod endpoint;
pub mod peer;
pub mod report;
