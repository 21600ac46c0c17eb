//! `portolan demo`: three regions, an edge and clients in one process on loopback; the nearest region goes dark and comes back.
//! The edge is the real one, from file to data path; only the distances are told instead of measured. Every figure at the end
//! was measured by the clients or is an event of the edge.

mod clients;
mod datagrams;
mod example;
mod figures;
mod region;
mod screen;
mod story;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use portolan_config::file;
use portolan_config::model::LogFormat;
use portolan_control::event::Event;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{sleep, timeout};

use self::clients::Clients;
use self::figures::{Figures, Marks};
use self::region::Region;
use self::story::Story;
use crate::args::{EXIT_DONE, EXIT_FAILED};
use crate::assembly::{Assembly, Parts};
use crate::{limits, logging};

/// Name, distance in milliseconds and endpoints of each region; the nearest first.
const REGIONS: [(&str, u64, usize); 3] = [
    ("eu-central-1", 8, 2),
    ("eu-west-1", 24, 2),
    ("us-east-1", 92, 2),
];

/// Where the admin API stays with `--serve`, when the port is free.
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9900);

/// A region that is not up by then never will be.
const UP_WITHIN: Duration = Duration::from_secs(10);

const AFTER: &str = "\
The edge is the real one, from file to data path; only distances are told, as everything on loopback is equally near.
A dark region swallows SYNs and datagrams and lets its connections fall silent, as a site does that lost its power. Nothing leaves this
host. Exit code 0 only when no new connection failed, every stranded one was let go, every flow of UDP moved, and the region was taken back.";

/// What `portolan demo` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// How long the story takes: a quarter of it all is well, then the nearest region is dark for a third
    #[arg(long, value_name = "SECONDS", default_value_t = 16, value_parser = clap::value_parser!(u64).range(8..=600))]
    seconds: u64,
    /// New connections a second
    #[arg(long, value_name = "PER SECOND", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=2000))]
    rate: u32,
    /// Flows that stay, as a subscriber's do: they are what a dead region strands
    #[arg(long, value_name = "FLOWS", default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..=1000))]
    lasting: u16,
    /// Flows of UDP, each of which asks ten times a second
    #[arg(long, value_name = "FLOWS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=1000))]
    datagrams: u16,
    /// Leave everything running afterwards, with admin API and dashboard, until Ctrl-C
    #[arg(long)]
    serve: bool,
}

/// Runs the demo; fails when a figure is not as it should be.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    logging::start(LogFormat::Text, "error");
    limits::raise_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the demo needs threads")?;
    runtime.block_on(async {
        let stage = Stage::build(args.serve).await?;
        stage.play(args).await
    })
}

/// Everything that stands before the story begins.
struct Stage {
    regions: Vec<Region>,
    edge: Assembly,
    listener: SocketAddr,
    admin: SocketAddr,
    events: broadcast::Receiver<Event>,
    // The file is read again on reload, so it stays as long as the edge.
    _folder: tempfile::TempDir,
}

impl Stage {
    async fn build(serve: bool) -> anyhow::Result<Self> {
        let mut regions = Vec::new();
        for (name, millis, endpoints) in REGIONS {
            regions.push(Region::open(name, Duration::from_millis(millis), endpoints).await?);
        }
        let anywhere = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let admin = if serve {
            TcpListener::bind(ADMIN).or_else(|_| anywhere())
        } else {
            anywhere()
        };
        let admin = admin.context("the admin API needs a port of 127.0.0.1")?;
        let admin_address = admin.local_addr()?;
        let listener = free_port()?;
        let folder = tempfile::tempdir().context("the demo's file needs a place")?;
        let path = folder.path().join("portolan.toml");
        let groups: Vec<example::Group> =
            regions.iter().map(group).collect::<std::io::Result<_>>()?;
        std::fs::write(&path, example::file(admin_address, listener, &groups))?;
        let edge = start_edge(&path, admin)?;
        let events = edge.control.events();
        Ok(Self {
            regions,
            edge,
            listener,
            admin: admin_address,
            events,
            _folder: folder,
        })
    }

    async fn play(mut self, args: &Args) -> anyhow::Result<ExitCode> {
        println!(
            "Three regions, an edge at {} and its clients, all in this process.",
            self.listener
        );
        println!(
            "{} new connections a second, {} flows that stay, {} flows of UDP. Admin: http://{}/",
            args.rate, args.lasting, args.datagrams, self.admin
        );
        self.wait_until_up().await?;
        // How they came up is not the story.
        self.events = self.edge.control.events();
        let (sender, notes) = mpsc::channel(clients::PENDING_NOTES);
        let lasting = (args.lasting.into(), args.datagrams.into());
        let mut clients = Clients::start(self.listener, args.rate, lasting, &sender);
        let mut story = Story::new(notes);
        let figures = self
            .tell(
                &mut story,
                Duration::from_secs(args.seconds),
                &mut clients,
                args.serve,
            )
            .await?;
        story.screen.wipe();
        let complaints = report(&figures);
        if args.serve {
            println!(
                "\nStill running. Look at it:  portolan status --admin http://{0}   or   http://{0}/   Ctrl-C ends.",
                self.admin
            );
            self.go_on(&mut story).await?;
        }
        drop(clients);
        self.edge.end().await;
        let code = if complaints.is_empty() {
            EXIT_DONE
        } else {
            EXIT_FAILED
        };
        Ok(ExitCode::from(code))
    }

