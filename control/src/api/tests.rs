//! The API without wire and controller: operations over a store in memory and an edge that says what the test wants.

#![expect(
    clippy::too_many_lines,
    reason = "a story of many calls reads best in one piece"
)]

mod checks;
mod custom_routing;
mod errors;
mod fake;
mod lifecycle;
mod looked_up;
mod ports;
mod random;
mod ranges;
mod stores;
