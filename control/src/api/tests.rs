//! The API without wire and controller: operations over a store in memory and an edge that says what the test wants.

mod custom_routing;
mod errors;
mod fake;
mod lifecycle;
mod random;
