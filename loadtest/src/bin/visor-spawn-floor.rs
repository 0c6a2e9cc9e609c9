//! The floor that running checks is measured against: the same command started from a bare tokio
//! loop, so many at once, with its output read and its end awaited, and nothing else.
//!
//! `visor-spawn-floor COUNT PARALLEL` prints one JSON object.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::Instant;
use visor_loadtest::say;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |name: &str| -> Result<usize> {
        let text = arguments.next().with_context(|| format!("{name} is missing"))?;
        text.parse().with_context(|| format!("{name} is a number"))
    };
    let (count, parallel) = (number("COUNT")?, number("PARALLEL")?.max(1));
    let begin = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..count {
        if running.len() >= parallel
            && let Some(ended) = running.join_next().await
        {
            ended.context("a task ended badly")??;
        }
        running.spawn(echo());
    }
    while let Some(ended) = running.join_next().await {
        ended.context("a task ended badly")??;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let rate = count as f64 / seconds;
    say::result(
        &serde_json::json!({ "count": count, "seconds": seconds, "rate": rate }).to_string(),
    );
    Ok(())
}

async fn echo() -> Result<()> {
    let output = Command::new("sh")
        .args(["-c", "echo ok"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .await
        .context("cannot start sh")?;
    ensure!(output.status.success() && output.stdout == b"ok\n", "sh answers something else");
    Ok(())
}
