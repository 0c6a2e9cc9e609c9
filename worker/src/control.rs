//! Orders from the coordinator.

use std::sync::Arc;
use std::time::Duration;

use visor_protocol::envelope::Envelope;
use visor_protocol::subject::{Pattern, Subject, WorkerTopic};
use visor_protocol::worker::Control;
use visor_transport::BusError;

use crate::shared::Shared;

/// Between two tries to subscribe.
const RETRY: Duration = Duration::from_millis(500);

/// Follows orders until the worker has ended.
pub(crate) async fn follow_orders(shared: Arc<Shared>) {
    let pattern = Pattern::One(Subject::Worker(shared.config.id.clone(), WorkerTopic::Control));
    let follow = async {
        loop {
            match shared.bus.subscribe(&pattern).await {
                Ok(mut orders) => {
                    shared.listening.cancel();
                    while let Some(message) = orders.next().await {
                        match Envelope::<Control>::decode(&message.payload) {
                            Ok(envelope) => obey(&shared, envelope.body).await,
                            Err(error) => tracing::warn!(%error, "an order cannot be read"),
                        }
                    }
                    // The subscription ends only with the bus.
                    return;
                }
                Err(BusError::Closed) => {
                    // Whoever waits for us finds the same.
                    shared.listening.cancel();
                    return;
                }
                Err(error) => tracing::warn!(%error, "cannot listen for orders"),
            }
            tokio::time::sleep(RETRY).await;
        }
    };
    tokio::select! {
        () = follow => {}
        () = shared.ended.cancelled() => {}
    }
}

async fn obey(shared: &Shared, order: Control) {
    match order {
        Control::Cancel { tickets, reason } => {
            let held = {
                let mut ledger = shared.ledger.lock();
                tickets.iter().filter(|ticket| ledger.cancel(**ticket)).count()
            };
            tracing::info!(tickets = tickets.len(), held, reason, "cancel");
        }
        Control::Resend { tickets } => {
            for ticket in tickets {
                // Not kept: still on its way, or forgotten; the next heartbeat tells which.
                let kept = shared.ledger.lock().kept(ticket);
                if let Some(reported) = kept {
                    let _ = shared.results.send(reported).await;
                }
            }
            shared.beat.notify_one();
        }
        Control::Drain => {
            tracing::info!("told to drain");
            shared.draining.cancel();
        }
        Control::Report => shared.beat.notify_one(),
    }
}
