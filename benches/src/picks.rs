//! What a pick costs, beside the load: the full comparison is the criterion bench `pick`.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::Result;
use portolan_config::address::ClientAddr;
use portolan_config::model::ClientAffinity;

use crate::listener::{Health, first, listener};
use crate::peer::Kind;
use crate::service::Service;
use crate::workload::{Outcome, Run, Units, Workload};

/// The workloads of this file: groups and endpoints a group.
pub(crate) fn all() -> Vec<Box<dyn Workload>> {
    let sizes = [(1, 10), (1, 1000), (10, 10_000)];
    let of = |(groups, size)| Box::new(Pick { groups, size }) as Box<dyn Workload>;
    sizes.into_iter().map(of).collect()
}

struct Pick {
    groups: usize,
    size: usize,
}

impl Workload for Pick {
    fn name(&self) -> String {
        format!("pick-{}", self.groups * self.size)
    }

    fn says(&self) -> String {
        format!(
            "choosing among {} endpoints in {} group(s) for a client that was not seen before; of Portolan alone, since peers do not do it apart",
            self.groups * self.size,
            self.groups
        )
    }

    fn units(&self) -> Units {
        Units {
            rate: "ns a pick",
            more_is_better: false,
            cpu: None,
        }
    }

    fn service(&self) -> Service {
        Service::Answers
    }

    fn run(&self, run: &Run<'_>) -> Result<Option<Outcome>> {
        if run.target.kind != Kind::Portolan {
            return Ok(None);
        }
        let listener = listener(
            ClientAffinity::SourceIp,
            self.groups,
            self.size,
            Health::All,
        );
        let (start, mut picks, mut client) = (Instant::now(), 0_u64, 0_u32);
        while start.elapsed() < run.length {
            for _ in 0..1000 {
                client = client.wrapping_add(0x9e37_79b9);
                let client = ClientAddr((Ipv4Addr::from(client), 40_000).into());
                black_box(first(&listener, client));
            }
            picks += 1000;
        }
        let took = start.elapsed();
        Ok(Some(Outcome {
            rate: took.as_nanos() as f64 / picks as f64,
            work: 0.0,
            took,
            times: None,
            failed: 0,
            threads: 1,
            own: None,
        }))
    }
}
