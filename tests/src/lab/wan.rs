//! The WAN: every link is a pair of TUN interfaces, one in each namespace, and one thread carries packets between them and holds each
//! for its delay. The kernels at both ends see a real round trip; no queueing discipline or module is needed, and all of it vanishes
//! with this process.

mod direction;
mod opened;
mod settings;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};

pub use direction::Counted;
use direction::{Direction, FRAME_HEADER, Moment};
pub use opened::Opened;
use opened::Recorder;
use settings::Change;
pub use settings::Settings;

use super::sys;

/// Fixed, so that a run can be repeated as far as a kernel's timing lets it.
const SEED: u64 = 0x9E37_79B9;

/// Frames read from one interface before the others get their turn.
const READ_BATCH: usize = 64;

/// Larger than any segment.
const LONGEST_FRAME: usize = FRAME_HEADER + 65_536;

/// The token of the descriptor that wakes the thread for a command.
const WAKE: u64 = u64::MAX;

/// The first direction's settings of a link that is made with these words.
pub(crate) fn parse(words: &str) -> Result<Settings, String> {
    Ok(Change::default().parse(words)?.there)
}

/// A link's two interfaces, before it is started.
pub(crate) struct Ends {
    pub(crate) name: String,
    pub(crate) settings: String,
    pub(crate) ends: [OwnedFd; 2],
}

/// The running emulator; it ends, and its links vanish, when this is dropped.
pub(crate) struct Wan {
    commands: mpsc::Sender<Command>,
    wake: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

enum Command {
    Set(String, String, mpsc::Sender<Result<(), String>>),
    Count(mpsc::Sender<HashMap<String, [Counted; 2]>>),
    Show(mpsc::Sender<String>),
    Record(bool, mpsc::Sender<Vec<Opened>>),
    End,
}

impl Wan {
    /// Starts carrying.
    pub(crate) fn start(links: Vec<Ends>) -> io::Result<Wan> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (commands, received) = mpsc::channel();
        let mut carrier = Carrier::new(received, wake.try_clone()?);
        for link in links {
            carrier.add(link).map_err(io::Error::other)?;
        }
        let epoll = carrier.watch()?;
        let thread = std::thread::Builder::new()
            .name("wan".to_owned())
            .spawn(move || carrier.run(&epoll))?;
        Ok(Wan {
            commands,
            wake,
            thread: Some(thread),
        })
    }

    /// Changes a link; see [`Settings`] for the words.
    pub(crate) fn set(&self, link: &str, words: &str) -> Result<(), String> {
        self.ask(|reply| Command::Set(link.to_owned(), words.to_owned(), reply))
    }

    /// What happened on each link, there and back.
    pub(crate) fn counted(&self) -> HashMap<String, [Counted; 2]> {
        self.ask(Command::Count)
    }

    /// All links as a table.
    pub(crate) fn show(&self) -> String {
        self.ask(Command::Show)
    }

    /// Begins to record which connections are begun, or ends it; gives what was recorded since the last call.
    pub(crate) fn record(&self, on: bool) -> Vec<Opened> {
        self.ask(|reply| Command::Record(on, reply))
    }

    fn ask<T>(&self, command: impl FnOnce(mpsc::Sender<T>) -> Command) -> T {
        let (reply, answer) = mpsc::channel();
        self.tell(command(reply));
        answer
            .recv()
            .expect("the emulator runs as long as its owner")
    }

