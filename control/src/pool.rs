//! Who has which static addresses, of all that hand them out: the API and the import from AWS draw on one pool, each in its own time.
//! What one takes is entered here before it is kept or told, so that no address is ever given twice, whoever has published what.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use portolan_config::model::Source;

/// The one ledger of a process.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    given: Mutex<BTreeMap<&'static str, HashSet<IpAddr>>>,
}

impl Ledger {
    /// What others than this source have.
    pub(crate) fn of_others(&self, than: Source) -> HashSet<IpAddr> {
        let given = self.given();
        let others = given.iter().filter(|(source, _)| **source != than.as_str());
        others.flat_map(|(_, ips)| ips).copied().collect()
    }

    /// Enters all that a source has from here on; nothing is entered, and what is in the way is told, when another one has some of what
    /// is new.
    pub(crate) fn claim(
        &self,
        source: Source,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<(), IpAddr> {
        let addresses: HashSet<IpAddr> = addresses.into_iter().collect();
        let mut given = self.given();
        let is_taken = |ip: &IpAddr| {
            let had = given.get(source.as_str());
            let mut others = given.iter().filter(|(other, _)| **other != source.as_str());
            !had.is_some_and(|had| had.contains(ip))
                && others.any(|(_, theirs)| theirs.contains(ip))
        };
        if let Some(taken) = addresses.iter().copied().find(is_taken) {
            return Err(taken);
        }
        given.insert(source.as_str(), addresses);
        Ok(())
    }

    /// The same, whoever has some of it: what was promised before goes before what is only served.
    pub(crate) fn insist(&self, source: Source, addresses: impl IntoIterator<Item = IpAddr>) {
        let addresses = addresses.into_iter().collect();
        self.given().insert(source.as_str(), addresses);
    }

    fn given(&self) -> MutexGuard<'_, BTreeMap<&'static str, HashSet<IpAddr>>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use super::*;

    fn ip(last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    #[test]
    fn what_another_has_is_not_given_and_what_was_given_back_is() {
        let ledger = Ledger::default();
        assert_eq!(ledger.claim(Source::Api, [ip(1), ip(2)]), Ok(()));
        assert_eq!(ledger.claim(Source::Aws, [ip(3), ip(2)]), Err(ip(2)));
        assert!(ledger.of_others(Source::Api).is_empty(), "all or nothing");
        assert_eq!(ledger.claim(Source::Api, [ip(1)]), Ok(()));
        assert_eq!(ledger.claim(Source::Aws, [ip(3), ip(2)]), Ok(()));
        assert_eq!(ledger.of_others(Source::Api), [ip(2), ip(3)].into());
        ledger.insist(Source::Api, [ip(1), ip(3)]);
        assert!(ledger.of_others(Source::Aws).contains(&ip(3)));
        assert_eq!(ledger.claim(Source::Api, [ip(1), ip(3), ip(4)]), Ok(()));
    }

    #[test]
    fn two_that_draw_at_the_same_time_never_get_the_same() {
        let ledger = Arc::new(Ledger::default());
        let draw = |source: Source, ledger: Arc<Ledger>| {
            std::thread::spawn(move || {
                let mut own: HashSet<IpAddr> = HashSet::new();
                loop {
                    let taken = ledger.of_others(source);
                    let free = (1..=200)
                        .map(ip)
                        .find(|ip| !taken.contains(ip) && !own.contains(ip));
                    let Some(free) = free else { return own };
                    let next = own.iter().copied().chain([free]);
                    if ledger.claim(source, next).is_ok() {
                        own.insert(free);
                    }
                }
            })
        };
        let [api, aws] = [Source::Api, Source::Aws].map(|source| draw(source, ledger.clone()));
        let (api, aws) = (api.join().expect("it ends"), aws.join().expect("it ends"));
        assert!(api.is_disjoint(&aws));
        assert_eq!(api.len() + aws.len(), 200);
    }
}
