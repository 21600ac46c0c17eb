//! The edge under test: the real binary with a file of its own, asked over its admin address like any operator would.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::deadline::{PATIENCE, eventually};
use crate::lab::{Node, node};
use crate::metrics::Metrics;
use crate::process::Process;
use crate::{binary, http, place};

/// A running `portolan run`; it ends with its owner, and shows its log if a test fails.
pub struct Edge {
    process: Process,
    admin: SocketAddr,
    directory: TempDir,
    environment: Vec<(String, String)>,
    /// Where it runs; `None` is where the test does.
    node: Option<Node>,
}

/// How an edge is started.
pub struct Start {
    toml: String,
    admin: Option<SocketAddr>,
    descriptors: Option<u32>,
    environment: Vec<(String, String)>,
    node: Option<Node>,
    rights: Option<&'static str>,
}

impl Edge {
    /// Starts one and waits until it is ready.
    pub async fn start(toml: &str) -> Edge {
        Edge::with(toml).ready().await
    }

    /// Starts one with more to say about how.
    pub fn with(toml: &str) -> Start {
        Start {
            toml: toml.to_owned(),
            admin: None,
            descriptors: None,
            environment: Vec::new(),
            node: None,
            rights: None,
        }
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Sends it a signal, by its name without `SIG`.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Stops it while `speak` speaks, so that all of that waits in one queue.
    pub async fn in_one_go(&self, speak: impl AsyncFnOnce()) {
        self.signal("STOP");
        speak().await;
        self.signal("CONT");
    }

    /// Where its admin server is.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Its configuration file.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("portolan.toml")
    }

