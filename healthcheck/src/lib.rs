//! healthcheck.
