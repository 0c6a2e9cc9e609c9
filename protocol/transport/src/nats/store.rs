//! Publishing what must be kept.

use async_nats::HeaderMap;
use async_nats::client::Request;
use bytes::Bytes;
use serde::Deserialize;

use super::api::{self, Failure};
use super::link::Link;
use super::patience::Patience;
use super::streams::Stored;
use crate::BusError;

#[derive(Deserialize)]
struct Stamp {
    #[expect(dead_code, reason = "an answer without it is none")]
    seq: u64,
}

impl Link {
    /// Publishes to a stream and waits until the server has stored it. Repeated after a lost
    /// answer: the id keeps the second from being stored too.
    pub(super) async fn store(
        &self,
        thing: &Stored,
        subject: &str,
        id: &str,
        payload: Bytes,
    ) -> Result<(), BusError> {
        self.fits(subject, &payload)?;
        let what = format!("publish on `{subject}`");
        let mut patience = Patience::new(self, &what, self.deadline());
        let mut headers = HeaderMap::new();
        if id.is_empty() {
            headers.insert(async_nats::header::NATS_MESSAGE_ID, self.unique());
        } else {
            headers.insert(async_nats::header::NATS_MESSAGE_ID, id);
        }
        loop {
            self.open()?;
            self.ensure(thing, patience.until()).await?;
            let request = Request::new().payload(payload.clone()).headers(headers.clone());
            let answer = self.ask(subject, request, patience.try_timeout()).await;
            match answer.and_then(|message| api::read::<Stamp>(&message.payload)) {
                Ok(_) => return Ok(()),
                Err(failure) => {
                    // Nobody takes the subject: the stream is gone, and is made in the next round.
                    if failure == Failure::Nobody {
                        self.forget_ensured();
                    }
                    patience.pause(failure).await?;
                }
            }
        }
    }
}
