//! Addresses announced by BGP: they live as long as the process, are left politely, and BIRD is told by a file that it may refuse.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use portolan_tests::binary;
use portolan_tests::client::Caller;
use portolan_tests::deadline::{PATIENCE, until};
use portolan_tests::edge::Edge;
use portolan_tests::lab::scene::{self, LINES};
use portolan_tests::lab::{Lab, VIPS, World};

/// A PoP's configuration, with this after it.
fn configuration(world: &World, pop: &str, announce: &str) -> String {
    format!("{}\n{announce}\n", scene::configuration(world, pop, ""))
}

/// Where a router sends the first address.
async fn next_hop(lab: &Lab, router: &str) -> String {
    let node = lab.node(router);
    let route = node.output("ip", &["route", "get", "203.0.113.10"]).await;
    let route = String::from_utf8_lossy(&route.stdout);
    let mut words = route.split_whitespace();
    words.find(|word| *word == "dev");
    words.next().unwrap_or("nowhere").to_owned()
}

async fn until_by(lab: &Lab, router: &str, pop: &str) {
    until(&format!("{router} goes by {pop}"), PATIENCE, async || {
        next_hop(lab, router).await == pop
    })
    .await;
}

async fn states(edge: &Edge) -> Vec<String> {
    let state = edge.state().await;
    let prefixes = state["announce"]["prefixes"].as_array();
    let prefixes = prefixes.map(Vec::as_slice).unwrap_or_default();
    let word = |p: &serde_json::Value| p["state"].as_str().unwrap_or_default().to_owned();
    prefixes.iter().map(word).collect()
}

async fn error(edge: &Edge) -> Option<String> {
    let state = edge.state().await;
    state["announce"]["error"].as_str().map(str::to_owned)
}

async fn served_by(lab: &Lab, client: &str) -> std::io::Result<String> {
    let ask = lab.node(client).run(async || {
        let mut caller = Caller::connect(SocketAddr::new(VIPS[0], LINES)).await?;
        caller.ask("who").await
    });
    ask.await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_on_the_process_own_interface_goes_with_the_process() {
    let world = World::atlantic().without_vips();
    let Some(lab) = Lab::start(world.clone()).await else {
        return;
    };
    let _endpoints = scene::serve_everywhere(&lab).await;
    let announce = "[announce]\nmode = [\"interface\"]\ndrain = \"0s\"\nself_check = \"200ms\"";
    let mut edges = Vec::new();
    for pop in ["pop-iad", "pop-fra"] {
        edges.push(scene::pop(&lab, pop, &configuration(&world, pop, announce)).await);
    }
    until_by(&lab, "r-use", "pop-iad").await;
    until_by(&lab, "r-eu", "pop-fra").await;
    let served = served_by(&lab, "c-nyc").await.unwrap();
    assert!(served.starts_with("us-east-1-"), "{served}");
    let metrics = edges[0].metrics().await;
    assert_eq!(metrics.sum("announced_prefixes", &[]), 2.0);

    let began = Instant::now();
    edges[0].signal("KILL");
    until_by(&lab, "r-use", "r-eu").await;
    println!(
        "kill -9: the router had left the PoP after {:?}",
        began.elapsed()
    );
    assert!(served_by(&lab, "c-nyc").await.is_ok());
}

/// README's `bird.conf`, with the addresses of this PoP and this include.
fn readme_configuration(world: &World, include: &Path) -> String {
    let readme = std::fs::read_to_string(binary::root().join("README.md")).unwrap();
    let (_, rest) = readme.split_once("<!-- bird:begin -->").unwrap();
    let (block, _) = rest.split_once("<!-- bird:end -->").unwrap();
    let (_, block) = block.split_once("```text\n").unwrap();
    let (text, _) = block.split_once("```").unwrap();
    let (us, router) = world.on_the_link("pop-iad", "r-use");
    text.replace("2001:db8:0:2::2", &us.v6.to_string())
        .replace("2001:db8:0:2::1", &router.v6.to_string())
        .replace("192.0.2.2", &us.v4.to_string())
        .replace("192.0.2.1 ", &format!("{} ", router.v4))
        .replace("/etc/bird/portolan.conf", &include.display().to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readmes_bird_announces_leaves_politely_and_may_refuse() {
    let world = World::atlantic().without_vips();
    let Some(mut lab) = Lab::start(world.clone()).await else {
        return;
    };
    let _endpoints = scene::serve_everywhere(&lab).await;
    let (socket, include) = {
        let bird = lab.bird("pop-iad");
        (bird.socket(), bird.include())
    };
    let announce = format!(
        "[announce]\nmode = [\"interface\", \"bird\"]\nbird_socket = \"{}\"\nbird_include = \"{}\"\nasn = 65100\ndrain = \"3s\"\nself_check = \"200ms\"",
        socket.display(),
        include.display()
    );
    let edge = scene::pop(
        &lab,
        "pop-iad",
        &configuration(&world, "pop-iad", &announce),
    )
    .await;
    until("the include is there", PATIENCE, async || {
        std::fs::read_to_string(&include).is_ok_and(|text| text.contains("203.0.113.10/32"))
    })
    .await;
    let own = include.with_file_name("bird.conf");
    let whole = readme_configuration(&world, &include);
    std::fs::write(&own, &whole).unwrap();
    let reply = lab.bird("pop-iad").ask("configure");
    assert!(reply.contains("0003") || reply.contains("0004"), "{reply}");
    until_by(&lab, "r-use", "pop-iad").await;
    until("all is announced", PATIENCE, async || {
        states(&edge).await == ["announced", "announced"]
    })
    .await;
    assert!(served_by(&lab, "c-nyc").await.is_ok());

    // Left: first as the worst choice, then not at all; what comes meanwhile is served.
    edge.command(&["drain", "--pop"]).await;
    until(
        "the router hears the community and the prepends",
        PATIENCE,
        async || {
            let route = lab.ask_bird("r-use", "show route for 203.0.113.10/32 all");
            route.is_some_and(|route| {
                route.contains("(65535,0)") && route.contains("65100 65100 65100 65100")
            })
        },
    )
    .await;
    assert!(served_by(&lab, "c-nyc").await.is_ok());
    until("it is withdrawn", PATIENCE, async || {
        next_hop(&lab, "r-use").await != "pop-iad"
    })
    .await;
    assert_eq!(states(&edge).await, ["left", "left"]);
    edge.command(&["undrain", "--pop"]).await;
    until_by(&lab, "r-use", "pop-iad").await;

    // Somebody breaks BIRD's configuration: the old one stays in force, and so does the old include.
    std::fs::write(&own, format!("{whole}\nnonsense;\n")).unwrap();
    let before = std::fs::read_to_string(&include).unwrap();
    edge.command(&["drain", "--pop"]).await;
    until("BIRD refuses and that is told", PATIENCE, async || {
        error(&edge)
            .await
            .is_some_and(|error| error.contains("BIRD refuses"))
    })
    .await;
    assert_eq!(std::fs::read_to_string(&include).unwrap(), before);
    assert_eq!(next_hop(&lab, "r-use").await, "pop-iad");
    std::fs::write(&own, &whole).unwrap();
    until("it is withdrawn after all", PATIENCE, async || {
        next_hop(&lab, "r-use").await != "pop-iad"
    })
    .await;
    assert_eq!(error(&edge).await, None);
}