    fn tell(&self, command: Command) {
        // It fails only when the thread has ended, which `ask` notices.
        let _ = self.commands.send(command);
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        self.tell(Command::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Link {
    name: String,
    carrier: bool,
}

/// The thread's state. Interface `2 * i` is link `i`'s first end; direction `d` reads interface `d` and writes to its sibling.
struct Carrier {
    links: Vec<Link>,
    interfaces: Vec<OwnedFd>,
    directions: Vec<Direction>,
    rng: StdRng,
    recorder: Recorder,
    began: Instant,
    commands: mpsc::Receiver<Command>,
    wake: OwnedFd,
}

impl Carrier {
    fn new(commands: mpsc::Receiver<Command>, wake: OwnedFd) -> Carrier {
        Carrier {
            links: Vec::new(),
            interfaces: Vec::new(),
            directions: Vec::new(),
            rng: StdRng::seed_from_u64(SEED),
            recorder: Recorder::default(),
            began: Instant::now(),
            commands,
            wake,
        }
    }

    fn add(&mut self, link: Ends) -> Result<(), String> {
        let Ends {
            name,
            settings,
            ends,
        } = link;
        self.interfaces.extend(ends);
        self.directions
            .extend([Direction::default(), Direction::default()]);
        self.links.push(Link {
            name,
            carrier: true,
        });
        self.apply(self.links.len() - 1, &settings)
    }

    fn watch(&self) -> io::Result<OwnedFd> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (index, interface) in self.interfaces.iter().enumerate() {
            let token = epoll::EventData::new_u64(index as u64);
            epoll::add(&epoll, interface, token, epoll::EventFlags::IN)?;
        }
        let token = epoll::EventData::new_u64(WAKE);
        epoll::add(&epoll, &self.wake, token, epoll::EventFlags::IN)?;
        Ok(epoll)
    }

    fn run(mut self, epoll: &OwnedFd) {
        sys::run_ahead();
        // Wakes at the nanosecond asked for, not up to 50 µs later.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        let mut buffer = vec![0; LONGEST_FRAME];
        let mut events = Vec::with_capacity(64);
        loop {
            self.deliver();
            let wait = self.wait();
            events.clear();
            let spare = rustix::buffer::spare_capacity(&mut events);
            if epoll::wait(epoll, spare, wait.as_ref()).is_err() {
                // Interrupted by a signal: nothing is lost.
                continue;
            }
            for event in &events {
                match event.data.u64() {
                    WAKE if self.obey() => return,
                    WAKE => {}
                    index => self.read(index as usize, &mut buffer),
                }
            }
        }
    }

    fn now(&self) -> Moment {
        self.began.elapsed()
    }

    fn deliver(&mut self) {
        for index in 0..self.directions.len() {
            let now = self.now();
            while let Some(frame) = self.directions[index].next(now) {
                // It fails when the far interface is down, and then the packet is lost as on a real one.
                let _ = rustix::io::write(&self.interfaces[index ^ 1], &frame);
            }
        }
    }

    /// Until the next packet is due; `None` is for ever.
    fn wait(&self) -> Option<Timespec> {
        let due = self.directions.iter().filter_map(Direction::due).min()?;
        let wait = due.saturating_sub(self.now());
        Some(Timespec {
            tv_sec: wait.as_secs() as _,
            tv_nsec: wait.subsec_nanos().into(),
        })
    }

    fn read(&mut self, index: usize, buffer: &mut [u8]) {
        for _ in 0..READ_BATCH {
            match sys::read_frame(self.interfaces[index].as_fd(), buffer) {
                // What a kernel still sends before it has heard that the light is gone.
                Some(_) if !self.links[index / 2].carrier => {}
                Some(length) if length > FRAME_HEADER => {
                    self.recorder
                        .look(index / 2, &buffer[..length], Instant::now());
                    let now = self.now();
                    self.directions[index].accept(&buffer[..length], now, &mut self.rng);
                }
                _ => return,
            }
        }
    }

    /// Does what it was told; `true` is the end.
    fn obey(&mut self) -> bool {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        while let Ok(command) = self.commands.try_recv() {
            // Whoever asked may have given up waiting.
            match command {
                Command::Set(link, words, reply) => {
                    let _ = reply.send(self.set(&link, &words));
                }
                Command::Count(reply) => {
                    let _ = reply.send(self.counted());
                }
                Command::Show(reply) => {
                    let _ = reply.send(self.show());
                }
                Command::Record(on, reply) => {
                    let _ = reply.send(self.recorder.turn(on));
                }
                Command::End => return true,
            }
        }
        false
    }

    fn set(&mut self, name: &str, words: &str) -> Result<(), String> {
        let found = self.links.iter().position(|link| link.name == name);
        let index = found.ok_or_else(|| {
            let names: Vec<&str> = self.links.iter().map(|link| link.name.as_str()).collect();
            format!("{name}: no such link; there are {}", names.join(" "))
        })?;
        self.apply(index, words)
    }

    fn apply(&mut self, index: usize, words: &str) -> Result<(), String> {
        let (there, back) = (2 * index, 2 * index + 1);
        let change = Change {
            there: self.directions[there].settings.clone(),
            back: self.directions[back].settings.clone(),
            carrier: self.links[index].carrier,
        };
        let Change {
            there: to,
            back: from,
            carrier,
        } = change.parse(words)?;
        let shown = |error: io::Error| format!("{}: {error}", self.links[index].name);
        for (direction, settings) in [(there, &to), (back, &from)] {
            let interface = self.interfaces[direction].as_fd();
            sys::set_offload(interface, settings.only_delay()).map_err(shown)?;
            if carrier != self.links[index].carrier {
                sys::set_carrier(interface, carrier).map_err(shown)?;
                self.directions[direction].clear();
            }
        }
        self.directions[there].settings = to;
        self.directions[back].settings = from;
        self.links[index].carrier = carrier;
        Ok(())
    }

    fn counted(&self) -> HashMap<String, [Counted; 2]> {
        let both = |index: usize| {
            [
                self.directions[index].counted,
                self.directions[index + 1].counted,
            ]
        };
        let named = |(index, link): (usize, &Link)| (link.name.clone(), both(2 * index));
        self.links.iter().enumerate().map(named).collect()
    }

    fn show(&self) -> String {
        let mut out = format!(
            "{:<24} {:>8} {:>8} {:>6} {:>9} {:>9} {:>9} {:>9}\n",
            "link", "delay", "jitter", "loss", "state", "packets", "lost", "late"
        );
        for (index, direction) in self.directions.iter().enumerate() {
            let link = &self.links[index / 2];
            let Settings {
                delay,
                jitter,
                loss,
                blackhole,
                ..
            } = direction.settings;
            let state = match (link.carrier, blackhole) {
                (false, _) => "cut",
                (true, true) => "blackhole",
                (true, false) => "up",
            };
            let Counted {
                packets,
                lost,
                overflowed,
                swallowed,
                latest,
                ..
            } = direction.counted;
            let name = format!("{}{}", link.name, ["", " (back)"][index % 2]);
            out += &format!(
                "{name:<24} {:>8} {:>8} {:>5}% {state:>9} {packets:>9} {:>9} {:>9}\n",
                shown(delay),
                shown(jitter),
                loss * 100.0,
                lost + overflowed + swallowed,
                shown(latest),
            );
        }
        out
    }
}

fn shown(duration: Duration) -> String {
    format!("{:.1}ms", duration.as_secs_f64() * 1e3)
}
