//! What is read from AWS: Global Accelerator's accelerators and tagged load balancers, as desired state beside file and API.
//! Observed first, planned then, applied last; nothing is dropped because it was not seen.

mod advice;
pub(crate) mod alias_zones;
mod asking;
pub mod cache;
mod ec2;
mod elb;
mod ga;
mod guard;
mod lookup;
mod map;
mod merge;
mod permissions;
pub mod picture;
mod plan;
pub mod session;
mod status;
mod steady;
mod sync;
mod tags;
pub mod walk;

pub use self::guard::Held;
pub use self::map::{Note, NoteKind, Served, Unit};
pub use self::permissions::{Checked, Permission, Verdict, check, policy};
pub use self::plan::{Action, Change, Known};
pub use self::status::{AwsView, NoSync};
pub use self::sync::{Planned, Restored, SyncError, plan_once, run, sync_once};

pub(crate) use self::lookup::{Answers, Looked, Named};
pub(crate) use self::map::Unreached;
pub(crate) use self::status::Door;