    /// What it logged.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// The records of ended flows so far.
    pub fn flows(&self) -> Vec<Value> {
        let text =
            std::fs::read_to_string(self.directory.path().join("flows.jsonl")).unwrap_or_default();
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        let read = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        };
        complete.lines().map(read).collect()
    }

    /// `GET` on the admin server.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn get(&self, path: &str) -> (u16, String) {
        self.request("GET", path)
            .await
            .expect("the admin server answers")
    }

    /// `POST` on the admin server.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn post(&self, path: &str) -> (u16, String) {
        self.request("POST", path)
            .await
            .expect("the admin server answers")
    }

    async fn request(&self, method: &'static str, path: &str) -> io::Result<(u16, String)> {
        let Some(node) = &self.node else {
            return http::request(self.admin, method, path).await;
        };
        let (admin, path) = (self.admin, path.to_owned());
        node.run(async move || http::request(admin, method, &path).await)
            .await
    }

    /// The state.
    ///
    /// # Panics
    /// When it cannot be had.
    pub async fn state(&self) -> Value {
        let (status, body) = self.get("/api/v1/state").await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("the state is JSON")
    }

    /// The metrics.
    ///
    /// # Panics
    /// When they cannot be had.
    pub async fn metrics(&self) -> Metrics {
        let (status, body) = self.get("/metrics").await;
        assert_eq!(status, 200, "{body}");
        Metrics::new(body)
    }

    /// Flows ended with a cause.
    pub async fn ended(&self, cause: &str) -> u64 {
        self.metrics().await.sum("flows_total", &[("cause", cause)]) as u64
    }

    /// An endpoint's part of the state, by id, in the first group that has it.
    ///
    /// # Panics
    /// When there is none.
    pub async fn endpoint(&self, id: &str) -> Value {
        let state = self.state().await;
        endpoint_in(&state, id).unwrap_or_else(|| panic!("no endpoint {id} in {state:#}"))
    }

    /// Waits until an endpoint's part of the state is there and as it should be; gives it.
    pub async fn until_endpoint(&self, id: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        self.until_shown(id, what, PATIENCE, is).await
    }

    /// Waits for an endpoint's health: `UP`, `DOWN` or `UNKNOWN`; gives its part of the state.
    pub async fn until_health(&self, id: &str, health: &str, within: Duration) -> Value {
        let is = |endpoint: &Value| endpoint["health"] == health;
        self.until_shown(id, health, within, is).await
    }

    async fn until_shown(
        &self,
        id: &str,
        what: &str,
        within: Duration,
        is: impl Fn(&Value) -> bool,
    ) -> Value {
        eventually(&format!("{id} is {what}"), within, async || {
            endpoint_in(&self.state().await, id).filter(&is)
        })
        .await
    }

    /// Puts another text in the file's place, in one step.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn rewrite(&self, toml: &str) {
        let new = self.directory.path().join("new");
        std::fs::write(&new, complete(toml, self.admin)).expect("the directory is writable");
        std::fs::rename(&new, self.file()).expect("the directory is writable");
    }

    /// Waits until the configuration's generation is above `generation`; gives it.
    pub async fn until_generation_above(&self, generation: u64) -> u64 {
        let what = format!("a configuration generation above {generation}");
        eventually(&what, PATIENCE, async || {
            self.generation().await.filter(|found| *found > generation)
        })
        .await
    }

    /// The generation of the configuration in force.
    pub async fn generation(&self) -> Option<u64> {
        self.state().await["config"]["generation"].as_u64()
    }

    /// Runs another `portolan` command against this edge.
    ///
    /// # Panics
    /// When it cannot be run.
    pub async fn command(&self, arguments: &[&str]) -> Output {
        let admin = format!("http://{}", self.admin);
        let mut command = program(self.node.as_ref(), None);
        command.args(arguments).args(["--admin", &admin]);
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true);
        let mut run = async move || crate::deadline::patiently("a command", command.output()).await;
        let output = match &self.node {
            None => run().await,
            Some(node) => node.run(run).await,
        };
        output.expect("portolan can be run")
    }

    /// Ends this process and starts another one on the same file and directory.
    pub async fn restart(self) -> Edge {
        self.restart_after(|_| ()).await
    }

    /// The same, after something has happened to the directory meanwhile.
    pub async fn restart_after(self, meanwhile: impl FnOnce(&Path)) -> Edge {
        let Edge {
            mut process,
            admin,
            directory,
            environment,
            node,
        } = self;
        process.signal("TERM");
        process.end(PATIENCE).await;
        meanwhile(directory.path());
        let command = run(directory.path(), None, &[], &environment, node.as_ref());
        let mut edge = Edge {
            process: spawn(command, node.as_ref()).await,
            admin,
            directory,
            environment,
            node,
        };
        edge.until_ready().await;
        edge
    }

    /// A second `portolan run` on this edge's own file. Not at a place of a lab.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn second(&self) -> Process {
        Process::spawn(NAME, &mut run(self.directory.path(), None, &[], &[], None))
    }

    /// Starts `portolan run --upgrade` on this edge's own file, and waits for nothing. Not at a place of a lab.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn successor(&self, more: &[&str]) -> Process {
        let arguments = [&["--upgrade"], more].concat();
        let mut command = run(self.directory.path(), None, &arguments, &[], None);
        Process::spawn(NAME, &mut command)
    }

    /// The same with another file, which this edge does not watch. At a place of a lab, too.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub async fn successor_on(&self, toml: &str) -> Process {
        const FILE: &str = "another.toml";
        let directory = self.directory.path();
        std::fs::write(directory.join(FILE), complete(toml, self.admin))
            .expect("the directory is writable");
        let mut command = program(self.node.as_ref(), None);
        command.args(["run", "--upgrade", "--config", FILE]);
        without_settings(&mut command);
        command.current_dir(directory);
        spawn(command, self.node.as_ref()).await
    }

    /// Upgrades: another process is this edge from here on. Gives the one before, which goes on for as long as it has flows.
    ///
    /// # Panics
    /// When the new process does not take over.
    pub async fn upgrade(&mut self, more: &[&str]) -> Process {
        let arguments = [&["--upgrade"], more].concat();
        let node = self.node.as_ref();
        let command = run(self.directory.path(), None, &arguments, &[], node);
        let mut successor = spawn(command, node).await;
        eventually("the successor serves", PATIENCE, async || {
            if let Some(status) = successor.ended() {
                panic!("the successor ended with {status}:\n{}", successor.output());
            }
            successor.output().contains(" serving pop=").then_some(())
        })
        .await;
        std::mem::replace(&mut self.process, successor)
    }

    /// Where upgrades are asked for.
    pub fn upgrade_socket(&self) -> PathBuf {
        self.directory.path().join("portolan.state.json.sock")
    }

    async fn until_ready(&mut self) {
        eventually("the edge is ready", PATIENCE, async || {
            if let Some(status) = self.process.ended() {
                panic!("the edge ended with {status}");
            }
            let (status, _) = self.request("GET", "/readyz").await.ok()?;
            (status == 200).then_some(())
        })
        .await;
    }
}

