//! How soon the jobs of a killed worker run again: from the kill to the start of the next attempt
//! on another worker, for every job the dead one held.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};
use visor_protocol::Envelope;
use visor_protocol::api::{Priority, Request, Submission};
use visor_protocol::event::{News, Notice};
use visor_protocol::ids::{ChannelId, JobId, RunId, Shard, WorkerId};
use visor_protocol::result::CheckState;
use visor_protocol::subject::{Pattern, Subject};
use visor_protocol::time::{Clock, SystemClock, Timestamp};
use visor_transport::{Bus, Subscription, nats};

use crate::fixture::fleet::Fleet;
use crate::measure::{Latencies, Summary};
use crate::scenario::{Checks, Scenario};
use crate::session::RunIds;
use crate::target::fleet::call;

/// Jobs that are held when the worker dies; half of them or so are its own.
const JOBS: u32 = 12;
const SLOTS: u32 = 16;
/// After this a job counts as never run again.
const GIVE_UP: Duration = Duration::from_secs(60);

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerLoss {
    /// Workers that were killed.
    pub kills: u32,
    /// Jobs they held.
    pub jobs: u64,
    /// Of these, the ones that did not run again in time.
    pub lost: u64,
    /// From the kill to the start of the next attempt.
    pub kill_to_restart: Summary,
}

/// Kills a worker so many times.
///
/// # Errors
/// When the fleet does not start, or does not do its work.
pub async fn measure(visor: &Path, kills: u32, seed: u64) -> Result<WorkerLoss> {
    let mut fleet = Fleet::start(visor, SLOTS).await?;
    let bus = nats::connect(fleet.url()).await.context("cannot connect")?;
    let mut names = vec![fleet.add_worker()?, fleet.add_worker()?];
    let ids = RunIds::new(SystemClock.now(), seed);
    let mut latencies = Latencies::default();
    let (mut jobs, mut lost) = (0, 0);
    for kill in 0..kills {
        fleet.wait_for_workers(&*bus, 2).await?;
        let mut round = Round::begin(Arc::clone(&bus), ids.id(kill)).await?;
        let held = round.wait_until_all_run().await?;
        // Both hold something almost always; the one with more gives more to measure.
        let (victim, held) = fullest(held).context("no job runs")?;
        let at = SystemClock.now();
        fleet.kill_worker(victim.as_str());
        names.retain(|name| name != victim.as_str());
        let again = round.wait_until_again(&held).await;
        jobs += held.len() as u64;
        lost += (held.len() - again.len()) as u64;
        again.iter().for_each(|started| latencies.add(started.since(at)));
        round.end().await?;
        names.push(fleet.add_worker()?);
    }
    bus.close().await;
    Ok(WorkerLoss { kills, jobs, lost, kill_to_restart: latencies.summary() })
}

fn fullest(held: HashMap<JobId, WorkerId>) -> Option<(WorkerId, Vec<JobId>)> {
    let mut by_worker: HashMap<WorkerId, Vec<JobId>> = HashMap::new();
    for (job, worker) in held {
        by_worker.entry(worker).or_default().push(job);
    }
    by_worker.into_iter().max_by_key(|(_, jobs)| jobs.len())
}

/// One run of jobs that would take for ever.
struct Round {
    bus: Arc<dyn Bus>,
    events: Box<dyn Subscription>,
    run: RunId,
}

impl Round {
    async fn begin(bus: Arc<dyn Bus>, run: RunId) -> Result<Self> {
        let events = bus.subscribe(&Pattern::One(Subject::Events(Shard(0)))).await?;
        let scenario = Scenario {
            name: "worker-loss".into(),
            about: String::new(),
            checks: Checks::Copies { count: JOBS, of: "type: command, exec: sleep 600".into() },
            tags: Vec::new(),
            max_parallelism: Some(JOBS),
            arrivals: crate::arrivals::Shape::Constant { rate: 1.0 },
            runs: Some(1),
            seconds: None,
            in_flight: None,
        };
        let submission = Submission {
            run,
            channel: ChannelId::local(),
            config: scenario.config(),
            selection: scenario.selection(),
            revision: visor_protocol::api::Revision::default(),
            workspace: None,
            env: std::collections::BTreeMap::new(),
            priority: Priority::Normal,
            pool: None,
            timeout_ms: None,
            watched: false,
        };
        let answer = call(&*bus, Request::Submit(Box::new(submission))).await?;
        answer.context("the run was refused")?;
        Ok(Self { bus, events, run })
    }

    /// The next start of a job of this run.
    async fn next_start(
        &mut self,
        deadline: Instant,
    ) -> Option<Vec<(JobId, u32, WorkerId, Timestamp)>> {
        let message = timeout_at(deadline, self.events.next()).await.ok()??;
        let notices = Envelope::<Vec<Notice>>::decode(&message.payload).ok()?.body;
        let ours = notices.into_iter().filter(|notice| notice.run == self.run);
        let starts = ours.filter_map(|notice| match notice.what {
            News::Check {
                state: CheckState::Running,
                attempt: Some(attempt),
                job: Some(job),
                worker: Some(worker),
                ..
            } => Some((job, attempt.0, worker, notice.at)),
            _ => None,
        });
        Some(starts.collect())
    }

    async fn wait_until_all_run(&mut self) -> Result<HashMap<JobId, WorkerId>> {
        let deadline = Instant::now() + GIVE_UP;
        let mut held = HashMap::new();
        while held.len() < JOBS as usize {
            let Some(starts) = self.next_start(deadline).await else {
                bail!("only {} of {JOBS} jobs were started within {GIVE_UP:?}", held.len());
            };
            held.extend(starts.into_iter().map(|(job, _, worker, _)| (job, worker)));
        }
        Ok(held)
    }

    async fn wait_until_again(&mut self, jobs: &[JobId]) -> Vec<Timestamp> {
        let deadline = Instant::now() + GIVE_UP;
        let mut again: HashMap<JobId, Timestamp> = HashMap::new();
        while again.len() < jobs.len() {
            let Some(starts) = self.next_start(deadline).await else { break };
            for (job, attempt, _, at) in starts {
                if attempt > 1 && jobs.contains(&job) {
                    again.entry(job).or_insert(at);
                }
            }
        }
        again.into_values().collect()
    }

    async fn end(self) -> Result<()> {
        let reason = "measured".to_owned();
        let cancel = Request::Cancel { run: self.run.to_string(), reason };
        call(&*self.bus, cancel).await?.context("the run was not cancelled")?;
        Ok(())
    }
}
