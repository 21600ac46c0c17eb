//! The workloads of UDP, on one core: each run has a target of its own with one worker, pinned to a core; generator and endpoint spin on
//! the other one, so that what the target's core does can be told apart: on loopback a datagram is delivered on the CPU that sends it.

mod generator;
mod host;
mod target;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use self::generator::{Done, Generator, Shape};
use self::host::Kernel;
use self::target::Target;
use crate::peer::Kind;
use crate::service::Service;
use crate::workload::{Outcome, Own, Run, Units, Workload};

/// The workloads of this file.
pub(crate) fn all() -> Vec<Box<dyn Workload>> {
    let of = |udp| Box::new(udp) as Box<dyn Workload>;
    ALL.into_iter().map(of).collect()
}

/// Flows of the rows that hold many: what a target can hold in 20,000 descriptors, with room to spare.
const MANY: usize = 15_000;

/// Round trips in flight: enough that the target always has work, few enough that no queue overflows.
const WINDOW: usize = 256;

struct Udp {
    name: &'static str,
    says: &'static str,
    what: What,
}

/// What is measured.
#[derive(Clone, Copy)]
enum What {
    /// As many round trips as get through.
    Rate(Shape),
    /// One round trip at a time: how long it takes.
    PingPong,
    /// So many round trips a second, whether or not the earlier ones are answered: how long each takes.
    Paced(u32),
    /// Every datagram begins a flow, until there are [`MANY`].
    New,
    /// What that many take of memory.
    Memory,
}

const SMALL: Shape = Shape {
    flows: 100,
    bytes: 64,
    train: 1,
    coalesced: false,
};

const fn interleaved(flows: usize) -> What {
    What::Rate(Shape { flows, ..SMALL })
}

const fn trains(coalesced: bool) -> What {
    What::Rate(Shape {
        flows: 10,
        bytes: 1200,
        train: 16,
        coalesced,
    })
}

const ALL: [Udp; 9] = [
    Udp {
        name: "udp-100",
        says: "datagrams of 64 bytes there and back over 100 flows, 256 in flight, one core",
        what: interleaved(100),
    },
    Udp {
        name: "udp-10000",
        says: "datagrams of 64 bytes there and back over 10,000 flows, 256 in flight, one core",
        what: interleaved(10_000),
    },
    Udp {
        name: "udp-15000",
        says: "datagrams of 64 bytes there and back over 15,000 flows, 256 in flight, one core",
        what: interleaved(MANY),
    },
    Udp {
        name: "udp-trains",
        says: "trains of 16 datagrams of 1,200 bytes over 10 flows, one core; the kernel splits them",
        what: trains(false),
    },
    Udp {
        name: "udp-trains-offload",
        says: "trains of 16 datagrams of 1,200 bytes over 10 flows, one core; split and coalesced as if by a device",
        what: trains(true),
    },
    Udp {
        name: "udp-ping-pong",
        says: "one datagram of 64 bytes at a time, there and back",
        what: What::PingPong,
    },
    Udp {
        name: "udp-20k",
        says: "20,000 round trips a second over 100 flows, whether or not the earlier ones were answered",
        what: What::Paced(20_000),
    },
    Udp {
        name: "udp-new",
        says: "every datagram a new flow, up to 15,000, 256 in flight, one core",
        what: What::New,
    },
    Udp {
        name: "udp-memory",
        says: "memory of each of 15,000 flows with their sockets: the target's own, and the kernel's slabs",
        what: What::Memory,
    },
];

impl Workload for Udp {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn says(&self) -> String {
        self.says.to_owned()
    }

    fn units(&self) -> Units {
        match self.what {
            What::Rate(_) | What::New => Units {
                rate: "round trips/s",
                more_is_better: true,
                // Two datagrams a round trip.
                cpu: Some(("CPU µs/datagram", 1e6)),
            },
            What::PingPong | What::Paced(_) => Units {
                rate: "µs (median)",
                more_is_better: false,
                cpu: None,
            },
            What::Memory => Units {
                rate: "bytes a flow",
                more_is_better: false,
                cpu: None,
            },
        }
    }

    fn service(&self) -> Service {
        Service::Echoes
    }

