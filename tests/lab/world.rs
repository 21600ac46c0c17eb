//! That the world is up, looks like the real one, and leaves nothing behind.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use portolan_tests::binary;
use portolan_tests::deadline::{PATIENCE, eventually, until};
use portolan_tests::lab::{Lab, VIPS, World};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The shortest of a few round trips, in milliseconds: of a SYN to a port where nobody listens, so that kernels answer and nobody else.
/// `None` when there is no answer.
async fn asked(lab: &Lab, from: &str, to: IpAddr) -> Option<f64> {
    let at = SocketAddr::new(to, 9);
    let ask = async move || {
        let mut shortest = None;
        for _ in 0..3 {
            let began = Instant::now();
            let answer = timeout(Duration::from_secs(1), TcpStream::connect(at)).await;
            let took = began.elapsed().as_secs_f64() * 1e3;
            // A router on the way may say that it knows no way; that is another answer.
            let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
            if answer.is_ok_and(|connected| connected.is_err_and(|error| refused(&error))) {
                shortest = Some(shortest.map_or(took, |other: f64| other.min(took)));
            }
        }
        shortest
    };
    lab.node(from).run(ask).await
}

/// That the way there is as long as the map says. A loaded machine may deliver late, never early: the best of what is measured counts, and
/// it is measured until it is good.
async fn assert_distance(lab: &Lab, from: &str, to: impl Into<IpAddr>, by_map: f64) {
    let to = to.into();
    let what = format!("{from} is {by_map} ms from {to}, as by the map");
    let measured = eventually(&what, PATIENCE, async || {
        let measured = asked(lab, from, to).await?;
        assert!(
            measured >= by_map,
            "{from} to {to}: {measured} ms, {by_map} ms by the map"
        );
        (measured < by_map + 50.0).then_some(measured)
    })
    .await;
    println!("{from} to {to}: {measured} ms, {by_map} ms by the map");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_reach_their_nearest_pop_over_both_families() {
    let Some(lab) = Lab::start(World::atlantic()).await else {
        return;
    };
    for (client, expected) in [("c-nyc", 11.0), ("c-ber", 17.0), ("c-sea", 75.0)] {
        for vip in &VIPS[..2] {
            assert_distance(&lab, client, *vip, expected).await;
        }
    }
    let region = lab.node("eu-west-1").endpoint(1);
    assert_distance(&lab, "pop-iad", region.v4, 68.0).await;
    lab.link("pop-iad", "eu-west-1").set("carrier=0");
    // Over the Internet.
    assert_distance(&lab, "pop-iad", region.v4, 75.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pop_that_falls_silent_loses_its_clients_to_the_other_one() {
    let Some(mut lab) = Lab::start(World::atlantic()).await else {
        return;
    };
    assert_distance(&lab, "c-nyc", VIPS[0], 11.0).await;
    for link in lab.links_of("pop-iad") {
        link.set("blackhole=1");
    }
    // BFD takes 0.3 s; meanwhile nobody answers.
    until("pop-fra answers c-nyc", PATIENCE, async || {
        asked(&lab, "c-nyc", VIPS[0]).await.is_some()
    })
    .await;
    assert_distance(&lab, "c-nyc", VIPS[0], 83.0).await;
    for link in lab.links_of("pop-iad") {
        link.set("blackhole=0");
    }
    lab.bird("pop-iad").announce(&VIPS[2..]);
    until("pop-iad announces the rest", PATIENCE, async || {
        let routes = lab
            .node("r-use")
            .ip(&["route", "get", "203.0.113.11"])
            .await;
        routes.contains("dev pop-iad")
    })
    .await;
    // Withdrawn there.
    assert_distance(&lab, "c-nyc", VIPS[0], 83.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_an_interface_is_announced_for_as_long_as_somebody_holds_it() {
    let Some(lab) = Lab::start(World::atlantic().without_vips()).await else {
        return;
    };
    let pop = lab.node("pop-iad");
    let held = pop.open_tun("vip0").await.unwrap();
    pop.ip(&["link", "set", "vip0", "up"]).await;
    let address = format!("{}/32", VIPS[0]);
    pop.ip(&["addr", "add", &address, "dev", "vip0"]).await;
    until("c-ber reaches pop-iad", PATIENCE, async || {
        asked(&lab, "c-ber", VIPS[0]).await.is_some()
    })
    .await;
    assert_distance(&lab, "c-ber", VIPS[0], 89.0).await;

    // What the kernel does when a process is killed.
    drop(held);
    let began = Instant::now();
    until("r-use has heard of it", PATIENCE, async || {
        let route = ["route", "show", &address];
        lab.node("r-use").ip(&route).await.is_empty()
    })
    .await;
    println!("withdrawn at the router after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_labs_with_the_same_addresses_know_nothing_of_each_other() {
    let regions = [("near", "1ms"), ("far", "20ms")];
    let Some(one) = Lab::start(World::star(&regions)).await else {
        return;
    };
    let Some(other) = Lab::start(World::star(&regions)).await else {
        return;
    };
    let to = one.node("near").endpoint(1).v6;
    other.link("pop", "near").set("delay=50ms");
    assert_distance(&one, "pop", to, 2.0).await;
    assert_distance(&other, "pop", to, 100.0).await;
    other.link("pop", "near").set("blackhole=1");
    assert_distance(&one, "pop", to, 2.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_lab_leaves_no_process_and_its_files_only_until_the_next() {
    if Lab::start(World::empty()).await.is_none() {
        return;
    }
    // Where no other lab of this run sweeps.
    let place = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = tokio::process::Command::from(shell(place.path()));
        command.kill_on_drop(true).spawn().unwrap()
    };
    let mut lab = start();
    let mut said = BufReader::new(lab.stdout.take().unwrap()).lines();
    let mut typed = lab.stdin.take().unwrap();
    typed
        .write_all(b"dirname $(dirname $(command -v lab)); echo up\n")
        .await
        .unwrap();
    let mut before = String::new();
    let directory = loop {
        let line = said.next_line().await.unwrap().expect("it comes up");
        if line == "up" {
            break before;
        }
        before = line;
    };
    // Five BIRDs, two edges, six endpoints and a shell, which is not told of the end.
    let children = killed_with_its_children(&mut lab).await;
    assert!(children >= 14, "{children}");
    assert!(Path::new(&directory).exists(), "{directory}");
    let mut next = start();
    until("the next lab has swept it", PATIENCE, async || {
        !Path::new(&directory).exists()
    })
    .await;
    killed_with_its_children(&mut next).await;
}

/// Kills a lab, and waits until its children are gone, too; says how many there were.
async fn killed_with_its_children(lab: &mut tokio::process::Child) -> usize {
    let children = children_of(lab.id().unwrap());
    lab.kill().await.unwrap();
    until("its processes are gone", PATIENCE, async || {
        children.iter().all(|child| !is_alive(*child))
    })
    .await;
    children.len()
}

/// With its files, as long as it has any, in this place.
fn shell(place: &Path) -> Command {
    let mut command = Command::new(binary::lab());
    command.arg("shell").env("TMPDIR", place);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

fn children_of(parent: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{parent}/task")).unwrap() {
        let path = task.unwrap().path().join("children");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        found.extend(text.split_whitespace().map(|id| id.parse::<u32>().unwrap()));
    }
    found
}

/// Not there, or dead and waiting for somebody to ask.
fn is_alive(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().unwrap_or_default();
    !state.is_empty() && !state.starts_with('Z')
}
