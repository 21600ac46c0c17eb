//! PoPs that announce the accelerators' addresses themselves, with README's BIRD configuration and its commands as they stand there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::{Lab, Node, Role, VIPS, World, scene};
use crate::binary;
use crate::client::Caller;
use crate::deadline::{PATIENCE, until};
use crate::edge::Edge;

/// README's `bird.conf`, with the addresses of this PoP and its router, and this include.
fn bird_configuration(world: &World, pop: &str, router: &str, include: &Path) -> String {
    let readme = readme();
    let (_, rest) = readme
        .split_once("<!-- bird:begin -->")
        .expect("a beginning");
    let (block, _) = rest.split_once("<!-- bird:end -->").expect("an end");
    let (_, block) = block.split_once("```text\n").expect("a text");
    let (text, _) = block.split_once("```").expect("its end");
    let (us, them) = world.on_the_link(pop, router);
    text.replace("2001:db8:0:2::2", &us.v6.to_string())
        .replace("2001:db8:0:2::1", &them.v6.to_string())
        .replace("192.0.2.2", &us.v4.to_string())
        .replace("192.0.2.1 ", &format!("{} ", them.v4))
        .replace("as 64501", &format!("as {}", number_of(world, router)))
        .replace("/etc/bird/portolan.conf", &include.display().to_string())
}

fn number_of(world: &World, router: &str) -> u32 {
    let Role::Router(number) = world.places[world.index(router)].role else {
        panic!("{router} is no router")
    };
    number
}

/// The file's section for a PoP that announces by interface and BIRD, with further lines, and the include that comes of it.
pub fn by_bird(lab: &mut Lab, pop: &str, more: &str) -> (String, PathBuf) {
    let bird = lab.bird(pop);
    let (socket, include) = (bird.socket(), bird.include());
    let announce = format!(
        "[announce]\nmode = [\"interface\", \"bird\"]\nbird_socket = \"{}\"\nbird_include = \"{}\"\nasn = 65100\nself_check = \"200ms\"\n{more}",
        socket.display(),
        include.display()
    );
    (announce, include)
}

/// Has a PoP's BIRD run with README's configuration as soon as the include is there; gives its file and text.
///
/// # Panics
/// When BIRD does not take it.
pub async fn configure_bird(
    lab: &mut Lab,
    pop: &str,
    router: &str,
    include: &Path,
) -> (PathBuf, String) {
    until("the include is there", PATIENCE, async || {
        std::fs::read_to_string(include).is_ok_and(|text| text.contains("portolan_announces"))
    })
    .await;
    let own = include.with_file_name("bird.conf");
    let whole = bird_configuration(lab.world(), pop, router, include);
    put(&own, &whole);
    let reply = lab.bird(pop).ask("configure");
    // Done, under way, or behind what the product asked for just now.
    let taken = ["0003", "0004", "0005"];
    assert!(taken.iter().any(|code| reply.contains(code)), "{reply}");
    (own, whole)
}

/// Puts a text in a file's place, in one step: the product has BIRD read its files whenever it likes.
///
/// # Panics
/// When it cannot be written.
pub fn put(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).expect("the lab's are writable");
    std::fs::rename(&new, file).expect("the lab's are writable");
}

/// Starts the product at a PoP, announcing so. Done when its router goes by it.
///
/// # Panics
/// When that does not happen.
pub async fn announce(lab: &mut Lab, pop: &str, router: &str, more: &str) -> Edge {
    let (announce, include) = by_bird(lab, pop, more);
    let toml = scene::mapped(lab.world(), pop, "");
    let edge = scene::pop(lab, pop, &format!("{toml}\n{announce}\n")).await;
    configure_bird(lab, pop, router, &include).await;
    until_by(lab, router, pop).await;
    edge
}

/// Where a router sends the first address.
pub async fn next_hop(lab: &Lab, router: &str) -> String {
    let node = lab.node(router);
    let route = node.output("ip", &["route", "get", "203.0.113.10"]).await;
    let route = String::from_utf8_lossy(&route.stdout);
    let mut words = route.split_whitespace();
    words.find(|word| *word == "dev");
    words.next().unwrap_or("nowhere").to_owned()
}

/// Waits until it is there.
pub async fn until_by(lab: &Lab, router: &str, pop: &str) {
    until(&format!("{router} goes by {pop}"), PATIENCE, async || {
        next_hop(lab, router).await == pop
    })
    .await;
}

/// The commands of the `n`th shell block, from 1, of a section of README, which is named by its heading's words.
///
/// # Panics
/// When there is none.
pub fn commands(section: &str, n: usize) -> Vec<String> {
    let readme = readme();
    let (_, section) = readme.split_once(section).expect("the section");
    let block = section.split("```sh\n").nth(n).expect("the block");
    let (block, _) = block.split_once("```").expect("its end");
    block.lines().map(str::to_owned).collect()
}

/// Has a place do what it is told.
///
/// # Panics
/// When a command fails.
pub async fn obey(node: &Node, commands: Vec<String>) {
    for command in commands {
        let output = node.output("sh", &["-c", &command]).await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {error}");
    }
}

fn readme() -> String {
    std::fs::read_to_string(binary::root().join("README.md")).expect("there is a README")
}

/// Waits until an edge says this of the addresses that it announces, in their order. Routers may have heard of it sooner: the edge says what
/// its ways have confirmed.
pub async fn until_states(edge: &Edge, expected: &[&str]) {
    until(
        &format!("addresses are {expected:?}"),
        PATIENCE,
        async || states(edge).await == expected,
    )
    .await;
}

/// What an edge says of the addresses that it announces, in their order.
pub async fn states(edge: &Edge) -> Vec<String> {
    let state = edge.state().await;
    let prefixes = state["announce"]["prefixes"].as_array();
    let prefixes = prefixes.map(Vec::as_slice).unwrap_or_default();
    let word = |p: &serde_json::Value| p["state"].as_str().unwrap_or_default().to_owned();
    prefixes.iter().map(word).collect()
}

/// Who answers a client at the first of the addresses.
///
/// # Errors
/// When nobody does.
pub async fn served_by(lab: &Lab, client: &str) -> std::io::Result<String> {
    let ask = lab.node(client).run(async || {
        let mut caller = Caller::connect(SocketAddr::new(VIPS[0], scene::LINES)).await?;
        caller.ask("who").await
    });
    ask.await
}
