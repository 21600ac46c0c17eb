//! The checker against real listeners.
