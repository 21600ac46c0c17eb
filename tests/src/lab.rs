//! A world of several regions on one machine: network namespaces, links with the delays of a WAN, routers that speak BGP, PoPs that run the
//! built binary. Up in seconds, and gone without a trace with whoever holds it, even when that is killed: nothing in it has a name, and
//! what it leaves on disk is swept by the next one. Several stand side by side.
//!
//! ```text
//! let Some(lab) = Lab::start(World::atlantic()).await else { return };
//! lab.link("pop-iad", "us-east-1").set("blackhole=1");
//! let answer = lab.node("c-nyc").output("curl", &["-s", "http://203.0.113.10/"]).await;
//! let edge = Edge::with(&toml).at(lab.node("pop-iad")).ready().await;
//! ```

pub mod anycast;
pub mod bird;
mod directory;
pub mod node;
mod routes;
pub mod scene;
mod sys;
pub mod unreachable;
mod wan;
mod world;

use std::collections::HashMap;
use std::path::Path;

use tokio::time::Instant;

use crate::deadline::{PATIENCE, until};
use crate::peer::skip;

pub use bird::Bird;
use directory::Directory;
pub use node::Node;
pub use wan::{Counted, Opened, Settings};
use wan::{Ends, Wan};
pub use world::{Both, Role, VIPS, Vips, World};

/// A running world. Fields are dropped in this order: processes, links, namespaces, files.
pub struct Lab {
    birds: HashMap<String, Bird>,
    wan: Wan,
    nodes: Vec<Node>,
    world: World,
    directory: Directory,
}

/// A link of a running world.
pub struct Link<'a> {
    name: String,
    wan: &'a Wan,
}

impl Lab {
    /// Brings a world up and waits until everybody can reach everybody; `None`, and a line that says why, where that cannot be.
    ///
    /// # Panics
    /// When it could be but is not.
    pub async fn start(world: World) -> Option<Lab> {
        if let Some(why) = cannot_run(&world) {
            skip(&format!("the lab needs {why}"));
            return None;
        }
        let began = Instant::now();
        let directory = Directory::new();
        let nodes: Vec<Node> = world
            .places
            .iter()
            .map(|place| Node::start(place.clone()).expect("a network namespace can be made"))
            .collect();
        let wan = connect(&world, &nodes).await;
        for (place, node) in nodes.iter().enumerate() {
            node.ip_batch(directory.path(), &routes::lines(&world, place))
                .await;
        }
        let mut lab = Lab {
            birds: HashMap::new(),
            wan,
            nodes,
            world,
            directory,
        };
        if lab.world.has_routers() {
            lab.start_birds().await;
            lab.until_converged().await;
        }
        let took = began.elapsed();
        println!(
            "lab: {} places and {} links up in {took:.2?}",
            lab.nodes.len(),
            lab.world.links.len()
        );
        Some(lab)
    }

