//! The wrapped consumers and deliveries.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, sleep_until};
use visor_transport::{BusError, Consumer, Delivery};

use super::chaos::Chaos;

pub(super) struct FaultyConsumer {
    inner: Box<dyn Consumer>,
    chaos: Arc<Chaos>,
    /// On their way, with the time of arrival.
    held: Vec<(Instant, Box<dyn Delivery>)>,
    outstanding: u32,
}

impl FaultyConsumer {
    pub(super) fn new(inner: Box<dyn Consumer>, chaos: Arc<Chaos>) -> Self {
        Self { inner, chaos, held: Vec::new(), outstanding: 0 }
    }

    /// Decides what becomes of a delivery.
    fn take(&mut self, delivery: Box<dyn Delivery>) {
        let now = Instant::now();
        let mut copies = self.chaos.taken().into_iter();
        let Some(late) = copies.next() else {
            // Lost on its way: it comes again when its time is over. The request stands.
            self.inner.request(1);
            return;
        };
        for late in copies {
            let payload = delivery.payload().clone();
            let copy = Copy { payload, deliveries: delivery.deliveries() + 1 };
            self.held.push((now + late, Box::new(copy)));
        }
        let chaos = Arc::clone(&self.chaos);
        self.held.push((now + late, Box::new(FaultyDelivery { inner: delivery, chaos })));
    }

    /// The position of what arrives next.
    fn earliest(&self) -> Option<usize> {
        let arrivals = self.held.iter().enumerate().map(|(position, (at, _))| (*at, position));
        arrivals.min().map(|(_, position)| position)
    }
}

#[async_trait]
impl Consumer for FaultyConsumer {
    fn request(&mut self, max: u32) {
        self.outstanding += max;
        self.inner.request(max);
    }

    async fn next(&mut self) -> Option<Box<dyn Delivery>> {
        loop {
            // A copy may come when nothing is requested; it waits until something is.
            let earliest = self.earliest().filter(|_| self.outstanding > 0);
            let arrival = earliest.map(|position| self.held[position].0);
            if let (Some(position), Some(at)) = (earliest, arrival)
                && at <= Instant::now()
            {
                self.outstanding -= 1;
                return Some(self.held.remove(position).1);
            }
            tokio::select! {
                biased;
                delivery = self.inner.next() => self.take(delivery?),
                () = async {
                    match arrival {
                        Some(at) => sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                } => {}
            }
        }
    }

    fn outstanding(&self) -> u32 {
        self.outstanding
    }
}

struct FaultyDelivery {
    inner: Box<dyn Delivery>,
    chaos: Arc<Chaos>,
}

#[async_trait]
impl Delivery for FaultyDelivery {
    fn payload(&self) -> &Bytes {
        self.inner.payload()
    }

    fn deliveries(&self) -> u64 {
        self.inner.deliveries()
    }

    async fn ack(self: Box<Self>) -> Result<(), BusError> {
        if self.chaos.loses_sent() { Ok(()) } else { self.inner.ack().await }
    }

    async fn nack(self: Box<Self>, after: Duration) -> Result<(), BusError> {
        if self.chaos.loses_sent() { Ok(()) } else { self.inner.nack(after).await }
    }
}

/// A second delivery of a message whose first is acknowledged by itself.
struct Copy {
    payload: Bytes,
    deliveries: u64,
}

#[async_trait]
impl Delivery for Copy {
    fn payload(&self) -> &Bytes {
        &self.payload
    }

    fn deliveries(&self) -> u64 {
        self.deliveries
    }

    async fn ack(self: Box<Self>) -> Result<(), BusError> {
        Ok(())
    }

    async fn nack(self: Box<Self>, _after: Duration) -> Result<(), BusError> {
        Ok(())
    }
}
