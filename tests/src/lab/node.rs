//! A place that runs: a network namespace, and one thread in it with a runtime of its own. What runs there, and what is started from
//! there, sees that network and no other. The namespace has no name and no file: it vanishes with the thread and its children, and the
//! children are killed by the kernel when the thread ends, however it ends.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread::{JoinHandle, ThreadId};

use tokio::sync::{mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};

use super::world::{Both, Place, Role};
use super::{routes, sys};
use crate::process::Process;

/// More than any test asks for at once; beyond it, askers wait.
const JOBS: usize = 64;

type Job = Box<dyn FnOnce() + Send>;

/// A place that runs. Clones are the same one.
#[derive(Clone)]
pub struct Node {
    place: Place,
    network: PathBuf,
    jobs: mpsc::Sender<Job>,
    // Behind `jobs`: the thread ends when the last sender has gone, and is then waited for.
    _thread: Arc<Thread>,
}

impl Node {
    /// Makes the namespace and its thread.
    pub(crate) fn start(place: Place) -> io::Result<Node> {
        let (jobs, received) = mpsc::channel(JOBS);
        let (ready, made) = std::sync::mpsc::channel();
        let role = place.role;
        let thread = std::thread::Builder::new()
            .name(place.name.clone())
            .spawn(move || {
                let entered = sys::enter_new_network().and_then(|()| {
                    routes::configure_kernel(role)?;
                    Ok(sys::network_path())
                });
                let succeeded = entered.is_ok();
                let _ = ready.send(entered);
                if succeeded {
                    serve(received);
                }
            })?;
        let id = thread.thread().id();
        let network = made.recv().map_err(io::Error::other)??;
        Ok(Node {
            place,
            network,
            jobs,
            _thread: Arc::new(Thread {
                id,
                handle: Some(thread),
            }),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.place.name
    }

    /// What it is.
    pub fn role(&self) -> Role {
        self.place.role
    }

    /// Its own addresses.
    pub fn own(&self) -> Both {
        self.place.own()
    }

    /// The addresses of its endpoint `index`, from 1, when it is a region.
    pub fn endpoint(&self, index: u8) -> Both {
        self.place.endpoint(index)
    }

    /// Its network namespace, as a file for `nsenter --net=`.
    pub fn network(&self) -> &Path {
        &self.network
    }

    /// Does something in this place, on its thread: sockets made there, and tasks spawned there, belong to its network.
    ///
    /// # Panics
    /// When that did.
    pub async fn run<T, F>(&self, work: F) -> T
    where
        T: Send + 'static,
        F: AsyncFnOnce() -> T + Send + 'static,
    {
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move || {
            spawn_local(async move {
                // Whoever asked may be gone.
                let _ = done.send(spawn_local(async move { work().await }).await);
            });
        });
        let accepted = self.jobs.send(job).await;
        assert!(accepted.is_ok(), "{} runs as long as a handle", self.name());
        match result.await {
            Ok(Ok(value)) => value,
            Ok(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Ok(Err(error)) => panic!("{}: {error}", self.name()),
            Err(_) => panic!("{} ended before the answer", self.name()),
        }
    }

    /// Starts a process here; see [`command`]. It is killed when it is dropped, or when this test process ends.
    pub async fn spawn(&self, name: &str, mut command: Command) -> Process {
        let name = name.to_owned();
        self.run(async move || Process::spawn(&name, &mut command))
            .await
    }

    /// Runs a program here to its end.
    ///
    /// # Panics
    /// When it cannot be run.
    pub async fn output(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = command(program);
        command.args(arguments);
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true);
        let name = program.to_owned();
        self.run(async move || {
            let output = command.output().await;
            output.unwrap_or_else(|error| panic!("{name}: {error}"))
        })
        .await
    }

    /// What `ip` says here.
    ///
    /// # Panics
    /// When it refuses.
    pub async fn ip(&self, arguments: &[&str]) -> String {
        let output = self.output("ip", arguments).await;
        let error = String::from_utf8_lossy(&output.stderr);
        let line = arguments.join(" ");
        assert!(
            output.status.success(),
            "{}: ip {line}: {error}",
            self.name()
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Many lines for `ip` in one process.
    pub(crate) async fn ip_batch(&self, directory: &Path, lines: &[String]) {
        let file = directory.join(format!("{}.ip", self.name()));
        std::fs::write(&file, lines.join("\n") + "\n").expect("the lab's directory is writable");
        self.ip(&["-batch", &file.display().to_string()]).await;
    }

    /// An interface of this place that lives as long as the descriptor, from which its packets are read.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn open_tun(&self, name: &str) -> io::Result<OwnedFd> {
        let name = name.to_owned();
        self.run(async move || sys::open_tun(&name)).await
    }
}

/// A command for [`Node::spawn`], which the kernel kills when the thread that started it ends. It has nothing of an operator's shell.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

fn serve(mut jobs: mpsc::Receiver<Job>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built where the one of the test was");
    LocalSet::new().block_on(&runtime, async move {
        while let Some(job) = jobs.recv().await {
            job();
        }
    });
}

struct Thread {
    id: ThreadId,
    handle: Option<JoinHandle<()>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        // The last handle may be held by what ran there.
        if std::thread::current().id() != self.id
            && let Some(handle) = self.handle.take()
        {
            let _ = handle.join();
        }
    }
}
