//! Commands as real processes of this machine, behaving as badly as they can.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use visor_protocol::Timestamp;
use visor_protocol::ids::{Attempt, JobId, RunId};
use visor_protocol::outcome::{End, Usage};
use visor_protocol::worker::Ticket;
use visor_providers::host::HostPlace;
use visor_providers::{Output, Place, Ran, Recorder, ShellCommand, Stop};

/// Long after everything here should have ended.
const PATIENCE: Duration = Duration::from_secs(60);

struct Done {
    ran: Ran,
    stdout: Output,
    stderr: Output,
}

impl Done {
    fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout.bytes).into_owned()
    }
}

struct Run<'a> {
    exec: &'a str,
    env: BTreeMap<String, String>,
    timeout: Duration,
    limit: u64,
    stop: Stop,
    directory: Option<&'a Path>,
}

fn sh(exec: &str) -> Run<'_> {
    Run {
        exec,
        env: BTreeMap::new(),
        timeout: PATIENCE,
        limit: 1024 * 1024,
        stop: Stop::new(),
        directory: None,
    }
}

fn ticket() -> Ticket {
    static SEQ: AtomicU32 = AtomicU32::new(0);
    let run = RunId::new(Timestamp::from_micros(5_000), u128::from(std::process::id()));
    let seq = SEQ.fetch_add(1, Ordering::Relaxed);
    Ticket { job: JobId { run, seq }, attempt: Attempt::FIRST }
}

impl Run<'_> {
    async fn go(self) -> Done {
        let mut recorder = Recorder::new(self.limit, None);
        let place = HostPlace::new(self.directory.map(Path::to_owned));
        let (ticket, exec, env, timeout) = (ticket(), self.exec, &self.env, self.timeout);
        let command = ShellCommand { ticket, exec, env, timeout };
        let ran = tokio::time::timeout(PATIENCE * 2, place.run(command, &mut recorder, &self.stop));
        let ran = ran.await.expect("the command is never reported");
        let (stdout, stderr) = recorder.finish();
        Done { ran, stdout, stderr }
    }
}

/// Whether a process is there, and not just a zombie that somebody else has to reap.
fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").starts_with(" Z"))
}

/// Everything whose command line contains the mark.
fn alive(mark: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().into_string().ok());
    pids.filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(|pid| *pid != std::process::id().to_string())
        .filter(|pid| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains(mark) && runs(pid)
        })
        .collect()
}

/// How many of them are `sleep` itself.
fn sleeping(mark: &str) -> usize {
    let is_sleep = |pid: &String| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim() == "sleep"
    };
    alive(mark).iter().filter(|pid| is_sleep(pid)).count()
}

/// A number of seconds nobody else sleeps for.
fn mark() -> String {
    format!("1000.{}{:03}", std::process::id(), ticket().job.seq)
}

#[tokio::test]
async fn status_output_and_signals_are_told_apart() {
    let done = sh("echo out; echo err >&2; exit 3").go().await;
    assert_eq!(done.ran.end, End::Exited { code: 3 });
    assert_eq!((done.out().as_str(), &done.stderr.bytes[..]), ("out\n", &b"err\n"[..]));
    assert_eq!(sh("kill -9 $$").go().await.ran.end, End::Signaled { signal: 9 });
    assert_eq!(sh("exit 137").go().await.ran.end, End::Exited { code: 137 });
}

#[tokio::test]
async fn a_command_sees_its_variables_its_directory_and_no_input() {
    let directory = tempfile::tempdir().unwrap();
    let mut run = sh("printf '%s|' \"$PLAIN\" \"$ODD\"; pwd; cat; echo ${#HOME}");
    run.env.insert("PLAIN".into(), "a b".into());
    run.env.insert("ODD".into(), "=\n'\"$x".into());
    run.directory = Some(directory.path());
    let home = std::env::var("HOME").unwrap_or_default().len();
    let done = run.go().await;
    assert_eq!(done.out(), format!("a b|=\n'\"$x|{}\n{home}\n", directory.path().display()));
}

#[tokio::test]
async fn output_that_is_not_text_is_kept_byte_by_byte() {
    let done = sh("printf '\\377\\000\\200x'").go().await;
    assert_eq!(&done.stdout.bytes[..], b"\xff\0\x80x");
}

