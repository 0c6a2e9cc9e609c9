//! Heartbeats: the whole state of the worker, twice a second and at once when it changes.

use std::sync::Arc;

use tokio::time::{Instant, MissedTickBehavior};
use visor_protocol::envelope::Envelope;
use visor_protocol::subject::{Subject, WorkerTopic};
use visor_protocol::worker::{Heartbeat, Report};

use crate::host_usage::HostSampler;
use crate::shared::Shared;

/// Sends heartbeats until the worker has ended.
pub(crate) async fn send_heartbeats(shared: Arc<Shared>) {
    let mut sampler = HostSampler::default();
    let mut tick = tokio::time::interval(shared.config.timings.heartbeat);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = shared.beat.notified() => tick.reset(),
            () = shared.ended.cancelled() => return,
        }
        let heartbeat = Heartbeat {
            worker: shared.config.id.clone(),
            boot: shared.boot,
            pool: shared.config.pool.clone(),
            slots: shared.config.slots.get(),
            held: shared.ledger.lock().held(),
            state: shared.state(),
            execution: shared.config.execution,
            images: shared.places.images(),
            host: sampler.sample(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            since: shared.since,
        };
        let sent = send_report(&shared, Report::Heartbeat(Box::new(heartbeat))).await;
        match (&sent, failing) {
            (Err(error), false) => tracing::warn!(error, "heartbeats do not get through"),
            (Ok(()), true) => tracing::info!("heartbeats get through again"),
            (Err(_), true) | (Ok(()), false) => {}
        }
        failing = sent.is_err();
        if !failing {
            shared.contact.lock().beat(Instant::now());
        }
    }
}

/// Publishes one report.
pub(crate) async fn send_report(shared: &Shared, report: Report) -> Result<(), String> {
    let subject = Subject::Worker(shared.config.id.clone(), WorkerTopic::Heartbeat);
    let payload = Envelope::new(report, shared.clock.now()).encode().map_err(|e| e.to_string())?;
    shared.bus.publish(&subject, payload).await.map_err(|e| e.to_string())
}