impl Start {
    /// With a descriptor limit, soft and hard; whoever limits its files later is told, too, instead of killing it.
    pub fn descriptors(mut self, limit: u32) -> Start {
        self.descriptors = Some(limit);
        self
    }

    /// With its admin server here.
    pub fn admin(mut self, at: SocketAddr) -> Start {
        self.admin = Some(at);
        self
    }

    /// With a variable in its environment.
    pub fn environment(mut self, name: &str, value: &str) -> Start {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// At a place of a lab, whose network it then has.
    pub fn at(mut self, node: &Node) -> Start {
        self.node = Some(node.clone());
        self
    }

    /// As another user than root, with this capability alone (capabilities(7), lower case and without `cap_`), or with none.
    pub fn with_no_right_but(mut self, capability: &'static str) -> Start {
        self.rights = Some(capability);
        self
    }

    /// Starts it and waits until it is ready.
    pub async fn ready(self) -> Edge {
        let mut edge = self.begin().await;
        edge.until_ready().await;
        edge
    }

    /// Starts it and waits for nothing.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn unready(self) -> Edge {
        let (mut command, finish) = self.prepare();
        finish(Process::spawn(NAME, &mut command))
    }

    async fn begin(self) -> Edge {
        let node = self.node.clone();
        let (command, finish) = self.prepare();
        finish(spawn(command, node.as_ref()).await)
    }

    fn prepare(self) -> (Command, impl FnOnce(Process) -> Edge) {
        let directory = tempfile::tempdir().expect("there is a temporary directory");
        let admin = self.admin.unwrap_or_else(place::fresh);
        std::fs::write(
            directory.path().join("portolan.toml"),
            complete(&self.toml, admin),
        )
        .expect("it is writable");
        let Start {
            descriptors,
            environment,
            node,
            rights,
            ..
        } = self;
        let mut command = run(
            directory.path(),
            descriptors,
            &[],
            &environment,
            node.as_ref(),
        );
        if let Some(right) = rights {
            command = restricted(&command, right, directory.path());
        }
        let finish = move |process| Edge {
            process,
            admin,
            directory,
            environment,
            node,
        };
        (command, finish)
    }
}

/// What its output is shown under.
const NAME: &str = "portolan run";

/// The built binary, to be started where it belongs.
fn program(node: Option<&Node>, descriptors: Option<u32>) -> Command {
    // A file that may not get longer is an error that it is told, as on a full disk, instead of its end by SIGXFSZ.
    let limited = |limit: u32| format!("trap '' XFSZ; ulimit -n {limit}; exec \"$0\" \"$@\"");
    match (node, descriptors) {
        (None, None) => Command::new(binary::portolan()),
        (Some(_), None) => node::command(binary::portolan()),
        (node, Some(limit)) => {
            let mut command = match node {
                None => Command::new("sh"),
                Some(_) => node::command("sh"),
            };
            command.args(["-c", &limited(limit)]);
            command.arg(binary::portolan());
            command
        }
    }
}

