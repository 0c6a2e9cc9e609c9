//! Waiting for a condition, for longer than anything takes on a slow and busy machine.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Reached only when a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

const BETWEEN: Duration = Duration::from_millis(20);

/// Waits until the condition holds.
#[track_caller]
pub(crate) fn until<C>(what: &str, mut condition: C) -> impl Future<Output = ()>
where
    C: FnMut() -> bool,
{
    until_some(what, async move || condition().then_some(()))
}

/// Waits until there is a value.
#[track_caller]
pub(crate) fn until_some<T, C>(what: &str, mut attempt: C) -> impl Future<Output = T>
where
    C: AsyncFnMut() -> Option<T>,
{
    let place = std::panic::Location::caller();
    async move {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(value) = attempt().await {
                return value;
            }
            assert!(Instant::now() < end, "{place}: {what}: not within {DEADLINE:?}");
            sleep(BETWEEN).await;
        }
    }
}
