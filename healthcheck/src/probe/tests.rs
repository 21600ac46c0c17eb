//! Probes against real sockets.