    fn run(&self, run: &Run<'_>) -> Result<Option<Outcome>> {
        // Its buffers for TCP are another setting of the same program.
        if run.target.kind == Kind::NginxLarge {
            return Ok(None);
        }
        let target = Target::start(run.target.kind, run.portolan, &run.folder.join("udp"))?;
        // A thread of its own is pinned, so that nothing else of this process is.
        thread::scope(|scope| {
            let pinned = scope.spawn(|| {
                host::pin_generator()?;
                once(self.what, &target, run.length)
            });
            pinned.join().expect("the generator does not panic")
        })
    }
}

fn once(what: What, target: &Target, length: Duration) -> Result<Option<Outcome>> {
    match what {
        What::Rate(shape) => {
            let mut generator = Generator::new(target.address, shape)?;
            // Every flow is there before the clock runs.
            generator.visit_all(WINDOW)?;
            let window = if shape.train > 1 {
                shape.train * 12
            } else {
                WINDOW
            };
            timed(target, || generator.closed(window, length)).map(Some)
        }
        What::PingPong => {
            let mut generator = Generator::new(target.address, Shape { flows: 1, ..SMALL })?;
            generator.visit_all(1)?;
            latency(target, || generator.closed(1, length)).map(Some)
        }
        What::Paced(rate) => {
            let mut generator = Generator::new(target.address, SMALL)?;
            generator.visit_all(WINDOW)?;
            latency(target, || generator.paced(rate, length)).map(Some)
        }
        What::New => {
            let mut generator = first_and_then_many(target)?;
            timed(target, || generator.visit_all(WINDOW)).map(Some)
        }
        What::Memory => memory(target),
    }
}

/// One flow first, so that what a target takes for the first of all is not counted.
fn first_and_then_many(target: &Target) -> Result<Generator> {
    let mut first = Generator::new(target.address, Shape { flows: 1, ..SMALL })?;
    first.visit_all(1)?;
    drop(first);
    let flows = MANY;
    Generator::new(target.address, Shape { flows, ..SMALL })
}

fn memory(target: &Target) -> Result<Option<Outcome>> {
    if target.kind == Kind::Direct {
        return Ok(None);
    }
    let mut generator = first_and_then_many(target)?;
    let before = (target.resident(), Kernel::now()?);
    let done = generator.visit_all(WINDOW)?;
    let own = target.resident().saturating_sub(before.0);
    let grown = own + Kernel::now()?.since(&before.1);
    Ok(Some(Outcome {
        rate: grown as f64 / MANY as f64,
        times: None,
        ..outcome(target, done, None)
    }))
}

/// Runs it, and counts what the target's core did meanwhile.
fn timed(target: &Target, run: impl FnOnce() -> Result<Done>) -> Result<Outcome> {
    let (began, before) = (Instant::now(), target.cpu());
    let done = run()?;
    let cpu = target.cpu().saturating_sub(before);
    ensure!(done.answered > 0, "nothing was answered");
    let busy = cpu.as_secs_f64() / began.elapsed().as_secs_f64();
    Ok(outcome(target, done, Some((cpu, busy))))
}

/// Runs it; the figure is how long a round trip takes, and a rate would say nothing.
fn latency(target: &Target, run: impl FnOnce() -> Result<Done>) -> Result<Outcome> {
    let done = run()?;
    ensure!(done.answered > 0, "nothing was answered");
    let rate = done.times.value_at_percentile(50.0) as f64 / 1000.0;
    Ok(Outcome {
        rate,
        ..outcome(target, done, None)
    })
}

fn outcome(target: &Target, done: Done, cpu: Option<(Duration, f64)>) -> Outcome {
    Outcome {
        rate: done.answered as f64 / done.took.as_secs_f64(),
        work: 2.0 * done.answered as f64,
        took: done.took,
        times: Some(done.times),
        failed: done.lost,
        threads: 1,
        own: Some(Own {
            cpu: cpu.map_or(Duration::ZERO, |(cpu, _)| cpu),
            busy: cpu.map(|(_, busy)| busy),
            resident: (target.kind != Kind::Direct).then(|| target.resident()),
        }),
    }
}

/// What a target is given; empty for one that takes no part.
pub(crate) fn configuration(kind: Kind) -> String {
    target::configuration(kind, Path::new("/run")).unwrap_or_default()
}
