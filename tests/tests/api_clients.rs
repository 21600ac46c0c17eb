//! AWS's own clients against the API: the command line with the commands of README and of an article about AWS, boto3 over every
//! operation, the Rust SDK with signatures that are checked.

#![expect(
    clippy::too_many_lines,
    reason = "a story of many calls reads best in one piece"
)]

use aws_sdk_globalaccelerator::Client;
use aws_sdk_globalaccelerator::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_globalaccelerator::types::{EndpointConfiguration, HealthState, PortRange, Protocol};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use portolan_tests::api::{self, Place, SECRET, text};
use portolan_tests::binary;
use portolan_tests::deadline::{PATIENCE, eventually};
use portolan_tests::edge::Edge;
use portolan_tests::endpoint::{self, Endpoint};
use portolan_tests::http::Status;
use portolan_tests::{peer, place};
use serde_json::{Value, json};

#[tokio::test]
async fn boto3_calls_every_operation_and_its_model_is_ours() {
    let Some(python) = api::client("python3") else {
        return;
    };
    let at = Place::fresh();
    let _edge = at.edge("").ready().await;
    let script = binary::root().join("tests/judges/every_operation.py");
    let model = binary::root().join("control/src/api/shapes/model.json");
    let (script, model) = (script.display().to_string(), model.display().to_string());
    let output = api::run(python, &[&script, &at.url(), &model]).await;
    let (said, complained) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{said}{complained}");
    assert!(said.contains("56 operations called"), "{said}");
}

/// The commands between two marks of README, with what they print left out.
fn readme_commands() -> Vec<String> {
    let readme = std::fs::read_to_string(binary::root().join("README.md")).expect("README.md");
    let (_, rest) = readme
        .split_once("<!-- api:begin -->")
        .expect("README marks where the API's commands begin");
    let (block, _) = rest
        .split_once("<!-- api:end -->")
        .expect("README marks where they end");
    let mut commands: Vec<String> = Vec::new();
    let mut open = false;
    for line in block.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => commands.push(command.to_owned()),
            None if open => {
                let last = commands.last_mut().expect("a command is open");
                *last += "\n";
                *last += line;
            }
            None => {}
        }
        open = commands.last().is_some_and(|last| {
            last.ends_with('\\') || (last.contains("<<'TOML'") && !last.ends_with("\nTOML"))
        });
    }
    commands
}

/// README's own text, run line by line, with the edge's address and an account's own ids put in.
#[tokio::test]
async fn readmes_commands_make_an_accelerator_that_serves_at_once() {
    let Some(aws) = api::client("aws") else {
        return;
    };
    let commands = readme_commands();
    let file = commands
        .iter()
        .find(|command| command.starts_with("cat > portolan.toml"))
        .expect("README has a file");
    let file = file
        .split_once('\n')
        .expect("lines")
        .1
        .trim_end_matches("TOML");
    let at = Place::fresh();
    let endpoints = [
        ("127.0.0.1:8001", "us-east-1"),
        ("127.0.0.1:8002", "us-west-2"),
    ];
    let mut places = Vec::new();
    let healthy = Status::default();
    for (_, region) in endpoints {
        places.push(Endpoint::start(region, endpoint::web(&healthy)).await);
    }
    // The endpoints and the API are elsewhere, so that this runs beside others; the text stays.
    let elsewhere = |text: &str| {
        let mut text = text.replace("127.0.0.1:9980", &at.listen.to_string());
        for ((address, _), endpoint) in endpoints.iter().zip(&places) {
            text = text.replace(address, &endpoint.address().to_string());
        }
        text
    };
    let pool = format!("[api]\naddress_pool = [\"{}\"]", at.pool);
    let edge = Edge::with(&elsewhere(file).replace("[api]", &pool))
        .ready()
        .await;
    let port = listener_port(&commands);
    let may_bind =
        std::net::TcpListener::bind(("127.0.0.1", 0)).is_ok() && (port >= 1024 || is_privileged());
    if !may_bind {
        peer::skip(&format!("port {port} needs rights that this user has not"));
        return;
    }
    let (mut accelerator, mut listener, mut addresses) = (String::new(), String::new(), Vec::new());
    let mut ran = 0;
    for command in commands
        .iter()
        .filter(|command| command.starts_with("aws globalaccelerator create-"))
    {
        let command = elsewhere(command)
            .replace("\\\n", " ")
            .replace("<ACCELERATOR_ARN>", &accelerator)
            .replace("<LISTENER_ARN>", &listener);
        let arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
        let output = api::run(aws.clone(), &arguments).await;
        assert!(
            output.status.success(),
            "{command}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        if let Some(made) = answer.get("Accelerator") {
            accelerator = text(&made["AcceleratorArn"]);
            let all = made["IpSets"][0]["IpAddresses"]
                .as_array()
                .expect("addresses");
            addresses = all.iter().map(text).collect();
        }
        if let Some(made) = answer.get("Listener") {
            listener = text(&made["ListenerArn"]);
        }
        ran += 1;
    }
    assert_eq!(
        (ran, addresses.len()),
        (4, 2),
        "the article's four commands, two static addresses"
    );
    let asked = commands
        .iter()
        .find(|command| command.starts_with("curl"))
        .expect("README asks both addresses");
    let asked = asked.replace("127.77.0.", at.pool.trim_end_matches("0/24"));
    for address in &addresses {
        assert!(asked.contains(address.as_str()), "{asked} asks {address}");
    }
    let Some(_) = peer::find("curl") else {
        return;
    };
    let answered = eventually("answers through both addresses", PATIENCE, async || {
        let output = tokio::process::Command::new("sh")
            .args(["-c", &asked])
            .output()
            .await
            .expect("a shell");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (said.matches("us-").count() == 2).then_some(said)
    })
    .await;
    assert!(
        ["us-east-1", "us-west-2"]
            .iter()
            .any(|region| answered.contains(region)),
        "{answered}"
    );
    drop(edge);
}

