//! What records and health checks cost a month, so that a plan shows it before it is applied. Pure; prices of
//! aws.amazon.com/route53/pricing as of September 2026, in cents, for endpoints outside AWS.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::counted;
use super::health_checks::CheckConfig;
use super::model::{RecordSet, Routing};

/// A hosted zone, the first 25 of an account.
const ZONE: f64 = 50.0;
/// Records of a zone that cost nothing.
const INCLUDED: usize = 10_000;
/// Each record beyond them.
const RECORD: f64 = 0.15;
/// A health check of an address outside AWS.
const CHECK: f64 = 75.0;
/// Each of HTTPS, string matching, asking every 10 seconds.
const EXTRA: f64 = 200.0;

/// An estimate, in dollars.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// The zone, when the plan makes it.
    pub zone: f64,
    /// Records beyond the zone's 10,000.
    pub records: f64,
    /// Health checks of this PoP.
    pub health_checks: f64,
    /// How many checks.
    pub checks: usize,
    /// A million queries, by the dearest policy in use.
    pub million_queries: f64,
}

impl Cost {
    /// Of a month after the plan.
    pub fn of<'a>(
        new_zone: bool,
        records_after: usize,
        checks: &BTreeSet<CheckConfig>,
        ours: impl Iterator<Item = &'a RecordSet>,
    ) -> Self {
        let cents: f64 = checks
            .iter()
            .map(|check| CHECK + EXTRA * f64::from(check.extras()))
            .sum();
        // The sum of no numbers is minus nothing, and would be shown so.
        let cents = cents + 0.0;
        let dearest = ours.map(|set| queries(&set.routing)).fold(0.0, f64::max);
        Cost {
            zone: if new_zone { ZONE / 100.0 } else { 0.0 },
            records: records_after.saturating_sub(INCLUDED) as f64 * RECORD / 100.0,
            health_checks: cents / 100.0,
            checks: checks.len(),
            million_queries: dearest,
        }
    }

    /// All that comes every month whatever is asked.
    pub fn monthly(&self) -> f64 {
        self.zone + self.records + self.health_checks
    }
}

fn queries(routing: &Routing) -> f64 {
    match routing {
        Routing::Simple
        | Routing::Weighted { .. }
        | Routing::Failover { .. }
        | Routing::Multivalue => 0.40,
        Routing::Latency { .. } => 0.60,
        Routing::Geolocation { .. } | Routing::Geoproximity { .. } => 0.70,
        Routing::Cidr { .. } => 0.80,
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cost {
            zone,
            records,
            health_checks,
            checks,
            million_queries,
        } = self;
        write!(f, "about ${:.2} a month:", self.monthly())?;
        if *zone > 0.0 {
            write!(f, " zone ${zone:.2},")?;
        }
        write!(
            f,
            " records ${records:.2}, {} ${health_checks:.2}; and ${million_queries:.2} a million queries",
            counted(*checks, "health check")
        )
    }
}

#[cfg(test)]
mod tests {
    use portolan_config::model::{PopCheck, PopCheckProtocol};

    use super::*;

    #[test]
    fn a_pop_with_everything_costs_what_the_price_list_says() {
        let check = PopCheck {
            protocol: PopCheckProtocol::Https,
            port: 443,
            path: "/".into(),
            host: None,
            search: Some("ok".into()),
            fast: true,
            threshold: 3,
        };
        let of = |ip: &str| CheckConfig::of(&check, ip.parse().expect("an address"));
        let checks = BTreeSet::from([of("203.0.113.1"), of("2001:db8::1")]);
        let cost = Cost::of(false, 10_100, &checks, std::iter::empty());
        assert!((cost.health_checks - 13.5).abs() < 1e-9, "{cost:?}");
        assert!((cost.records - 0.15).abs() < 1e-9, "{cost:?}");
        assert!((cost.monthly() - 13.65).abs() < 1e-9, "{cost:?}");
        let none = Cost::of(false, 4, &BTreeSet::new(), std::iter::empty());
        assert!(!none.to_string().contains('-'), "{none}");
    }
}
