//! No room for the journal.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use visor_protocol::api::Request;
use visor_testkit::build::SubmissionBuilder;
use visor_testkit::nats::skip;

use crate::harness::client::new_run;
use crate::harness::service::visor;
use crate::harness::{Checks, Fleet, until, until_some};

/// A file system of a few megabytes, in memory. Unmounted when dropped.
struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    fn mount_or_skip(test: &str, megabytes: u32) -> Option<Self> {
        let dir = tempfile::Builder::new().prefix("visor-small-").tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            skip(test, "a tmpfs cannot be mounted here");
            return None;
        }
        Some(Self { dir })
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn filler(&self) -> PathBuf {
        self.dir.path().join("filler")
    }

    /// Takes all room that is left.
    fn fill(&self) {
        let mut file = File::create(self.filler()).unwrap();
        let block = vec![1_u8; 4_096];
        while file.write_all(&block).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.dir.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_with_a_reason_breaks_nothing_and_goes_on_by_itself() {
    let test = "a_full_disk_refuses_with_a_reason_breaks_nothing_and_goes_on_by_itself";
    let Some(disk) = SmallDisk::mount_or_skip(test, 24) else { return };
    let data = disk.path().join("journal");
    let Some(mut fleet) = Fleet::start_in(test, Some(&data)).await else { return };
    fleet.start_worker("w-1", 8).await;

    // What each check says needs room in the journal.
    let work = "yes \"line of $VISOR_JOB\" | head -c 40000; sleep 0.2";
    let checks = Checks::new(fleet.dir(), 100, work);
    fleet.client.submit(&checks.submission()).await;
    until("some checks are over", || checks.ended() >= 20).await;
    disk.fill();
    is_refused(&fleet).await;
    let (status, page) = fleet.page("/readyz").await;
    assert_eq!(status, 503, "{page}");
    assert!(page.contains("journal"), "{page}");
    let mut status = visor(&["status", "--fleet", &fleet.nats.url()]);
    let status = String::from_utf8(status.output().unwrap().stdout).unwrap();
    assert!(status.contains("the journal cannot be written"), "{status}");
    // Every check ends meanwhile, and none of it can be written down.
    until("all checks are over", || checks.ended() == 100).await;
    disk.make_room();
    is_ready(&fleet).await;
    fleet.client.passes(checks.run).await;
    checks.assert_ran_once();

    // Once more with nothing under way, so that nobody but the coordinator itself tries again.
    disk.fill();
    is_refused(&fleet).await;
    disk.make_room();
    is_ready(&fleet).await;
    let second = Checks::new(fleet.dir(), 3, "true");
    fleet.client.submit(&second.submission()).await;
    fleet.client.passes(second.run).await;
    let histories = fleet.end(&[(checks.run, 100), (second.run, 3)]).await;
    histories[0].assert_first_attempts();
}

const NOOP: &str = "version: \"1.0\"\nchecks:\n  nothing: { type: noop }\n";

/// Submitting is refused, with the reason, sooner or later: what room redb still has in its file
/// is used first.
async fn is_refused(fleet: &Fleet) {
    let mut taken = 0;
    until_some("a submit is refused", async || {
        let config = format!("# {}\n{NOOP}", "x".repeat(300_000));
        let mut submission = SubmissionBuilder::new(0, config).build();
        submission.run = new_run();
        match fleet.client.ask(Request::Submit(Box::new(submission))).await {
            Ok(Err(error)) => {
                assert_eq!(error.code, "visor::journal::unwritable", "{error}");
                assert!(error.message.contains("cannot write the journal"), "{error}");
                assert!(error.retry_after_ms.is_some());
                Some(())
            }
            Ok(Ok(_)) => {
                taken += 1;
                assert!(taken < 200, "the disk is full and it takes runs");
                None
            }
            Err(error) => panic!("no answer: {error}"),
        }
    })
    .await;
}

async fn is_ready(fleet: &Fleet) {
    until_some("it is ready again", async || (fleet.page("/readyz").await.0 == 200).then_some(()))
        .await;
}