    /// A place.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn node(&self, name: &str) -> &Node {
        &self.nodes[self.world.index(name)]
    }

    /// All places.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All places that are this.
    pub fn nodes_of(&self, role: Role) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.role() == role)
    }

    /// The world that it is.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The link between two places, in either order. There and back are from the first to the second place of the world's description.
    ///
    /// # Panics
    /// When there is none.
    pub fn link(&self, a: &str, b: &str) -> Link<'_> {
        let ends = (self.world.index(a), self.world.index(b));
        let link = self.world.link_between(ends.0, ends.1);
        let link = link.unwrap_or_else(|| panic!("no link between {a} and {b}"));
        Link {
            name: self.world.link_name(link),
            wan: &self.wan,
        }
    }

    /// All links of a place: what cuts it off from the world, applied to each.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn links_of(&self, name: &str) -> Vec<Link<'_>> {
        let place = self.world.index(name);
        self.world
            .neighbours(place)
            .map(|peer| self.link(name, &self.world.places[peer].name))
            .collect()
    }

    /// The BIRD at a router or PoP.
    ///
    /// # Panics
    /// When there is none.
    pub fn bird(&mut self, name: &str) -> &mut Bird {
        let found = self.birds.get_mut(name);
        found.unwrap_or_else(|| panic!("no BIRD at {name}"))
    }

    /// One exchange with the BIRD at a place; `None` when there is none.
    pub fn ask_bird(&self, name: &str, command: &str) -> Option<String> {
        self.birds.get(name).map(|bird| bird.ask(command))
    }

    /// A directory that goes with the lab.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The links as a table.
    pub fn links(&self) -> String {
        self.wan.show()
    }

    /// Changes a link by its name, as in [`Lab::links`]; says what is wrong with the words.
    ///
    /// # Errors
    /// For words that it does not know.
    pub fn set_link(&self, name: &str, words: &str) -> Result<(), String> {
        self.wan.set(name, words)
    }

    /// Begins to record which connections are begun, on all links; gives those since the last call.
    pub fn record(&self) -> Vec<Opened> {
        self.wan.record(true)
    }

    /// Those of them that entered the link between two places, whichever way.
    ///
    /// # Panics
    /// When there is no such link.
    pub fn record_on(&self, a: &str, b: &str) -> Vec<Opened> {
        let ends = (self.world.index(a), self.world.index(b));
        let link = self.world.link_between(ends.0, ends.1);
        let mut opened = self.record();
        opened.retain(|opened| Some(opened.link) == link);
        opened
    }

    async fn start_birds(&mut self) {
        for (place, node) in self.nodes.iter().enumerate() {
            if !self.world.places[place].speaks_bgp() {
                continue;
            }
            let directory = self.directory.path().join(node.name());
            let bird = Bird::start(&self.world, place, node, &directory).await;
            self.birds.insert(node.name().to_owned(), bird);
        }
    }

    /// Every session stands, and every router knows the way to everybody.
    async fn until_converged(&self) {
        for (name, bird) in &self.birds {
            until(
                &format!("the BGP sessions of {name}"),
                PATIENCE,
                async || bird.not_established().is_empty(),
            )
            .await;
        }
        let mut expected: Vec<String> = self
            .world
            .places
            .iter()
            .filter(|place| !place.is_router())
            .map(|place| place.prefixes()[0].clone())
            .collect();
        if self.world.vips == Vips::OfTheLab {
            expected.push(VIPS[0].to_string());
        }
        for (place, node) in self.nodes.iter().enumerate() {
            if self.world.places[place].is_router() {
                self.until_routed(node, &expected).await;
            }
        }
    }

    async fn until_routed(&self, router: &Node, expected: &[String]) {
        let what = format!("{} knows the way to {expected:?}", router.name());
        until(&what, PATIENCE, async || {
            let routes = router.ip(&["route", "show", "proto", "bird"]).await;
            let known: Vec<&str> = routes
                .lines()
                .filter_map(|line| line.split(' ').next())
                .collect();
            expected.iter().all(|prefix| {
                // A prefix of one address is shown as the address.
                let shown = prefix.strip_suffix("/32").unwrap_or(prefix);
                known.contains(&shown)
            })
        })
        .await;
    }
}

impl Link<'_> {
    /// Changes what the link does from here on: `delay=40ms jitter=5ms loss=1% burst=5 rate=100mbit queue=50ms blackhole=1 carrier=0`,
    /// `x/y` for there and back. What is not named stays.
    ///
    /// # Panics
    /// When the words are wrong.
    pub fn set(&self, words: &str) {
        if let Err(error) = self.wan.set(&self.name, words) {
            panic!("{}: {error}", self.name);
        }
    }

    /// What happened on it, there and back.
    pub fn counted(&self) -> [Counted; 2] {
        self.wan.counted()[&self.name]
    }
}

/// Makes the links' interfaces in their places and starts the emulator over them.
async fn connect(world: &World, nodes: &[Node]) -> Wan {
    let mut links = Vec::new();
    for (index, link) in world.links.iter().enumerate() {
        let [a, b] = link.ends;
        let name = world.link_name(index);
        let shown = |error| panic!("{name}: {error}");
        let there = nodes[a].open_tun(nodes[b].name()).await;
        let back = nodes[b].open_tun(nodes[a].name()).await;
        links.push(Ends {
            settings: link.settings.clone(),
            ends: [
                there.unwrap_or_else(shown),
                back.unwrap_or_else(|error| panic!("{name}: {error}")),
            ],
            name,
        });
    }
    Wan::start(links).expect("the emulator starts")
}

/// What is missing for a lab here, or `None`.
fn cannot_run(world: &World) -> Option<String> {
    let bird = world.has_routers().then_some(("bird", "bird2"));
    for (program, package) in [
        Some(("ip", "iproute2")),
        Some(("setpriv", "util-linux")),
        bird,
    ]
    .into_iter()
    .flatten()
    {
        if !crate::peer::is_installed(program) {
            return Some(format!("{program} (apt-get install {package})"));
        }
    }
    let tun = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun");
    if let Err(error) = tun {
        return Some(format!("/dev/net/tun: {error}"));
    }
    // On a thread of its own, whose namespace goes with it.
    let entered = std::thread::spawn(sys::enter_new_network).join();
    match entered.expect("a system call does not panic") {
        Ok(()) => None,
        Err(error) => Some(format!(
            "the right to make network namespaces ({error}): root, or `unshare --map-root-user --net` around the tests"
        )),
    }
}
