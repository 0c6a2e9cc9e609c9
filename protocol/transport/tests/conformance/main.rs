//! What the trait promises, sentence by sentence, of both things that have it.

#![expect(
    clippy::unwrap_used,
    reason = "these are tests, in functions that clippy does not take for such"
)]

mod blobs;
mod core;
mod fixture;
mod life;
mod queues;

/// Runs each function against the memory bus and against a real NATS server.
macro_rules! conformance {
    ($($sentence:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $sentence() {
                super::$sentence(crate::fixture::Fixture::memory()).await;
            })*
        }

        mod nats {
            $(#[tokio::test]
            async fn $sentence() {
                let test = concat!(module_path!(), "::", stringify!($sentence));
                if let Some(fixture) = crate::fixture::Fixture::nats(test).await {
                    super::$sentence(fixture).await;
                }
            })*
        }
    };
}

use conformance;