    async fn wait_until_up(&self) -> anyhow::Result<()> {
        let all_up = async {
            loop {
                let state = self.edge.control.state();
                let rows = screen::rows(&state, |_| 0);
                if rows.len() == self.regions.len() && rows.iter().all(|row| row.health == "UP") {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(UP_WITHIN, all_up)
            .await
            .map_err(|_| anyhow!("the regions are not up after {UP_WITHIN:?}"))
    }

    /// All is well, the near region goes dark, it comes back.
    async fn tell(
        &mut self,
        story: &mut Story,
        length: Duration,
        clients: &mut Clients,
        serve: bool,
    ) -> anyhow::Result<Figures> {
        let Some(near) = self.regions.first() else {
            bail!("the demo needs a region");
        };
        let name = near.name;
        story.say("all is well");
        let began = Instant::now();
        story
            .watch(&self.edge, &mut self.events, began + length / 4)
            .await;

        let dark = near.go_dark().await?;
        let since = dark.since;
        story.dark_since(since);
        story.say(&format!(
            "{name} goes dark: SYNs unanswered, its connections silent"
        ));
        story
            .watch(&self.edge, &mut self.events, began + length * 3 / 5)
            .await;
        let down = story.last_change(name, "DOWN");

        near.come_back(dark)?;
        let back = Instant::now();
        story.say(&format!("{name} is back"));
        story.turn_page();
        story
            .watch(&self.edge, &mut self.events, began + length)
            .await;
        let up = story.first_change(name, "UP");

        if serve {
            // Those that are still there are counted as if they had never been begun.
            return Ok(figures::count(
                name,
                &story.notes,
                Marks {
                    dark: since,
                    down,
                    back,
                    up,
                },
            ));
        }
        tokio::select! {
            () = clients.finish_short() => {}
            () = story.watch(&self.edge, &mut self.events, Instant::now() + clients::PATIENCE * 2) => {}
        }
        story.take_what_is_left();
        Ok(figures::count(
            name,
            &story.notes,
            Marks {
                dark: since,
                down,
                back,
                up,
            },
        ))
    }

    /// Until Ctrl-C.
    async fn go_on(&mut self, story: &mut Story) -> anyhow::Result<()> {
        let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
        loop {
            story.forget();
            let until = Instant::now() + Duration::from_secs(5);
            tokio::select! {
                interrupted = &mut interrupted => return interrupted.context("Ctrl-C cannot be heard"),
                () = story.watch(&self.edge, &mut self.events, until) => {}
            }
        }
    }
}

fn group(region: &Region) -> std::io::Result<example::Group> {
    Ok(example::Group {
        region: region.name,
        latency: region.distance,
        endpoints: region.addresses()?,
    })
}

fn start_edge(path: &Path, admin: TcpListener) -> anyhow::Result<Assembly> {
    let loaded = file::load(path).map_err(|errors| anyhow!("the demo's own file: {errors}"))?;
    Assembly::start(Parts {
        loaded,
        config_path: Some(path.to_owned()),
        keep_drains: false,
        admin,
        inherited: None,
    })
}

/// A port that was free a moment ago, of TCP and as good as surely of UDP.
fn free_port() -> anyhow::Result<SocketAddr> {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
    Ok(probe.local_addr()?)
}

/// Prints the figures and what they came from; returns what should not have happened.
fn report(figures: &Figures) -> Vec<String> {
    println!("\nMeasured:");
    print!("{figures}");
    let served: Vec<String> = figures
        .dark
        .served_by
        .iter()
        .map(|(region, count)| format!("{region} {count}"))
        .collect();
    println!(
        "\n  While {} was dark its connections went to: {}.",
        figures.near,
        served.join(", ")
    );
    println!(
        "\nThe same for real endpoints, as portolan.toml (then: portolan run --config portolan.toml):\n"
    );
    for line in example::FOR_REAL.lines() {
        println!("{}", format!("  {line}").trim_end());
    }
    let complaints = figures.complaints();
    for complaint in &complaints {
        eprintln!("portolan demo: {complaint}");
    }
    complaints
}
