//! Waiting for a condition instead of for a time.

use std::panic::Location;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a condition may take to come true. Generous: it is reached only when a test fails.
pub const DEADLINE: Duration = Duration::from_secs(60);

const BETWEEN: Duration = Duration::from_millis(10);

/// Waits until the condition holds.
///
/// # Panics
/// When it does not within [`DEADLINE`]; names what was waited for and where.
#[track_caller]
pub fn eventually<C>(what: &str, mut condition: C) -> impl Future<Output = ()>
where
    C: FnMut() -> bool,
{
    eventually_some(what, async move || condition().then_some(()))
}

/// Waits until there is a value.
///
/// # Panics
/// When there is none within [`DEADLINE`]; names what was waited for and where.
#[track_caller]
pub fn eventually_some<T, C>(what: &str, mut attempt: C) -> impl Future<Output = T>
where
    C: AsyncFnMut() -> Option<T>,
{
    let place = Location::caller();
    async move {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(value) = attempt().await {
                return value;
            }
            assert!(Instant::now() < until, "{place}: {what}: not within {DEADLINE:?}");
            sleep(BETWEEN).await;
        }
    }
}
