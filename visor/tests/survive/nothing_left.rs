//! That the search for what is left finds what hides.

use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{leftovers, until};

#[tokio::test]
async fn a_process_that_hides_and_an_empty_directory_are_found() {
    leftovers::adopt();
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("known/empty")).unwrap();
    assert_eq!(leftovers::entries(dir.path(), &["known"]), [dir.path().join("known/empty")]);

    // No variable, no parent, no session, no directory and no pipe tells where it comes from.
    let hidden = "cd / && env -i setsid sleep 600 </dev/null >/dev/null 2>&1 & echo $!";
    let started = Command::new("sh").args(["-c", hidden]).output().unwrap();
    let pid = String::from_utf8(started.stdout).unwrap().trim().to_owned();
    let found = || leftovers::strays().iter().any(|stray| stray.starts_with(&format!("{pid} ")));
    until("it is found", found).await;
    kill_process(pid.parse().ok().and_then(Pid::from_raw).unwrap(), Signal::KILL).unwrap();
    until("it is gone", || !found()).await;
}