#[tokio::test]
async fn a_gigabyte_of_output_is_counted_and_not_kept() {
    let mut run = sh("echo first; head -c 1000000000 /dev/zero; echo last");
    run.limit = 100_000;
    let done = run.go().await;
    assert_eq!(done.ran.end, End::Exited { code: 0 });
    assert_eq!((done.stdout.total, done.stdout.kept), (1_000_000_011, 100_000));
    assert!(done.stdout.bytes.starts_with(b"first\n\0\0"));
    assert!(done.stdout.bytes.ends_with(b"\0\0last\n"));
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 200_000, "{peak} kB");
}

#[tokio::test]
async fn a_deadline_holds_against_a_flood_of_output() {
    let mut run = sh("yes");
    run.timeout = Duration::from_millis(300);
    let done = run.go().await;
    assert_eq!(done.ran.end, End::TimedOut);
    assert!(done.stdout.total > 0);
}

#[tokio::test]
async fn a_command_may_clean_up_when_its_time_is_over() {
    let mut run = sh("trap 'echo cleaning; exit 0' TERM; echo ready; while :; do sleep 0.05; done");
    run.timeout = Duration::from_millis(500);
    let done = run.go().await;
    assert_eq!((done.ran.end.clone(), done.out().as_str()), (End::TimedOut, "ready\ncleaning\n"));
}

#[tokio::test]
async fn a_command_that_ignores_sigterm_is_killed_after_its_grace() {
    let mark = mark();
    let exec = format!("trap '' TERM INT HUP; sleep {mark} & while :; do sleep {mark}; done");
    let mut run = sh(&exec);
    run.timeout = Duration::from_millis(500);
    let began = Instant::now();
    let done = run.go().await;
    assert_eq!(done.ran.end, End::TimedOut);
    assert!(began.elapsed() >= Duration::from_secs(2), "the grace was given");
    assert_eq!(alive(&mark), [""; 0]);
}

#[tokio::test]
async fn a_cancelled_command_ends_with_its_whole_tree() {
    let mark = mark();
    let exec = format!("(sleep {mark} & setsid sleep {mark} & wait) & sleep {mark}");
    let run = sh(&exec);
    let stop = run.stop.clone();
    let cancel = async {
        while sleeping(&mark) < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.stop();
    };
    let (done, ()) = tokio::join!(run.go(), cancel);
    assert_eq!(done.ran.end, End::Cancelled);
    assert_eq!(alive(&mark), [""; 0]);
}

#[tokio::test]
async fn a_stopped_command_does_not_outlive_its_deadline() {
    let mut run = sh("kill -STOP $$; echo never");
    run.timeout = Duration::from_millis(200);
    assert_eq!(run.go().await.ran.end, End::TimedOut);
}

/// Everything here ends at once by itself and leaves something behind that wants to live on.
#[tokio::test]
async fn nothing_outlives_its_command() {
    let began = Instant::now();
    for daemon in [
        // In the group, holding the output open.
        "sleep MARK & echo done",
        // In the group, output closed.
        "sleep MARK >/dev/null 2>&1 & echo done",
        // In a session of its own.
        "setsid sleep MARK & echo done",
        // The same with closed pipes and a parent that is gone.
        "(setsid sleep MARK >/dev/null 2>&1 &) ; echo done",
        // Without the environment that names its attempt.
        "env -i setsid sleep MARK >/dev/null 2>&1 & echo done",
        // A whole family in another session.
        "setsid sh -c 'trap \"\" TERM HUP; sleep MARK & sleep MARK & sleep MARK' & echo done",
        // Daemons within daemons.
        "setsid sh -c 'setsid sh -c \"sleep MARK & env -i setsid sleep MARK\" &' & echo done",
        // It claims to belong to somebody else.
        "VISOR_OWNER=other VISOR_JOB=other setsid sleep MARK & echo done",
    ] {
        let mark = mark();
        let done = sh(&daemon.replace("MARK", &mark)).go().await;
        assert_eq!(done.ran.end, End::Exited { code: 0 }, "{daemon}");
        assert_eq!(done.out(), "done\n", "{daemon}");
        // A process without marks is nobody's as long as commands of other tests might own it.
        let hidden = daemon.contains("env -i") || daemon.contains("=other");
        while hidden && !alive(&mark).is_empty() {
            assert!(began.elapsed() < PATIENCE, "{daemon}");
            tokio::time::sleep(Duration::from_millis(20)).await;
            sh("true").go().await;
        }
        assert_eq!(alive(&mark), [""; 0], "{daemon}");
    }
}

