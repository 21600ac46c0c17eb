//! The scene of many tests: an edge between two regions of an endpoint each, `near` and `far`.

use std::net::SocketAddr;

use crate::edge::Edge;
use crate::endpoint::Endpoint;
use crate::place;
use crate::toml::{Group, shop};

/// Where clients connect to, the endpoints named after their regions, and the edge, which is ready.
pub async fn near_and_far() -> (SocketAddr, Endpoint, Endpoint, Edge) {
    let (near, far) = (Endpoint::named("near").await, Endpoint::named("far").await);
    let at = place::fresh();
    let groups = [
        Group::new("near", "1ms").endpoint(&near),
        Group::new("far", "60ms").endpoint(&far),
    ];
    let edge = Edge::start(&shop(at, "", &groups)).await;
    (at, near, far, edge)
}
