//! What is read from AWS: Global Accelerator's accelerators and tagged load balancers, as desired state beside file and API.
//! Observed first, planned then, applied last; nothing is dropped because it was not seen.

pub mod session;
