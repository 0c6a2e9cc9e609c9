//! How a coordinator is set up.
//!
//! - [`fleet`]: what a `fleet.yaml` decides, checked
//! - `file`: reading one

mod file;
pub mod fleet;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use visor_protocol::ids::Shard;

pub use fleet::{ChannelPolicy, FleetConfig, LimitRule};

/// What a coordinator needs to know.
#[derive(Debug, Clone)]
pub struct CoordinatorConfig {
    /// Which part of the channels it leads.
    pub shard: Shard,
    /// Where the journal lies; in memory when absent.
    pub data_dir: Option<PathBuf>,
    /// Limits, weights and retry rules.
    pub fleet: FleetConfig,
    /// How leases are kept.
    pub lease: LeaseTiming,
    /// Runs that may be open at once; further submits are told to come back.
    pub max_open_runs: usize,
    /// Finished runs that are kept.
    pub keep_runs: usize,
    /// The worker is in this process and shares its files, so a run may use a directory in place.
    pub shares_files: bool,
    /// Configurations and plans that are kept ready.
    pub plan_cache: NonZeroUsize,
}

/// How long a worker may stay silent.
#[derive(Debug, Clone, Copy)]
pub struct LeaseTiming {
    /// After this silence a worker is lost and its attempts are given to others. Four heartbeats:
    /// a pause of a second must not lose it.
    pub ttl: Duration,
    /// How often silence is looked for.
    pub sweep: Duration,
    /// A job handed to the transport and taken by nobody for this long, with a slot free, is
    /// handed over again.
    pub unclaimed: Duration,
    /// After a start, restored jobs wait this long for the workers that may hold them to say so.
    pub settle: Duration,
}

impl Default for LeaseTiming {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(2),
            sweep: Duration::from_millis(100),
            unclaimed: Duration::from_secs(2),
            settle: Duration::from_millis(1_500),
        }
    }
}

impl Default for CoordinatorConfig {
    fn default() -> Self {
        Self {
            shard: Shard(0),
            data_dir: None,
            fleet: FleetConfig::default(),
            lease: LeaseTiming::default(),
            max_open_runs: 100_000,
            keep_runs: 100_000,
            shares_files: false,
            plan_cache: NonZeroUsize::new(256).expect("256 is not zero"),
        }
    }
}