#[tokio::test]
async fn a_command_that_closed_its_pipes_is_waited_for() {
    let done = sh("exec 1>&- 2>&-; sleep 0.3; exit 5").go().await;
    assert_eq!(done.ran.end, End::Exited { code: 5 });
}

#[tokio::test]
async fn what_is_printed_in_the_last_moment_is_not_lost() {
    for _ in 0..50 {
        let done = sh("(sleep 0.01; echo late) & echo early").go().await;
        assert_eq!(done.out(), "early\nlate\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_ending_harms_no_other() {
    let mark = mark();
    // Daemons of a command that is still under way, beside many that end meanwhile.
    let exec = format!(
        "(setsid sleep {mark} >/dev/null 2>&1 &); (env -i setsid sleep {mark} >/dev/null 2>&1 &); \
         sleep 1000"
    );
    let long = sh(&exec);
    let stop = long.stop.clone();
    let others = async {
        while sleeping(&mark) < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for _ in 0..100 {
            let done = sh("setsid sleep 0.001 >/dev/null 2>&1 & true").go().await;
            assert_eq!(done.ran.end, End::Exited { code: 0 });
        }
        let left = sleeping(&mark);
        stop.stop();
        left
    };
    let (done, left) = tokio::join!(long.go(), others);
    assert_eq!((left, done.ran.end), (2, End::Cancelled));
    assert_eq!(alive(&mark), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_of_somebody_else_in_this_process_is_left_alone() {
    let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let mut exited = tokio::process::Command::new("true").spawn().unwrap();
    for _ in 0..20 {
        sh("setsid sleep 1000 & true").go().await;
    }
    assert!(child.try_wait().unwrap().is_none(), "killed");
    assert!(exited.wait().await.unwrap().success(), "reaped");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_commands_at_once_leave_no_zombies() {
    let mut runs = tokio::task::JoinSet::new();
    for number in 0..300 {
        runs.spawn(async move {
            let exec = format!("(setsid true &); (true &); exit {}", number % 7);
            let done = sh(&exec).go().await;
            assert_eq!(done.ran.end, End::Exited { code: number % 7 });
        });
    }
    while let Some(joined) = runs.join_next().await {
        joined.unwrap();
    }
    sh("true").go().await;
    let own = std::process::id().to_string();
    let zombies = fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let mut fields = stat.rsplit(')').next().unwrap_or("").split_ascii_whitespace();
        fields.next() == Some("Z") && fields.next() == Some(own.as_str())
    });
    assert_eq!(zombies.count(), 0);
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let code = |done: &Done| match &done.ran.end {
        End::Infrastructure(fault) => (fault.code.clone(), fault.retry),
        end => panic!("no fault but {end:?}"),
    };
    let long = "x".repeat(3 * 1024 * 1024);
    let done = sh(&long).go().await;
    assert_eq!(code(&done), ("visor::host::too_long".into(), false));
    let mut run = sh("true");
    run.directory = Some(Path::new("/nonexistent/directory"));
    assert_eq!(code(&run.go().await), ("visor::host::no_directory".into(), true));
    assert_eq!(code(&sh("echo \0").go().await), ("visor::host::spawn".into(), false));
}

#[tokio::test]
async fn what_a_command_used_is_reported() {
    let exec = "x=$(head -c 100000000 /dev/zero | tr '\\0' x); i=0; \
                while [ $i -lt 100000 ]; do i=$((i+1)); done";
    let Usage { peak_memory_bytes, user_micros, .. } = sh(exec).go().await.ran.usage;
    assert!(peak_memory_bytes > 100_000_000, "{peak_memory_bytes}");
    assert!(user_micros > 0);
}
