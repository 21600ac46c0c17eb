//! All 56 operations by each of AWS's own clients that people have in scripts: the Rust SDK, boto3, the command line. Each with success and
//! with every exception that botocore's model declares for it, but for those that cannot come about here, which are named with the reason.

mod api_operations {
    mod refusals;
    pub(crate) mod sdk;
    pub(crate) mod story;
    mod success;
}

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use portolan_tests::api::{self, Place, SECRET, text};
use portolan_tests::deadline::{PATIENCE, eventually};
use portolan_tests::edge::Edge;
use portolan_tests::{binary, peer, place};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

use api_operations::sdk::Sdk;
use api_operations::story::{FILE, Step, Story};

type Variables = BTreeMap<String, Value>;

#[test]
fn the_story_has_every_operation_and_every_declared_exception() {
    let (missing, wrong) = Story::new().gaps();
    assert!(missing.is_empty(), "not told: {missing:#?}");
    assert!(wrong.is_empty(), "said to be impossible: {wrong:#?}");
}

#[tokio::test]
async fn the_rust_sdk_understands_every_answer() {
    judged_by(&Client::Sdk).await;
}

#[tokio::test]
async fn boto3_understands_every_answer() {
    if let Some(python) = api::client("python3") {
        judged_by(&Client::Python(python, "boto3")).await;
    }
}

#[tokio::test]
async fn the_command_line_understands_every_answer() {
    if let Some(python) = api::client("python3") {
        judged_by(&Client::Python(python, "awscli")).await;
    }
}

/// Who tells the story.
enum Client {
    Sdk,
    Python(PathBuf, &'static str),
}

/// Tells the whole story to an edge of its own.
async fn judged_by(client: &Client) {
    let Some(_) = peer::find("prlimit") else {
        return;
    };
    let story = Story::new();
    let mut scene = Scene::set().await;
    let mut variables = Variables::new();
    scene.tell(client, &story.fine, false, &mut variables).await;
    scene.write_nothing_beyond("0");
    scene.tell(client, &story.full, false, &mut variables).await;
    scene.write_nothing_beyond("unlimited");
    scene.until_changes_are_taken(&variables).await;
    scene
        .tell(client, &story.again, false, &mut variables)
        .await;
    let held = scene.hold_the_store().await;
    scene
        .tell(client, &story.upgrading, true, &mut variables)
        .await;
    scene.let_go(held).await;
}

/// An edge that knows one key.
struct Scene {
    at: Place,
    edge: Edge,
    folder: TempDir,
}

/// An upgrade that does not get on, with what it waits for.
struct Held {
    successor: portolan_tests::process::Process,
    secret: File,
}

impl Scene {
    async fn set() -> Scene {
        let at = Place::fresh();
        let folder = tempfile::tempdir().expect("a folder");
        let secret = folder.path().join("secret");
        std::fs::write(&secret, SECRET).expect("written");
        let file = FILE.replace("ADDRESS", &place::fresh().ip().to_string());
        let credentials = format!(
            "credentials = [{{ access_key_id = \"AKIDEXAMPLE\", secret_access_key_file = \"{}\" }}]\n{file}",
            secret.display()
        );
        let edge = at.edge(&credentials).descriptors(20_000).ready().await;
        Scene { at, edge, folder }
    }

    async fn tell(
        &self,
        client: &Client,
        steps: &[Step],
        at_once: bool,
        variables: &mut Variables,
    ) {
        match client {
            Client::Sdk => by_sdk(&self.at, steps, at_once, variables).await,
            Client::Python(python, name) => {
                *variables = by_python(python, &self.at, (*name, steps, at_once), variables).await;
            }
        }
    }

    /// No file of the edge's gets longer than that from here on: its disk is full.
    fn write_nothing_beyond(&mut self, bytes: &str) {
        let pid = self.edge.process().pid().to_string();
        let limit = format!("--fsize={bytes}:");
        let status = Command::new("prlimit")
            .args([&limit, "--pid", &pid])
            .status();
        assert!(status.is_ok_and(|status| status.success()), "{limit}");
    }

