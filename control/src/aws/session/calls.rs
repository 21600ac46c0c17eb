//! How often AWS was asked, by service and by what came of it. Every attempt counts: what throttles us counts them, too.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{ErrorClass, Service};

/// Results: an answer, then the classes of errors.
const RESULTS: usize = 1 + ErrorClass::ALL.len();

/// Counters that sessions share.
#[derive(Debug, Default)]
pub struct Calls([[AtomicU64; RESULTS]; Service::ALL.len()]);

impl Calls {
    /// The results by their index, as metrics name them.
    pub fn results() -> [&'static str; RESULTS] {
        std::array::from_fn(|index| match index.checked_sub(1) {
            None => "ok",
            Some(class) => ErrorClass::ALL[class].as_str(),
        })
    }

    /// By the indices of [`Service::ALL`] and [`Calls::results`].
    pub fn get(&self, service: usize, result: usize) -> u64 {
        self.0[service][result].load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, service: Service, error: Option<ErrorClass>) {
        let result = error.map_or(0, |class| {
            let known = ErrorClass::ALL.iter().position(|known| *known == class);
            known.map_or(0, |index| index + 1)
        });
        if let Some(service) = Service::ALL.iter().position(|known| *known == service) {
            self.0[service][result].fetch_add(1, Ordering::Relaxed);
        }
    }
}
