//! The command line.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;
use visor_loadtest::arrivals::{Shape, Timetable};
use visor_loadtest::book::Book;
use visor_loadtest::drive::{Bounds, Driven, Load, drive};
use visor_loadtest::fixture;
use visor_loadtest::fixture::fleet::Fleet;
use visor_loadtest::fixture::server::Server;
use visor_loadtest::fixture::single::Single;
use visor_loadtest::progress::Display;
use visor_loadtest::queue_floor::{self, Pace};
use visor_loadtest::report::{About, Report};
use visor_loadtest::scenario::Scenario;
use visor_loadtest::session::{Channels, LoadClock, RunIds};
use visor_loadtest::target::Target;
use visor_loadtest::target::embedded::EmbeddedTarget;
use visor_loadtest::target::fleet::{self, FleetTarget};
use visor_loadtest::target::serve::ServeTarget;
use visor_loadtest::usage::{Sample, Watched};
use visor_loadtest::{say, worker_loss};
use visor_protocol::time::{Clock, SystemClock};
use visor_transport::nats;

/// Puts a load on Visor and reports what came of it.
#[derive(Debug, Parser)]
#[command(name = "visor-loadtest", version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A process of its own for each run
    Embedded(EmbeddedArgs),
    /// The one-machine server, over HTTP
    Serve(ServeArgs),
    /// A coordinator and workers, over NATS
    Fleet(FleetArgs),
    /// How soon the jobs of a killed worker run again, on a fleet of our own
    WorkerLoss(WorkerLossArgs),
    /// The bare queue that a fleet is measured against
    QueueFloor(QueueFloorArgs),
    /// The scenarios that come along
    Scenarios,
}

#[derive(Debug, Args)]
struct LoadArgs {
    /// A scenario that comes along, or a file
    #[arg(long, value_name = "NAME|FILE", default_value = "noop-many-runs")]
    scenario: String,
    /// How runs arrive, instead of the scenario's way
    #[arg(long, value_enum)]
    arrivals: Option<Arrivals>,
    /// Runs a second
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Runs that arrive at one moment, for bursts
    #[arg(long, value_name = "N", default_value_t = 100)]
    burst: u64,
    /// Keep this many runs in flight instead of a timetable, to find the highest rate
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000), conflicts_with_all = ["arrivals", "rate"])]
    in_flight: Option<u32>,
    /// No more runs than this
    #[arg(long, value_name = "N")]
    runs: Option<u64>,
    /// No runs after this many seconds
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
    /// Channels that the runs are spread over
    #[arg(long, value_name = "N", default_value_t = 1)]
    channels: u32,
    /// The seed of the timetable
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Give up when nothing happens for so many seconds after the last run was sent
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    patience: f64,
    /// Succeed although the generator was late itself; the report says so all the same
    #[arg(long)]
    accept_void: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Arrivals {
    /// At equal distances
    Constant,
    /// Independently of each other
    Poisson,
    /// Many at once
    Burst,
}

#[derive(Debug, Args)]
struct EmbeddedArgs {
    #[command(flatten)]
    load: LoadArgs,
    /// The program under test [default: `visor` beside this one]
    #[arg(long, value_name = "PATH")]
    visor: Option<PathBuf>,
    /// Processes at one time
    #[arg(long, value_name = "N", default_value_t = 256)]
    processes: usize,
}

#[derive(Debug, Args)]
struct ServeArgs {
    #[command(flatten)]
    load: LoadArgs,
    /// Use the server at this address instead of one of our own
    #[arg(long, value_name = "URL", conflicts_with = "start")]
    url: Option<String>,
    /// Start one of our own, which is the default
    #[arg(long)]
    start: bool,
    /// The token for its HTTP API
    #[arg(long, env = "VISOR_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The program under test [default: `visor` beside this one]
    #[arg(long, value_name = "PATH")]
    visor: Option<PathBuf>,
    /// Slots of our own server
    #[arg(long, value_name = "N", default_value_t = 16)]
    slots: u32,
}