/// Nobody's user id.
const NOBODY: u32 = 65_534;

/// The same command for a user who has one right or none. Program and folder are root's, where nobody may look: the one is opened before the
/// rights are given up, the other is given away.
fn restricted(command: &Command, right: &str, directory: &Path) -> Command {
    for path in [directory.to_owned(), directory.join("portolan.toml")] {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("we are root");
    }
    let caps = match right {
        "" => "-all".to_owned(),
        right => format!("-all,+{right}"),
    };
    let script = format!(
        "exec 9<\"$0\"; exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups --inh-caps={caps} --ambient-caps={caps} --bounding-set={caps} -- /proc/self/fd/9 \"$@\""
    );
    let mut restricted = match command.get_program() == "setpriv" {
        true => node::command("sh"),
        false => Command::new("sh"),
    };
    restricted.args(["-c", &script]).arg(binary::portolan());
    let ours = command.get_args().skip_while(|word| *word != "run");
    restricted.args(ours).current_dir(directory);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => restricted.env(name, value),
            None => restricted.env_remove(name),
        };
    }
    restricted
}

async fn spawn(mut command: Command, node: Option<&Node>) -> Process {
    match node {
        None => Process::spawn(NAME, &mut command),
        Some(node) => node.spawn(NAME, command).await,
    }
}

fn run(
    directory: &Path,
    descriptors: Option<u32>,
    more: &[&str],
    environment: &[(String, String)],
    node: Option<&Node>,
) -> Command {
    let mut command = program(node, descriptors);
    command
        .args(["run", "--config", "portolan.toml"])
        .args(more)
        .current_dir(directory);
    without_settings(&mut command);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

/// An operator's shell must not change what is tested.
fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PORTOLAN_")
            || name == "RUST_LOG"
            || name == "NOTIFY_SOCKET"
        {
            command.env_remove(name);
        }
    }
}

/// Whether this run of a suite has its edges splice what is bulk.
pub fn splices() -> bool {
    std::env::var("PORTOLAN_TESTS_SPLICE").is_ok_and(|asked| asked == "1")
}

/// The sections that every test wants, unless it brings its own.
fn complete(toml: &str, admin: SocketAddr) -> String {
    let mut out = String::new();
    for (section, lines) in [
        ("[pop]", "name = \"test\"\n".to_owned()),
        ("[admin]", format!("listen = \"{admin}\"\n")),
        ("[log]", "flow_log = \"flows.jsonl\"\n".to_owned()),
    ] {
        if !toml.contains(section) {
            out += &format!("{section}\n{lines}\n");
        }
    }
    out += toml;
    // A whole suite with another engine.
    if let Ok(engine) = std::env::var("PORTOLAN_TESTS_IO_ENGINE") {
        let line = format!("[pop]\nio_engine = \"{engine}\"\n");
        out = out.replacen("[pop]\n", &line, 1);
    }
    if splices() {
        out = out.replacen("[pop]\n", "[pop]\nsplice = true\n", 1);
    }
    out
}

/// An endpoint's part of a state, by id, in the first group that has it.
fn endpoint_in(state: &Value, id: &str) -> Option<Value> {
    let found = each(&state["accelerators"], "listeners")
        .flat_map(|listener| each(listener, "endpoint_groups"))
        .flat_map(|group| each(group, "endpoints"))
        .find(|endpoint| endpoint["id"] == id);
    found.cloned()
}

/// The items of an array's items: `each(accelerators, "listeners")` are all listeners.
fn each<'a>(value: &'a Value, key: &'a str) -> impl Iterator<Item = &'a Value> {
    let outer: Vec<&Value> = match value.as_array() {
        Some(items) => items.iter().collect(),
        None => vec![value],
    };
    outer
        .into_iter()
        .flat_map(move |item| item[key].as_array().into_iter().flatten())
}
