//! Writes one JSON line at the end of a flow, with the fields of Global Accelerator's flow logs and a few of ours. The data
//! path hands records in and is never held up: the queue is bounded and what does not fit is dropped and counted. One thread
//! writes; it follows the path when the file is rotated away. Only this thread touches the file's contents.
//!
//! A wake-up and a write a record would cost a short flow a quarter of its system calls, more where somebody watches the file's
//! folder. So the writer looks at the queue every `GATHER` while records come, and waits at it only when none do: the first record
//! after a pause is written at once, the others soon after, together.

mod line;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle, Thread, park_timeout};
use std::time::{Duration, Instant};

use portolan_config::flow::{FlowRecord, RecordSink};
use tracing::{info, warn};

/// About a quarter of a second of a very busy edge, and under 4 MiB. Beyond that the disk is too slow and waiting would not help.
const QUEUED_RECORDS: usize = 8192;

/// Records that are written by one system call at most, so that the buffer stays small.
const BATCH: usize = 512;

/// How long records gather before they are written: the longest that one is late.
const GATHER: Duration = Duration::from_millis(50);

/// Queued records that the writer is called for before that, with as much room left for those that come meanwhile.
const CALLED_FOR: usize = QUEUED_RECORDS / 4;

/// How often the path is compared with the open file, as `logrotate` moves it away.
const ROTATION_CHECK: Duration = Duration::from_secs(1);

/// How often a standing write error is said again.
const ERROR_AGAIN: Duration = Duration::from_secs(60);

/// Takes the records of finished flows. Lives as long as the process, on or off; dropping it writes out what is queued.
#[derive(Debug)]
pub struct FlowLog {
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
    /// The writer's thread, to call it.
    thread: Thread,
    /// `None` after [`FlowLog::end`].
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What the writer is sent.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "all but one are records, and a box would be an allocation for each on a data-path thread"
)]
enum Message {
    /// Of a flow that has ended.
    Record(FlowRecord),
    /// Nothing comes after this.
    End,
}

/// What became of the records.
#[derive(Debug, Default)]
pub struct FlowLogStats {
    /// Written to the file.
    pub written: AtomicU64,
    /// Left out by `log.sample`.
    pub sampled_out: AtomicU64,
    /// Found the queue full.
    pub dropped: AtomicU64,
    /// Lost to an error of the file.
    pub failed: AtomicU64,
}

/// The flow log's file could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("flow log {}: {source}; log.flow_log must be a path that this user may write in a directory that exists", path.display())]
pub struct OpenError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

#[derive(Debug)]
struct Shared {
    /// The PoP's name, as `globalaccelerator_region`.
    pop: String,
    wanted: AtomicBool,
    /// A flow is recorded when the hash of its id is below this; `u64::MAX` takes all.
    sample_below: AtomicU64,
    /// Records that are in the queue, or on their way into it.
    queued: AtomicUsize,
    /// Set when `next` holds something that the writer has not taken yet.
    changed: AtomicBool,
    next: Mutex<Next>,
    stats: FlowLogStats,
}

/// What the writer is to write to from its next batch on.
#[derive(Debug)]
enum Next {
    /// As before, but open the path again.
    Reopen,
    /// Elsewhere, or nowhere.
    Switch(Option<Target>),
}

#[derive(Debug)]
struct Target {
    path: PathBuf,
    file: File,
    /// Device and inode, to notice that the path names another file.
    identity: (u64, u64),
}