#[derive(Debug, Args)]
struct FleetArgs {
    #[command(flatten)]
    load: LoadArgs,
    /// Use the fleet behind this NATS server instead of one of our own
    #[arg(long, value_name = "URL", conflicts_with = "start")]
    url: Option<String>,
    /// Start NATS, a coordinator and workers of our own, which is the default
    #[arg(long)]
    start: bool,
    /// The program under test [default: `visor` beside this one]
    #[arg(long, value_name = "PATH")]
    visor: Option<PathBuf>,
    /// Workers of our own fleet
    #[arg(long, value_name = "N", default_value_t = 1)]
    workers: u32,
    /// Slots of each of them
    #[arg(long, value_name = "N", default_value_t = 64)]
    slots: u32,
}

#[derive(Debug, Args)]
struct QueueFloorArgs {
    /// Messages under way at once
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    in_flight: u32,
    /// Messages a second, open loop, instead
    #[arg(long, value_name = "N", conflicts_with = "in_flight")]
    rate: Option<f64>,
    /// For how long
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    seconds: f64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct WorkerLossArgs {
    /// The program under test [default: `visor` beside this one]
    #[arg(long, value_name = "PATH")]
    visor: Option<PathBuf>,
    /// How many workers are killed, one after the other
    #[arg(long, value_name = "N", default_value_t = 5)]
    kills: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs that are being sent at one time, where sending is a request.
const SENDING: usize = 20_000;
/// Between the end of preparation and the first intended moment.
const RUN_UP: Duration = Duration::from_millis(200);

/// Does what was asked, until Ctrl-C or SIGTERM: then everything that was started is stopped.
pub(crate) async fn run_until_interrupted(cli: Cli) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let work = Box::pin(run(cli));
    tokio::select! {
        done = work => done,
        _ = interrupt.recv() => Ok(ExitCode::from(130)),
        _ = terminate.recv() => Ok(ExitCode::from(143)),
    }
}

async fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Embedded(args) => embedded(args).await,
        Command::Serve(args) => serve(args).await,
        Command::Fleet(args) => on_fleet(args).await,
        Command::WorkerLoss(args) => lose_workers(args).await,
        Command::QueueFloor(args) => queue_floor(args).await,
        Command::Scenarios => {
            for name in Scenario::built_in() {
                let scenario = Scenario::load(name)?;
                say::result(&format!("{name:<24}{}", scenario.about));
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A load that is ready to be put on something.
struct Prepared {
    scenario: Scenario,
    clock: LoadClock,
    ids: RunIds,
    channels: Channels,
    book: Arc<Book>,
    json: bool,
    accept_void: bool,
    seed: u64,
    patience: Duration,
}

impl LoadArgs {
    /// The scenario as the flags change it.
    fn scenario(&self) -> Result<Scenario> {
        let mut scenario = Scenario::load(&self.scenario)?;
        let rate = self.rate.unwrap_or_else(|| scenario.arrivals.rate());
        scenario.arrivals = match self.arrivals {
            Some(Arrivals::Constant) => Shape::Constant { rate },
            Some(Arrivals::Poisson) => Shape::Poisson { rate },
            Some(Arrivals::Burst) => Shape::Burst { size: self.burst, every_ms: 1 }.at_rate(rate),
            None if self.rate.is_some() => scenario.arrivals.at_rate(rate),
            None => scenario.arrivals,
        };
        if self.runs.is_some() || self.seconds.is_some() {
            (scenario.runs, scenario.seconds) = (self.runs, self.seconds);
        }
        scenario.in_flight = self.in_flight.or(scenario.in_flight);
        Ok(scenario)
    }

    /// Takes the moment: from here on little may happen before the load begins.
    fn prepare(&self, scenario: Scenario) -> Prepared {
        let clock = LoadClock::new(Instant::now() + RUN_UP, SystemClock.now() + RUN_UP);
        let now = SystemClock.now();
        // The same seed twice is the same timetable, and still other runs.
        let tag = now.as_micros() ^ self.seed.rotate_left(32) ^ u64::from(std::process::id());
        Prepared {
            book: Arc::new(Book::new(scenario.checks.len())),
            channels: Channels::new(self.channels),
            ids: RunIds::new(now, tag),
            scenario,
            clock,
            json: self.json,
            accept_void: self.accept_void,
            seed: self.seed,
            patience: Duration::from_secs_f64(self.patience.clamp(1.0, 86_400.0)),
        }
    }
}

impl Prepared {
    async fn drive(&self, target: Arc<dyn Target>, sending: usize) -> Result<Driven> {
        let until = self.scenario.until();
        let load = match self.scenario.in_flight {
            Some(in_flight) => {
                Load::Closed { in_flight, runs: until.count, duration: until.duration }
            }
            None => Load::Open(Timetable::new(self.scenario.arrivals, until, self.seed)?),
        };
        let linger = Duration::from_millis(500);
        let bounds = Bounds { sending, patience: self.patience, linger };
        let display = Display::start(Arc::clone(&self.book), self.clock.begin());
        let driven = drive(target, load, self.clock, bounds, Arc::clone(&self.book)).await;
        drop(display);
        Ok(driven)
    }

    fn about(&self, target: String) -> About {
        let arrivals = match (self.scenario.in_flight, self.scenario.arrivals) {
            (Some(in_flight), _) => format!("{in_flight} runs in flight"),
            (None, Shape::Constant { rate }) => format!("constant, {rate} runs/s"),
            (None, Shape::Poisson { rate }) => format!("Poisson, {rate} runs/s"),
            (None, Shape::Burst { size, every_ms }) => {
                format!("bursts of {size} runs, {every_ms} ms apart")
            }
        };
        About {
            scenario: self.scenario.name.clone(),
            target,
            arrivals,
            seed: self.seed,
            is_open: self.scenario.in_flight.is_none(),
            ..About::default()
        }
    }

    fn report(&self, about: About, driven: Driven) -> Result<ExitCode> {
        let report = Report::new(about, driven);
        if self.json {
            say::result(&serde_json::to_string(&report).context("the report is no JSON")?);
        } else {
            say::result(&report.table());
        }
        let sound = report.adds_up && (report.valid || self.accept_void);
        Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

async fn embedded(args: EmbeddedArgs) -> Result<ExitCode> {
    let visor = fixture::visor(args.visor.as_deref())?;
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let prepared = args.load.prepare(args.load.scenario()?);
    let watched = Arc::new(Watched::default());
    let target = EmbeddedTarget::new(
        visor,
        folder.path(),
        prepared.clock,
        &prepared.scenario,
        Arc::clone(&watched),
    )?;
    let looking = {
        let watched = Arc::clone(&watched);
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                sleep(Duration::from_millis(5)).await;
                watched.look();
            }
        }))
    };
    let target = Arc::new(target);
    let driven = prepared.drive(Arc::<EmbeddedTarget>::clone(&target), args.processes).await?;
    drop(looking);
    let mut about = prepared.about(target.describe());
    about.run_processes = Some(watched.total());
    prepared.report(about, driven)
}

async fn serve(args: ServeArgs) -> Result<ExitCode> {
    let scenario = args.load.scenario()?;
    let mut own = None;
    let url = match args.url {
        Some(url) => url,
        None => {
            let visor = fixture::visor(args.visor.as_deref())?;
            own.insert(Single::start(&visor, args.slots).await?).url().to_owned()
        }
    };
    let prepared = args.load.prepare(scenario);
    let target = Arc::new(ServeTarget::new(
        &url,
        args.token,
        prepared.clock,
        prepared.ids,
        prepared.channels.clone(),
        &prepared.scenario,
    )?);
    let driven = prepared.drive(Arc::<ServeTarget>::clone(&target), SENDING).await?;
    let mut about = prepared.about(target.describe());
    about.processes = used(own.iter_mut().map(Single::server));
    prepared.report(about, driven)
}

async fn on_fleet(args: FleetArgs) -> Result<ExitCode> {
    let scenario = args.load.scenario()?;
    let mut own = None;
    let url = match args.url {
        Some(url) => url,
        None => {
            let visor = fixture::visor(args.visor.as_deref())?;
            own.insert(Fleet::start(&visor, args.slots).await?).url().to_owned()
        }
    };
    let bus = nats::connect(url.as_str()).await.context("cannot connect to NATS")?;
    if let Some(fleet) = &mut own {
        for _ in 0..args.workers {
            fleet.add_worker()?;
        }
        fleet.wait_for_workers(&*bus, args.workers).await?;
    }
    let status = fleet::status(&*bus).await?;
    if status.pools.iter().all(|pool| pool.slots == 0) {
        bail!("the fleet has no worker that takes work");
    }
    let clock_offset_ms = fleet::clock_offset(&*bus).await?;
    let prepared = args.load.prepare(scenario);
    let target = Arc::new(FleetTarget::new(
        Arc::clone(&bus),
        prepared.clock,
        prepared.ids,
        prepared.channels.clone(),
        &prepared.scenario,
    ));
    let driven = prepared.drive(Arc::<FleetTarget>::clone(&target), SENDING).await?;
    let mut about = prepared.about(target.describe());
    about.clock_offset_ms = clock_offset_ms;
    about.processes = used(own.iter_mut().flat_map(Fleet::parts));
    bus.close().await;
    prepared.report(about, driven)
}

fn used<'a>(servers: impl Iterator<Item = &'a mut Server>) -> BTreeMap<String, Sample> {
    let mut processes: BTreeMap<String, Sample> =
        servers.map(|server| (server.name().to_owned(), server.sample())).collect();
    if let Some(ours) = visor_loadtest::usage::sample(std::process::id()) {
        processes.insert("visor-loadtest".into(), ours);
    }
    processes
}