    /// The store is tried again after a while, without anybody's doing.
    async fn until_changes_are_taken(&self, variables: &Variables) {
        let sdk = Sdk::new(&self.at);
        let update = json!({ "AcceleratorArn": variables["accelerator"] });
        eventually("changes are taken again", PATIENCE, async || {
            sdk.call("UpdateAccelerator", &update).await.ok()
        })
        .await;
    }

    /// Begins an upgrade whose successor has the store and waits for its secret.
    async fn hold_the_store(&self) -> Held {
        let secret = self.folder.path().join("secret");
        std::fs::remove_file(&secret).expect("it is there");
        let made = Command::new("mkfifo").arg(&secret).status();
        assert!(made.is_ok_and(|status| status.success()), "mkfifo");
        let successor = self.edge.successor(&[]);
        let secret = eventually("the successor reads its secret", PATIENCE, async || {
            reader_waits(&secret)
        })
        .await;
        Held { successor, secret }
    }

    async fn let_go(self, held: Held) {
        let Held {
            successor,
            mut secret,
        } = held;
        secret.write_all(SECRET.as_bytes()).expect("it is read");
        drop(secret);
        eventually("the successor serves", PATIENCE, async || {
            successor.output().contains(" serving pop=").then_some(())
        })
        .await;
    }
}

/// A pipe that somebody waits to read from.
fn reader_waits(path: &Path) -> Option<File> {
    const O_NONBLOCK: i32 = 0o4000;
    OpenOptions::new()
        .write(true)
        .custom_flags(O_NONBLOCK)
        .open(path)
        .ok()
}

async fn by_sdk(at: &Place, steps: &[Step], at_once: bool, variables: &mut Variables) {
    let sdk = Sdk::new(at);
    if at_once {
        let told = steps.iter().map(|step| {
            let (sdk, step, input) = (sdk.clone(), step.clone(), filled(&step.input, variables));
            tokio::spawn(async move { check(&step, &sdk.call(&step.operation, &input).await) })
        });
        for told in told.collect::<Vec<_>>() {
            told.await.expect("as it is told");
        }
        return;
    }
    for step in steps {
        let input = filled(&step.input, variables);
        let answer = sdk.call(&step.operation, &input).await;
        check(step, &answer);
        for (name, pointer) in &step.keep {
            let answer = answer.as_ref().expect("success");
            let kept = answer
                .pointer(pointer)
                .unwrap_or_else(|| panic!("{answer}"));
            variables.insert(name.clone(), kept.clone());
        }
    }
}

fn check(step: &Step, answer: &Result<Value, String>) {
    let is = answer.as_ref().err();
    assert_eq!(is, step.is.as_ref(), "{} {}", step.operation, step.input);
}

/// With variables put in.
fn filled(value: &Value, variables: &Variables) -> Value {
    match value {
        Value::String(text) => match text.strip_prefix('$') {
            Some(name) => variables[name].clone(),
            None => value.clone(),
        },
        Value::Array(items) => items.iter().map(|item| filled(item, variables)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, item)| (name.clone(), filled(item, variables)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

async fn by_python(
    python: &Path,
    at: &Place,
    (client, steps, at_once): (&str, &[Step], bool),
    variables: &Variables,
) -> Variables {
    let told = json!({ "client": client, "endpoint": at.url(), "at_once": at_once, "vars": variables, "steps": steps });
    let mut child = tokio::process::Command::new(python)
        .arg(binary::root().join("tests/judges/operations.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("python can be run");
    let mut stdin = child.stdin.take().expect("piped");
    stdin
        .write_all(told.to_string().as_bytes())
        .await
        .expect("it listens");
    drop(stdin);
    let output = child.wait_with_output().await.expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complained}");
    println!("{}", complained.trim());
    let last = said.lines().last().unwrap_or_default();
    let kept: Value = serde_json::from_str(last).expect("variables");
    let kept = kept.as_object().expect("an object");
    kept.iter()
        .map(|(name, value)| (name.clone(), json!(text(value))))
        .collect()
}
