//! Terraform with AWS's own provider: what people have for Global Accelerator makes, changes and takes away accelerators here, and finds
//! nothing to put right after it did.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use portolan_tests::api::{Place, SECRET, text};
use portolan_tests::deadline::{PATIENCE, eventually};
use portolan_tests::edge::Edge;
use portolan_tests::endpoint::{self, Endpoint};
use portolan_tests::{binary, client, peer, place};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

/// Where the provider may lie: Terraform's own places for mirrors, and the one that images put it in.
const MIRRORS: [&str; 4] = [
    "/opt/tf-plugins",
    "/usr/share/terraform/plugins",
    "/usr/local/share/terraform/plugins",
    "/usr/share/terraform/providers",
];

/// A provider of a few hundred megabytes starts for every command.
const LONGEST: Duration = Duration::from_secs(120);

/// Of `plan -detailed-exitcode`: nothing to change. 1 is an error, 2 is something.
const NOTHING: i32 = 0;

struct Terraform {
    program: PathBuf,
    folder: TempDir,
}

impl Terraform {
    /// `None`, and a line that says so, where it or the provider is missing.
    fn find() -> Option<Terraform> {
        let program = peer::find("terraform")?;
        let has_provider = |mirror: &&&str| {
            Path::new(mirror)
                .join("registry.terraform.io/hashicorp/aws")
                .is_dir()
        };
        let Some(mirror) = MIRRORS.iter().find(has_provider) else {
            peer::skip("terraform's AWS provider is in none of its mirrors");
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        let told = std::fs::read_to_string(binary::root().join("tests/judges/terraform.tf"));
        let told = told.expect("what is wanted");
        std::fs::write(folder.path().join("main.tf"), told).expect("written");
        let settings = format!(
            "disable_checkpoint = true\nprovider_installation {{\n  filesystem_mirror {{\n    path = \"{mirror}\"\n  }}\n}}\n"
        );
        std::fs::write(folder.path().join("terraform.rc"), settings).expect("written");
        Some(Terraform { program, folder })
    }

    /// Says what is wanted from here on.
    fn want(&self, variables: &Value) {
        let path = self.folder.path().join("terraform.tfvars.json");
        std::fs::write(path, variables.to_string()).expect("written");
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("AWS_") || name.starts_with("TF_") {
                command.env_remove(&*name);
            }
        }
        let output = command
            .args(arguments)
            .current_dir(self.folder.path())
            .env(
                "TF_CLI_CONFIG_FILE",
                self.folder.path().join("terraform.rc"),
            )
            .env("TF_IN_AUTOMATION", "1")
            .env("CHECKPOINT_DISABLE", "1")
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(LONGEST, output).await;
        output.expect("it ends").expect("terraform can be run")
    }

    async fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}{complained}");
        said
    }

    async fn apply(&self) {
        self.ok(&["apply", "-auto-approve", "-input=false", "-no-color"])
            .await;
    }

    /// What is there is what was told.
    async fn finds_nothing_to_do(&self) {
        let output = self
            .run(&["plan", "-detailed-exitcode", "-input=false", "-no-color"])
            .await;
        let said = String::from_utf8_lossy(&output.stdout);
        let complained = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(NOTHING), "{said}{complained}");
    }

    /// What it put out, from its state: another command would start the provider again.
    fn output(&self) -> Value {
        let path = self.folder.path().join("terraform.tfstate");
        let state = std::fs::read_to_string(path).expect("the state");
        let state: Value = serde_json::from_str(&state).expect("JSON");
        state["outputs"].clone()
    }
}

async fn edge_with_a_key(at: &Place, folder: &Path) -> Edge {
    let secret = folder.join("secret");
    std::fs::write(&secret, SECRET).expect("written");
    let credentials = format!(
        "credentials = [{{ access_key_id = \"AKIDEXAMPLE\", secret_access_key_file = \"{}\" }}]\n",
        secret.display()
    );
    at.edge(&credentials).ready().await
}

#[tokio::test]
async fn terraform_makes_changes_and_takes_away_what_it_is_told() {
    let Some(terraform) = Terraform::find() else {
        return;
    };
    let secrets = tempfile::tempdir().expect("a folder");
    let at = Place::fresh();
    let edge = edge_with_a_key(&at, secrets.path()).await;
    let [first, second] = place::fresh_with_one_port(2)[..] else {
        panic!("two were asked for");
    };
    let (one, other) = (
        Endpoint::start_at(first, "one", endpoint::naming()).await,
        Endpoint::start_at(second, "other", endpoint::naming()).await,
    );
    let port = place::fresh().port();
    let wanted = |name: &str, dial: f64, bucket: &str, endpoints: &[&Endpoint]| {
        let endpoints: Vec<String> = endpoints
            .iter()
            .map(|endpoint| endpoint.address().ip().to_string())
            .collect();
        json!({ "endpoint": at.url(), "secret": SECRET, "name": name, "port": port, "dial": dial, "bucket": bucket,
            "endpoint_port": first.port(), "endpoints": endpoints })
    };
    terraform.want(&wanted("shop", 100.0, "logs", &[&one]));
    terraform.ok(&["init", "-input=false", "-no-color"]).await;
    terraform.apply().await;
    let made = terraform.output();
    let addresses: Vec<SocketAddr> = made["addresses"]["value"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|ip| format!("{}:{port}", text(ip)).parse().expect("an address"))
        .collect();
    assert_eq!(addresses.len(), 2, "{made}");
    assert!(text(&made["dns_name"]["value"]).ends_with(".awsglobalaccelerator.com"));
    assert_eq!(made["health_check_port"]["value"], port);
    assert_eq!(made["health_check_path"]["value"], "");
    let ask = async |name: &str| {
        for address in &addresses {
            eventually("traffic flows", PATIENCE, async || {
                let answer = client::ask(*address, "?").await.ok()?;
                answer.contains(name).then_some(())
            })
            .await;
        }
    };
    ask("one").await;
    terraform.finds_nothing_to_do().await;

    // The provider turns flow logs off to move them, replaces all endpoints, renames.
    terraform.want(&wanted("store", 12.5, "other-logs", &[&other]));
    terraform.apply().await;
    ask("other").await;
    let state = edge.state().await;
    let all = state["accelerators"].as_array().expect("a list");
    let mut names: Vec<String> = all.iter().map(|a| text(&a["name"])).collect();
    names.sort();
    assert_eq!(names, ["games", "store"]);
    terraform
        .ok(&["destroy", "-auto-approve", "-input=false", "-no-color"])
        .await;
    let state = edge.state().await;
    assert_eq!(state["accelerators"], json!([]), "nothing is left");
}