async fn lose_workers(args: WorkerLossArgs) -> Result<ExitCode> {
    let visor = fixture::visor(args.visor.as_deref())?;
    let seed = SystemClock.now().as_micros();
    let loss = worker_loss::measure(&visor, args.kills, seed).await?;
    if args.json {
        say::result(&serde_json::to_string(&loss).context("the report is no JSON")?);
    } else {
        let summary = &loss.kill_to_restart;
        say::result(&format!(
            "{} workers killed, {} jobs held, {} never run again\n\
             kill to restart: p50 {:.0} ms, p95 {:.0} ms, max {:.0} ms",
            loss.kills, loss.jobs, loss.lost, summary.p50_ms, summary.p95_ms, summary.max_ms
        ));
    }
    Ok(if loss.lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn queue_floor(args: QueueFloorArgs) -> Result<ExitCode> {
    let pace = args.rate.map_or(Pace::InFlight(args.in_flight), Pace::Rate);
    let seconds = Duration::from_secs_f64(args.seconds.clamp(0.1, 86_400.0));
    let floor = queue_floor::measure(pace, seconds).await?;
    if args.json {
        say::result(&serde_json::to_string(&floor).context("the report is no JSON")?);
    } else {
        say::result(&format!(
            "{} messages there and back, {:.0}/s\n\
             there: p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms\n\
             back:  p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms",
            floor.jobs,
            floor.jobs_per_second,
            floor.there.p50_ms,
            floor.there.p95_ms,
            floor.there.p99_ms,
            floor.back.p50_ms,
            floor.back.p95_ms,
            floor.back.p99_ms
        ));
    }
    Ok(ExitCode::SUCCESS)
}
