//! Flags that the services share. Each can be a variable of the environment as well.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Command, ValueEnum};
use visor_protocol::ids::PoolName;

/// Flags of `visor serve`, `visor coordinator` and `visor worker`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RoleArgs {
    /// The NATS server of the fleet [default: nats://127.0.0.1:4222]
    #[arg(long, value_name = "URL", env = "VISOR_NATS")]
    pub(crate) nats: Option<String>,
    /// Where state is kept [default: $XDG_STATE_HOME/visor or ~/.local/state/visor]
    #[arg(long, value_name = "DIR", env = "VISOR_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The address of the HTTP API; one that is not loopback needs a token [default: 127.0.0.1:8686]
    #[arg(long, value_name = "ADDR", env = "VISOR_HTTP")]
    pub(crate) http: Option<SocketAddr>,
    /// The fleet's settings: limits, weights, pools
    #[arg(long, value_name = "FILE", env = "VISOR_FLEET_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The pool the worker belongs to
    #[arg(long, value_name = "NAME", env = "VISOR_POOL", default_value = "default")]
    pub(crate) pool: PoolName,
    /// Checks the worker runs at once [default: the number of cores]
    #[arg(long, value_name = "N", env = "VISOR_SLOTS", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) slots: Option<u32>,
    /// The token that the HTTP API asks for; of 16 characters or more unless the address is loopback
    #[arg(long, value_name = "TOKEN", env = "VISOR_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// How the log is written
    #[arg(long, value_name = "FORMAT", env = "VISOR_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    #[command(flatten)]
    pub(crate) execution: ExecutionArgs,
}

/// Where a worker runs the checks that name no sandbox.
#[derive(Debug, Clone, Args)]
pub(crate) struct ExecutionArgs {
    /// Where checks without a sandbox of their own run [default: sandbox; `visor serve` on a loopback address: host]
    #[arg(long, value_name = "WHERE", env = "VISOR_EXECUTION")]
    pub(crate) execution: Option<ExecutionArg>,
    /// The image of the pool's sandbox
    #[arg(long, value_name = "IMAGE", env = "VISOR_IMAGE")]
    pub(crate) image: Option<String>,
    /// The Docker engine [default: DOCKER_HOST or /var/run/docker.sock]
    #[arg(long, value_name = "HOST", env = "VISOR_DOCKER")]
    pub(crate) docker: Option<String>,
    /// Free MiB on the disk of the data directory below which no checks are taken [default: 1024, or a twentieth of a small disk]
    #[arg(long, value_name = "MIB", env = "VISOR_MIN_FREE")]
    pub(crate) min_free: Option<u64>,
}

/// Where checks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExecutionArg {
    /// In a container, shut off from this machine
    Sandbox,
    /// On this machine, with this user's rights
    Host,
}

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One readable line a fact
    Text,
    /// One JSON object a line
    Json,
}

/// The services that share [`RoleArgs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// `visor serve`
    Serve,
    /// `visor coordinator`
    Coordinator,
    /// `visor worker`
    Worker,
}

impl Role {
    /// The command's help, with what a shared flag means to this service where that differs.
    pub(crate) fn explain(self, command: Command) -> Command {
        const SHARED: &str = "it is taken so that all services can share one environment";
        let nothing = |flags: &'static [&'static str], why: &str| -> Vec<(&str, String)> {
            let help = format!("No meaning here: {why}; {SHARED}");
            flags.iter().map(|flag| (*flag, help.clone())).collect()
        };
        let state = "[default: $XDG_STATE_HOME/visor or ~/.local/state/visor]";
        let (data, others) = match self {
            Self::Serve => (
                "Where the journal and the files of runs are kept",
                nothing(&["nats"], "`visor serve` is one machine without NATS"),
            ),
            Self::Coordinator => (
                "Where the journal is kept",
                nothing(
                    &["pool", "slots", "execution", "image", "docker", "min_free"],
                    "a coordinator runs no checks",
                ),
            ),
            Self::Worker => (
                "Where the files of checks are unpacked while they run",
                [
                    nothing(&["http", "token"], "a worker has no HTTP API"),
                    nothing(&["config"], "the coordinator holds the fleet's settings"),
                ]
                .concat(),
            ),
        };
        let command = command.mut_arg("data_dir", |arg| arg.help(format!("{data} {state}")));
        others.into_iter().fold(command, |command, (flag, help)| {
            command.mut_arg(flag, |arg| arg.help(help).hide_default_value(true))
        })
    }
}

impl RoleArgs {
    /// What was said and means nothing to this service: one line each, for its operator.
    pub(crate) fn without_meaning(&self, role: Role) -> Vec<String> {
        let execution = &self.execution;
        let works = [
            (self.slots.is_some(), "--slots"),
            (execution.execution.is_some(), "--execution"),
            (execution.image.is_some(), "--image"),
            (execution.docker.is_some(), "--docker"),
            (execution.min_free.is_some(), "--min-free"),
        ];
        let (said, why): (Vec<(bool, &str)>, &str) = match role {
            Role::Serve => (
                vec![(self.nats.is_some(), "--nats")],
                "`visor serve` is one machine without NATS; `visor coordinator` and `visor worker` use it",
            ),
            Role::Coordinator => {
                (works.to_vec(), "a coordinator runs no checks; say it to `visor worker`")
            }
            Role::Worker => (
                vec![(self.config.is_some(), "--config"), (self.http.is_some(), "--http")],
                "the coordinator holds the fleet's settings and its API; say it to `visor coordinator`",
            ),
        };
        let flags = said.into_iter().filter(|(said, _)| *said);
        flags.map(|(_, flag)| format!("{flag} has no meaning here: {why}")).collect()
    }

    /// The address of the HTTP API: what was said, or the usual one of this machine.
    pub(crate) fn http(&self) -> SocketAddr {
        self.http.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8686)))
    }

    /// Slots: what was said, or one for each core.
    pub(crate) fn slots(&self) -> u32 {
        self.slots.unwrap_or_else(|| {
            let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            u32::try_from(cores).unwrap_or(u32::MAX)
        })
    }
}