fn listener_port(commands: &[String]) -> u16 {
    let ports = commands
        .iter()
        .find_map(|command| command.split_once("FromPort="))
        .expect("a listener")
        .1;
    ports
        .split(',')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("a port")
}

/// Whether ports below 1024 are ours.
fn is_privileged() -> bool {
    std::net::TcpListener::bind("127.255.255.254:80").is_ok()
}

fn sdk(at: &Place, secret: &str) -> Client {
    let provider = tls::Provider::Rustls(CryptoMode::Ring);
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(provider)
        .build_https();
    let config = aws_sdk_globalaccelerator::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .endpoint_url(at.url())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("AKIDEXAMPLE", secret, None, None, "test"))
        .build();
    Client::from_conf(config)
}

#[tokio::test]
async fn the_rust_sdk_signs_and_is_believed_and_a_wrong_secret_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, format!("{SECRET}\n")).expect("written");
    let mut at = Place::fresh();
    let credentials = format!(
        "credentials = [{{ access_key_id = \"AKIDEXAMPLE\", secret_access_key_file = \"{}\" }}]\n",
        secret.display()
    );
    // On every address: with credentials it may.
    at.listen.set_ip([0, 0, 0, 0].into());
    let toml = format!("{}{credentials}", at.toml());
    let _edge = Edge::start(&toml).await;
    at.listen.set_ip([127, 0, 0, 1].into());
    let client = sdk(&at, SECRET);
    let near = Endpoint::start("near", endpoint::naming()).await;
    let made = client
        .create_accelerator()
        .name("sdk")
        .idempotency_token("t")
        .send()
        .await
        .expect("made");
    let accelerator = made.accelerator.expect("an accelerator");
    let arn = accelerator.accelerator_arn.expect("an ARN");
    let port = place::fresh().port();
    let listener = client
        .create_listener()
        .accelerator_arn(&arn)
        .protocol(Protocol::Tcp)
        .port_ranges(
            PortRange::builder()
                .from_port(port.into())
                .to_port(port.into())
                .build(),
        )
        .idempotency_token("t")
        .send()
        .await
        .expect("made");
    let listener = listener
        .listener
        .and_then(|made| made.listener_arn)
        .expect("an ARN");
    let configuration = EndpointConfiguration::builder()
        .endpoint_id(near.address().to_string())
        .build();
    let group = client
        .create_endpoint_group()
        .listener_arn(&listener)
        .endpoint_group_region("us-east-1")
        .endpoint_configurations(configuration)
        .idempotency_token("t")
        .send()
        .await
        .expect("made");
    let group = group
        .endpoint_group
        .and_then(|made| made.endpoint_group_arn)
        .expect("an ARN");
    eventually("the endpoint is shown as healthy", PATIENCE, async || {
        let shown = client
            .describe_endpoint_group()
            .endpoint_group_arn(&group)
            .send()
            .await
            .expect("shown");
        let group = shown.endpoint_group.expect("a group");
        let state = group.endpoint_descriptions().first()?.health_state.clone();
        (state == Some(HealthState::Healthy)).then_some(())
    })
    .await;
    near.kill().await;
    let reason = eventually("it is shown as unhealthy, and why", PATIENCE, async || {
        let shown = client
            .describe_endpoint_group()
            .endpoint_group_arn(&group)
            .send()
            .await
            .expect("shown");
        let group = shown.endpoint_group.expect("a group");
        let endpoint = group.endpoint_descriptions().first()?.clone();
        (endpoint.health_state == Some(HealthState::Unhealthy)).then_some(endpoint.health_reason)
    })
    .await;
    assert!(reason.is_some_and(|reason| reason.contains("refused")));
    let missing = client
        .describe_listener()
        .listener_arn(format!("{arn}/listener/00000000"))
        .send()
        .await;
    let missing = missing.expect_err("there is none").into_service_error();
    assert!(missing.is_listener_not_found_exception(), "{missing}");

    let stranger = sdk(&at, "another-secret-altogether")
        .list_accelerators()
        .send()
        .await
        .expect_err("refused");
    let stranger = format!("{:?}", stranger.into_service_error());
    assert!(stranger.contains("InvalidSignatureException"), "{stranger}");
    let (status, answer) = at.call("ListAccelerators", &json!({})).await;
    assert_eq!(
        (status, text(&answer["__type"])),
        (403, "MissingAuthenticationTokenException".to_owned())
    );
}
