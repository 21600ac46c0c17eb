//! The workloads of TCP: bulk, keep-alive requests, new connections, and memory of idle flows.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::client::{self, Done};
use crate::cpu;
use crate::service::Service;
use crate::workload::{Outcome, Run, Units, Workload};

/// The workloads of this file.
pub(crate) fn all() -> Vec<Box<dyn Workload>> {
    vec![
        Box::new(Bulk { streams: 1 }),
        Box::new(Bulk { streams: 64 }),
        Box::new(Requests { connections: 1 }),
        Box::new(Requests { connections: 64 }),
        Box::new(Requests { connections: 2000 }),
        Box::new(Connects { abreast: 32 }),
        Box::new(Idle),
    ]
}

struct Bulk {
    streams: usize,
}

impl Workload for Bulk {
    fn name(&self) -> String {
        format!("bulk-{}", self.streams)
    }

    fn says(&self) -> String {
        format!("{} stream(s) that send as fast as they may", self.streams)
    }

    fn units(&self) -> Units {
        Units::BULK
    }

    fn service(&self) -> Service {
        Service::Swallows
    }

    fn run(&self, run: &Run<'_>) -> Result<Option<Outcome>> {
        let done = client::bulk(run.to(self.service())?, self.streams, run.length)?;
        let gigabytes = done.count as f64 / 1e9;
        Ok(Some(Outcome {
            rate: gigabytes * 8.0 / done.took.as_secs_f64(),
            work: gigabytes,
            took: done.took,
            times: None,
            failed: done.failed,
            threads: self.streams,
            own: None,
        }))
    }
}

/// How many connections a run of one at a time has. Which thread of the target gets a connection, and which CPU that runs on beside the
/// generator and the endpoint, moves an exchange by more than targets differ.
const ALONE: u32 = 10;

struct Requests {
    connections: usize,
}

impl Workload for Requests {
    fn name(&self) -> String {
        format!("requests-{}", self.connections)
    }

    fn says(&self) -> String {
        format!(
            "requests of 64 bytes with answers of 256, one in flight on each of {} connection(s){}",
            self.connections,
            if self.connections == 1 {
                format!(", {ALONE} of them one after the other")
            } else {
                String::new()
            }
        )
    }

    fn units(&self) -> Units {
        Units::OPERATIONS
    }

    fn service(&self) -> Service {
        Service::Answers
    }

    /// Each of many has only a few turns in a short run, and one alone is as fast as where it happened to be put.
    fn length(&self, asked: Duration) -> Duration {
        if self.connections > 1000 || self.connections == 1 {
            asked * 2
        } else {
            asked
        }
    }

    /// A process is faster or slower at this for as long as it lives, by more than targets differ: each repetition has another one.
    fn wants_fresh_target(&self) -> bool {
        self.connections == 1
    }

    fn run(&self, run: &Run<'_>) -> Result<Option<Outcome>> {
        let to = run.to(self.service())?;
        let after_one_another = if self.connections == 1 { ALONE } else { 1 };
        client::requests(to, self.connections, after_one_another, run.length)
            .map(|done| Some(operations(done)))
    }
}

struct Connects {
    abreast: usize,
}

impl Workload for Connects {
    fn name(&self) -> String {
        format!("connects-{}", self.abreast)
    }

    fn says(&self) -> String {
        format!(
            "connect, one request, its answer, close; {} at a time, from many addresses to an endpoint of eight",
            self.abreast
        )
    }

    fn units(&self) -> Units {
        Units::OPERATIONS
    }

    fn service(&self) -> Service {
        Service::Spread
    }

    fn run(&self, run: &Run<'_>) -> Result<Option<Outcome>> {
        let to = run.to(self.service())?;
        client::connects(to, self.abreast, run.length).map(|done| Some(operations(done)))
    }
}

pub(crate) fn operations(done: Done) -> Outcome {
    Outcome {
        rate: done.count as f64 / done.took.as_secs_f64(),
        work: (done.count + done.before) as f64,
        took: done.took,
        times: Some(done.times),
        failed: done.failed,
        threads: 1,
        own: None,
    }
}

struct Idle;

/// Flows that come and go before memory is looked at.
const FIRST: usize = 64;

impl Workload for Idle {
    fn name(&self) -> String {
        "idle".to_owned()
    }

    fn says(&self) -> String {
        "resident memory of the target for each of many flows that made one request and are silent, against that of the \
         target after its first few flows"
            .to_owned()
    }

    fn units(&self) -> Units {
        Units {
            rate: "bytes a flow",
            more_is_better: false,
            cpu: None,
        }
    }

    fn service(&self) -> Service {
        Service::Answers
    }

    /// Memory that an earlier run freed would hide what this one takes.
    fn wants_fresh_target(&self) -> bool {
        true
    }

    fn run(&self, run: &Run<'_>) -> Result<Option<Outcome>> {
        let Some(pid) = run.target.pid() else {
            return Ok(None);
        };
        let start = Instant::now();
        // A few first, so that what a target takes for the first of all is not counted.
        drop(client::idle(run.to(self.service())?, FIRST).context("first flows")?);
        settle(pid)?;
        let before = cpu::resident(pid);
        let kept = client::idle(run.to(self.service())?, run.idle).context("idle flows")?;
        let after = cpu::resident(pid);
        let flows = kept.len() as f64;
        drop(kept);
        // The endpoint has as many to close, and the next run needs its descriptors.
        wait_until_closed(pid, run.idle)?;
        Ok(Some(Outcome {
            rate: after.saturating_sub(before) as f64 / flows,
            work: 0.0,
            took: start.elapsed(),
            times: None,
            failed: 0,
            threads: 1,
            own: None,
        }))
    }
}

/// Waits until a target that has just started has stopped growing.
fn settle(pid: u32) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut last = 0;
    loop {
        let now = cpu::resident(pid);
        if now == last || Instant::now() > deadline {
            return Ok(());
        }
        last = now;
        thread::sleep(Duration::from_millis(300));
    }
}

fn wait_until_closed(pid: u32, flows: usize) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while open_descriptors(pid) > flows / 2 {
        if Instant::now() > deadline {
            bail!("process {pid} keeps the flows that its clients have closed");
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn open_descriptors(pid: u32) -> usize {
    let count = |pid| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    cpu::members(pid).into_iter().map(count).sum()
}