impl FlowLog {
    /// Starts the writer, with nothing to write to until [`FlowLog::configure`].
    pub fn start(pop: impl Into<String>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            pop: pop.into(),
            wanted: AtomicBool::new(false),
            sample_below: AtomicU64::new(u64::MAX),
            queued: AtomicUsize::new(0),
            changed: AtomicBool::new(false),
            next: Mutex::new(Next::Switch(None)),
            stats: FlowLogStats::default(),
        });
        let (queue, queued) = sync_channel(QUEUED_RECORDS);
        let writer = Writer::new(shared.clone());
        let writer = Builder::new()
            .name("flow-log".into())
            .spawn(move || writer.run(&queued))?;
        Ok(Self {
            queue,
            shared,
            thread: writer.thread().clone(),
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Writes to `path` from here on (`None` is off), the share `sample` (0.0 to 1.0) of the flows. On an error everything stays as it was.
    pub fn configure(&self, path: Option<&Path>, sample: f64) -> Result<(), OpenError> {
        let target = path.map(Target::open).transpose()?;
        self.shared
            .sample_below
            .store(threshold(sample), Ordering::Relaxed);
        self.shared
            .wanted
            .store(target.is_some(), Ordering::Relaxed);
        self.shared.change(Next::Switch(target));
        Ok(())
    }

    /// Opens the file again at the writer's next turn, for rotation by signal.
    pub fn reopen(&self) {
        // A switch that is still waiting opens its file anyway.
        if !self.shared.changed.load(Ordering::Acquire) {
            self.shared.change(Next::Reopen);
        }
    }

    /// Writes out what is queued and stops for good, whoever else still holds it; later records are counted as dropped.
    pub fn end(&self) {
        let writer = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(writer) = writer {
            // It may be gathering, before an end that waits for room and after one that found it.
            self.thread.unpark();
            // Fails when the writer has panicked, which its thread has reported, as joining it would.
            let _ = self.queue.send(Message::End);
            self.thread.unpark();
            let _ = writer.join();
        }
    }

    /// What became of the records so far.
    pub fn stats(&self) -> &FlowLogStats {
        &self.shared.stats
    }
}

impl RecordSink for FlowLog {
    fn wants(&self) -> bool {
        self.shared.wanted.load(Ordering::Relaxed)
    }

    fn record(&self, record: FlowRecord) {
        if !self.wants() {
            return;
        }
        let stats = &self.shared.stats;
        if !sampled(record.id, self.shared.sample_below.load(Ordering::Relaxed)) {
            stats.sampled_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // Counted first, so that the writer never takes away more than was counted.
        if self.shared.queued.fetch_add(1, Ordering::Relaxed) + 1 == CALLED_FOR {
            self.thread.unpark();
        }
        match self.queue.try_send(Message::Record(record)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.shared.queued.fetch_sub(1, Ordering::Relaxed);
                stats.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for FlowLog {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn change(&self, next: Next) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = next;
        self.changed.store(true, Ordering::Release);
    }
}

/// The bound that a share of hashes lies below.
fn threshold(sample: f64) -> u64 {
    // The cast saturates: 1.0 becomes `u64::MAX`, which takes all.
    (sample.clamp(0.0, 1.0) * u64::MAX as f64) as u64
}

/// Whether a flow is in the sample. By its id alone, so that a flow's records are all there or none is.
fn sampled(id: u64, below: u64) -> bool {
    below == u64::MAX || mix(id) < below
}

/// The finalizer of SplitMix64: ids count up, and the sample must not follow their order.
fn mix(id: u64) -> u64 {
    let mut z = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Target {
    fn open(path: &Path) -> Result<Self, OpenError> {
        let opened = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|file| file.metadata().map(|meta| (file, meta)));
        match opened {
            Ok((file, meta)) => Ok(Self {
                path: path.to_owned(),
                file,
                identity: (meta.dev(), meta.ino()),
            }),
            Err(source) => Err(OpenError {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Whether the path no longer names the open file.
    fn is_rotated_away(&self) -> bool {
        match std::fs::metadata(&self.path) {
            Ok(meta) => (meta.dev(), meta.ino()) != self.identity,
            Err(_) => true,
        }
    }
}

/// The thread that writes.
struct Writer {
    shared: Arc<Shared>,
    target: Option<Target>,
    /// What was written to until it was switched off: what was queued by then still goes there.
    left: Option<Target>,
    lines: Vec<u8>,
    checked: Instant,
    complaint: Complaint,
}

/// What a batch has left of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queue {
    Empty,
    Longer,
    /// Nothing comes any more.
    Ended,
}

/// A standing error, said at its start and once a while.
#[derive(Default)]
struct Complaint {
    said: Option<Instant>,
    failed_since: u64,
}

impl Writer {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            target: None,
            left: None,
            lines: Vec::new(),
            checked: Instant::now(),
            complaint: Complaint::default(),
        }
    }

    fn run(mut self, queue: &Receiver<Message>) {
        loop {
            match queue.recv_timeout(ROTATION_CHECK) {
                Ok(first) => {
                    if self.write_while_they_come(first, queue) == Queue::Ended {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.follow(Instant::now()),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.left = None;
        }
    }

    /// Writes what is queued, again and again until nothing has gathered. Nobody waits at the queue meanwhile, so that handing a record in
    /// is no wake-up.
    fn write_while_they_come(&mut self, first: Message, queue: &Receiver<Message>) -> Queue {
        let mut first = Some(first);
        loop {
            match self.write_batch(first.take().into_iter().chain(queue.try_iter())) {
                Queue::Longer => {}
                Queue::Empty => {
                    park_timeout(GATHER);
                    first = queue.try_recv().ok();
                    if first.is_none() {
                        return Queue::Empty;
                    }
                }
                Queue::Ended => return Queue::Ended,
            }
        }
    }

    fn write_batch(&mut self, messages: impl Iterator<Item = Message>) -> Queue {
        let (mut count, mut ended) = (0, false);
        self.lines.clear();
        for message in messages.take(BATCH) {
            match message {
                Message::Record(record) => {
                    line::append(&mut self.lines, &self.shared.pop, &record);
                    count += 1;
                }
                Message::End => ended = true,
            }
        }
        self.shared.queued.fetch_sub(count, Ordering::Relaxed);
        self.write(count as u64);
        match (ended, count < BATCH) {
            (true, _) => Queue::Ended,
            (false, true) => Queue::Empty,
            (false, false) => Queue::Longer,
        }
    }

    /// Writes the lines, `count` of them.
    fn write(&mut self, count: u64) {
        let now = Instant::now();
        self.follow(now);
        let Some(target) = self.target.as_mut().or(self.left.as_mut()) else {
            // Nowhere was ever written to since these were wanted.
            self.shared.stats.failed.fetch_add(count, Ordering::Relaxed);
            return;
        };
        match target.file.write_all(&self.lines) {
            Ok(()) => {
                self.shared
                    .stats
                    .written
                    .fetch_add(count, Ordering::Relaxed);
                self.complaint.end();
            }
            Err(error) => {
                self.shared.stats.failed.fetch_add(count, Ordering::Relaxed);
                self.complaint.fail(&target.path, &error, count, now);
            }
        }
    }

    /// Takes a change that was asked for, and follows a rotation.
    fn follow(&mut self, now: Instant) {
        if self.shared.changed.swap(false, Ordering::AcqRel) {
            let next = std::mem::replace(
                &mut *self
                    .shared
                    .next
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner),
                Next::Reopen,
            );
            self.checked = now;
            match next {
                Next::Switch(target) => self.left = std::mem::replace(&mut self.target, target),
                Next::Reopen => self.reopen(now),
            }
        } else if now.duration_since(self.checked) >= ROTATION_CHECK {
            self.checked = now;
            if self.target.as_ref().is_some_and(Target::is_rotated_away) {
                self.reopen(now);
            }
        }
    }

    /// Opens the path again; keeps the old file when that fails, so that no record is lost meanwhile.
    fn reopen(&mut self, now: Instant) {
        let Some(target) = &mut self.target else {
            return;
        };
        match Target::open(&target.path) {
            Ok(opened) => {
                info!(path = %opened.path.display(), "flow log opened again");
                *target = opened;
            }
            Err(error) => self.complaint.fail(&target.path, &error.source, 0, now),
        }
    }
}

impl Complaint {
    fn fail(&mut self, path: &Path, error: &io::Error, lost: u64, now: Instant) {
        self.failed_since += lost;
        if self
            .said
            .is_none_or(|said| now.duration_since(said) >= ERROR_AGAIN)
        {
            warn!(path = %path.display(), %error, lost = self.failed_since, "flow log cannot be written");
            self.said = Some(now);
        }
    }

    fn end(&mut self) {
        if self.said.take().is_some() {
            info!(lost = self.failed_since, "flow log is written again");
        }
        self.failed_since = 0;
    }
}
