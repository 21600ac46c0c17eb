//! In network namespaces: several regions, the delays of a WAN, BGP. First the world itself, then what the product does in it.

#![expect(clippy::unwrap_used, reason = "a test's unwrap is an assertion")]

mod announce;
mod announcer;
mod failover;
mod routing;
mod transparent;
mod world;
