//! A child process whose output is kept, and which does not outlive its owner.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::timeout;

use crate::deadline::{PATIENCE, eventually, until};

/// A running program.
pub struct Process {
    name: String,
    child: Child,
    output: Arc<Mutex<String>>,
    readers: [JoinHandle<()>; 2],
}

/// For its last words; longer only where a child of its own goes on with its streams.
const LAST_WORDS: Duration = Duration::from_secs(2);

impl Process {
    /// Starts it with its output captured.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(name: &str, command: &mut Command) -> Process {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let output = Arc::new(Mutex::new(String::new()));
        let readers = [
            keep(child.stdout.take().expect("piped above"), &output),
            keep(child.stderr.take().expect("piped above"), &output),
        ];
        Process {
            name: name.to_owned(),
            child,
            output,
            readers,
        }
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote so far, both streams.
    pub fn output(&self) -> String {
        self.output.lock().expect("no writer panics").clone()
    }

    /// Sends a signal, by its name without `SIG`.
    ///
    /// # Panics
    /// When the process is not there.
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.pid());
        let status = Command::new("sh")
            .args(["-c", &kill])
            .status()
            .expect("sh can be run");
        assert!(status.success(), "{kill}");
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits for its end, and until what it wrote is in its output.
    ///
    /// # Panics
    /// When it runs longer than that.
    pub async fn end(&mut self, within: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        let status = eventually(&what, within, async || self.ended()).await;
        let read = async || self.readers.iter().all(JoinHandle::is_finished);
        // In vain where others hold the streams.
        let _ = timeout(LAST_WORDS, until("its last words", PATIENCE, read)).await;
        status
    }

    /// CPU time it has used, user and system.
    ///
    /// # Panics
    /// When it has ended.
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()))
            .expect("the process runs");
        // The name may hold spaces; utime and stime are the 12th and 13th fields behind it (proc(5)).
        let fields: Vec<&str> = stat[stat.rfind(')').expect("proc(5)") + 2..]
            .split(' ')
            .collect();
        let ticks: u64 = fields[11].parse::<u64>().expect("a number")
            + fields[12].parse::<u64>().expect("a number");
        // USER_HZ is 100 on every Linux architecture that we run on.
        Duration::from_millis(ticks * 10)
    }

    /// Descriptors that it has open.
    ///
    /// # Panics
    /// When it has ended.
    pub fn descriptors(&self) -> usize {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.pid()));
        open.expect("the process runs").count()
    }

    /// Memory of its own, without mapped files, in bytes.
    ///
    /// # Panics
    /// When it has ended.
    pub fn anonymous_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .expect("the process runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"))
            .expect("proc(5)");
        let kib: u64 = line
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("a number");
        kib * 1024
    }
}

fn keep(stream: impl Read + Send + 'static, output: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let mut output = output.lock().expect("no reader panics");
            output.push_str(&String::from_utf8_lossy(&line));
            output.push('\n');
        }
    })
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; both errors say so.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- output of {} ---\n{}---", self.name, self.output());
        }
    }
}
