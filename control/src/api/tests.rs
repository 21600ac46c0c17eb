//! Tests of the API over a fake edge.
