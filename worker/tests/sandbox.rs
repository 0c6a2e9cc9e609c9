//! Checks in real containers: what they can do, how they end, and that nothing of them stays.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics, in its helpers too")]

mod support;

use std::path::Path;
use std::time::Duration;

use support::{Desk, command, on_host, packed, ticket, until};
use visor_protocol::Job;
use visor_protocol::ids::WorkerId;
use visor_protocol::job::{Placement, SandboxSpec, Workspace};
use visor_protocol::outcome::{End, Outcome};
use visor_protocol::subject::Pattern;
use visor_protocol::worker::{Control, Execution, WorkerState};
use visor_testkit::docker::{DockerEngine, IMAGE};
use visor_worker::{DockerOptions, WorkerConfig};

/// A worker whose jobs run in the base image.
fn in_sandbox(engine: &DockerEngine, name: &str) -> WorkerConfig {
    let mut config = on_host(2);
    config.id = WorkerId::new(format!("{name}-{}", std::process::id())).unwrap();
    config.execution = Execution::Sandbox;
    config.default_sandbox = Some(SandboxSpec::new("default", IMAGE));
    config.docker = DockerOptions { host: Some(engine.host()) };
    config.timings.engine_check = Duration::from_millis(500);
    config
}

/// Where none was found, the test has already said that it is skipped.
macro_rules! engine {
    ($kind:ident, $test:literal) => {
        match DockerEngine::$kind($test).await {
            Some(engine) => engine,
            None => return,
        }
    };
}

fn containers(engine: &DockerEngine, desk: &Desk) -> Vec<String> {
    engine.containers(&format!("visor.worker={}", desk.worker.id()))
}

fn stdout(outcome: &Outcome) -> String {
    String::from_utf8_lossy(&outcome.stdout.inline).into_owned()
}

fn fault_code(outcome: &Outcome) -> &str {
    match &outcome.end {
        End::Infrastructure(fault) => &fault.code,
        end => panic!("no fault but {end:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_runs_in_a_container_that_is_gone_afterwards() {
    let engine = engine!(start_or_skip, "a_check_runs_in_a_container");
    let mut desk = Desk::open(in_sandbox(&engine, "runs")).await;
    let mut job = command(1, "echo out; echo err >&2; echo \"$GREETING\"; exit 7");
    job.env.insert("GREETING".into(), "hello = world".into());
    let outcome = desk.run(&job).await;
    assert_eq!(outcome.end, End::Exited { code: 7 });
    assert_eq!(stdout(&outcome), "out\nhello = world\n");
    assert_eq!(&outcome.stderr.inline[..], b"err\n");
    assert!(outcome.image.as_deref().unwrap().starts_with(IMAGE), "{:?}", outcome.image);
    desk.worker.drain().await;
    assert!(containers(&engine, &desk).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_closed_on_every_side() {
    let engine = engine!(start_or_skip, "a_container_is_closed_on_every_side");
    let mut desk = Desk::open(in_sandbox(&engine, "hardened")).await;
    let script = r#"
        id -u; id -g
        grep -E '^(CapEff|CapPrm|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\t'
        for path in / /etc /bin /usr /workspace/..; do touch $path/x 2>/dev/null && echo "wrote $path"; done
        touch /tmp/x && echo "wrote /tmp"
        ls /sys/class/net
        cat /etc/hosts | head -n 1
        ls /var/run/docker.sock /dev/kmsg /dev/sda /dev/vda 2>/dev/null
        mount -t tmpfs none /tmp 2>/dev/null && echo mounted
        chroot / true 2>/dev/null && echo chrooted
        echo 1 > /proc/sysrq-trigger 2>/dev/null && echo sysrq
        cat /proc/1/environ | tr '\0' '\n' | grep -i -E 'token|nats' 
        echo end
    "#;
    let outcome = desk.run(&command(1, script)).await;
    let expected = "65534\n65534\nCapPrm:0000000000000000\nCapEff:0000000000000000\n\
                    CapBnd:0000000000000000\nNoNewPrivs:1\nSeccomp:2\nwrote /tmp\nlo\n\
                    127.0.0.1\tlocalhost\nend\n";
    assert_eq!(stdout(&outcome), expected, "{:?}", outcome.stderr);
    desk.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_in_a_container_are_bounded() {
    let engine = engine!(start_or_skip, "processes_in_a_container_are_bounded");
    let mut desk = Desk::open(in_sandbox(&engine, "pids")).await;
    let mut spec = SandboxSpec::new("small", IMAGE);
    spec.pids = 20;
    let mut job = command(1, "for i in $(seq 100); do sleep 1000 & done; echo all started");
    job.placement = Placement::Sandbox(Box::new(spec));
    let outcome = desk.run(&job).await;
    assert!(matches!(outcome.end, End::Exited { code } if code != 0), "{:?}", outcome.end);
    assert!(!stdout(&outcome).contains("all started"));
    desk.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_takes_too_much_memory_is_reported_as_such() {
    let engine = engine!(start_or_skip, "a_check_that_takes_too_much_memory");
    let mut desk = Desk::open(in_sandbox(&engine, "oom")).await;
    let mut spec = SandboxSpec::new("small", IMAGE);
    spec.memory_bytes = 24 * 1024 * 1024;
    let hungry = "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#x}";
    for (seq, exec) in
        [(1, hungry.to_owned()), (2, format!("sh -c '{}'", hungry.replace("'\\0'", "\\\\0")))]
    {
        let mut job = command(seq, exec);
        job.placement = Placement::Sandbox(Box::new(spec.clone()));
        let outcome = desk.run(&job).await;
        assert_eq!(outcome.end, End::OutOfMemory, "{outcome:?}");
    }
    desk.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_is_killed_at_its_deadline_with_everything_it_started() {
    let engine = engine!(start_or_skip, "a_check_is_killed_at_its_deadline");
    let mut desk = Desk::open(in_sandbox(&engine, "deadline")).await;
    let mut job = command(1, "trap '' TERM; (setsid sleep 1000 &) ; echo started; sleep 1000");
    job.timeout_ms = 1_000;
    let outcome = desk.run(&job).await;
    assert_eq!(outcome.end, End::TimedOut);
    assert_eq!(stdout(&outcome), "started\n");
    desk.worker.drain().await;
    assert!(containers(&engine, &desk).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_is_asked_to_end_before_it_is_killed() {
    let engine = engine!(start_or_skip, "a_check_is_asked_to_end_before_it_is_killed");
    let mut desk = Desk::open(in_sandbox(&engine, "grace")).await;
    // Not the first process, whose signals the kernel drops; and its whole group is asked.
    let script = "trap 'echo asked' TERM; echo started; sleep 1000; echo \"sleep: $?\"";
    let expected = "started\nasked\nsleep: 143\n";
    let mut job = command(1, script);
    job.timeout_ms = 1_000;
    let outcome = desk.run(&job).await;
    assert_eq!((outcome.end.clone(), stdout(&outcome).as_str()), (End::TimedOut, expected));

    let mut job = command(2, script);
    job.watched = true;
    let mut logs = desk.bus.subscribe(&Pattern::LogsOfRun(job.job.run)).await.unwrap();
    desk.enqueue(&job).await;
    logs.next().await.unwrap();
    desk.order(Control::Cancel { tickets: vec![ticket(&job)], reason: "test".into() }).await;
    let outcome = desk.outcome().await;
    assert_eq!((outcome.end.clone(), stdout(&outcome).as_str()), (End::Cancelled, expected));
    desk.worker.drain().await;
    assert!(containers(&engine, &desk).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_asks_for_more_time_gets_none() {
    let engine = engine!(start_or_skip, "a_check_that_asks_for_more_time_gets_none");
    let mut desk = Desk::open(in_sandbox(&engine, "no-more")).await;
    let script = "trap 'while :; do echo more; sleep 0.1; done' TERM; while :; do sleep 0.1; done";
    let mut job = command(1, script);
    job.timeout_ms = 500;
    let outcome = desk.run(&job).await;
    assert_eq!(outcome.end, End::TimedOut);
    assert!(stdout(&outcome).starts_with("more\nmore\n"));
    desk.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_check_used_is_reported_with_its_outcome() {
    let engine = engine!(start_or_skip, "what_a_check_used_is_reported_with_its_outcome");
    let mut desk = Desk::open(in_sandbox(&engine, "usage")).await;
    // The last look may come too late on a busy machine; one of those before it does not.
    let work = "head -c 30000000 /dev/zero | tr '\\0' x > /tmp/x; sleep 3";
    let outcome = desk.run(&command(1, work)).await;
    assert_eq!(outcome.end, End::Exited { code: 0 }, "{outcome:?}");
    let used = outcome.usage;
    assert!((30_000_000..512 << 20).contains(&used.peak_memory_bytes), "{used:?}");
    assert!(used.user_micros + used.system_micros > 5_000, "{used:?}");
    desk.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_writes_more_than_its_limit_is_ended_for_it() {
    let engine = engine!(start_or_skip, "a_check_that_writes_more_than_its_limit");
    let mut desk = Desk::open(in_sandbox(&engine, "disk")).await;
    let workspace = packed(desk.bus.as_ref(), &[("a.txt", "one\n")]).await;
    let placed = |seq, exec: &str| {
        let mut spec = SandboxSpec::new("small", IMAGE);
        spec.disk_bytes = 20 << 20;
        let placement = Placement::Sandbox(Box::new(spec));
        Job { placement, workspace: Some(workspace.clone()), ..command(seq, exec) }
    };
    let within = desk.run(&placed(1, "head -c 10000000 /dev/zero > b; sleep 2; cat a.txt")).await;
    assert_eq!((within.end.clone(), stdout(&within).as_str()), (End::Exited { code: 0 }, "one\n"));
    let over = placed(2, "trap '' TERM; while head -c 1000000 /dev/zero >> b; do sleep 0.01; done");
    assert_eq!(desk.run(&over).await.end, End::OutOfDisk { limit: 20 << 20 });
    desk.worker.drain().await;
    assert!(containers(&engine, &desk).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_a_job_whose_engine_or_image_is_not_there_has_failed_for_good() {
    let mut config = on_host(1);
    config.alone = true;
    config.docker = DockerOptions { host: Some("/nonexistent/engine.sock".into()) };
    let sandboxed = |seq, image: &str| {
        let placement = Placement::Sandbox(Box::new(SandboxSpec::new("box", image)));
        Job { placement, ..command(seq, "true") }
    };
    let mut desk = Desk::open(config.clone()).await;
    let outcome = desk.run(&sandboxed(1, IMAGE)).await;
    let End::Infrastructure(fault) = outcome.end else { panic!("{:?}", outcome.end) };
    assert_eq!((fault.code.as_str(), fault.retry), ("visor::sandbox::engine_down", false));
    for said in ["/nonexistent/engine.sock", "start it", "DOCKER_HOST", "take `sandbox:` out"] {
        assert!(fault.message.contains(said), "{}", fault.message);
    }
    desk.worker.stop().await;

    let engine = engine!(start_or_skip, "alone_a_job_whose_image_is_not_there");
    config.docker = DockerOptions { host: Some(engine.host()) };
    let mut desk = Desk::open(config).await;
    let outcome = desk.run(&sandboxed(2, "visor/base:absent")).await;
    let End::Infrastructure(fault) = outcome.end else { panic!("{:?}", outcome.end) };
    assert_eq!((fault.code.as_str(), fault.retry), ("visor::sandbox::image_missing", false));
    for said in ["`visor/base:absent`", "pool `default`", "docker build", "take `sandbox:` out"] {
        assert!(fault.message.contains(said), "{}", fault.message);
    }
    desk.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_check_is_killed_and_removed() {
    let engine = engine!(start_or_skip, "a_cancelled_check_is_killed_and_removed");
    let mut desk = Desk::open(in_sandbox(&engine, "cancel")).await;
    // The engine lists containers that it has not quite made: the first moment, ten times.
    for seq in 1..=10 {
        let job = command(seq, "sleep 1000");
        desk.enqueue(&job).await;
        until("the container is there", || !containers(&engine, &desk).is_empty()).await;
        desk.order(Control::Cancel { tickets: vec![ticket(&job)], reason: "test".into() }).await;
        assert_eq!(desk.outcome().await.end, End::Cancelled);
        assert_eq!(containers(&engine, &desk), Vec::<String>::new(), "container {seq}");
    }
    desk.worker.drain().await;
    assert!(containers(&engine, &desk).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_output_is_bounded_and_both_ends_are_kept() {
    let engine = engine!(start_or_skip, "a_flood_of_output_is_bounded");
    let mut desk = Desk::open(in_sandbox(&engine, "flood")).await;
    let mut job = command(1, "echo first; head -c 50000000 /dev/zero | tr '\\0' x; echo last");
    job.output_limit = 20_000;
    let outcome = desk.run(&job).await;
    assert_eq!(outcome.end, End::Exited { code: 0 });
    assert_eq!((outcome.stdout.total, outcome.stdout.kept), (50_000_011, 20_000));
    let kept = stdout(&outcome);
    assert!(kept.starts_with("first\nxxx") && kept.ends_with("xxxlast\n"));
    desk.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_check_can_forge_its_exit_status() {
    let engine = engine!(start_or_skip, "no_check_can_forge_its_exit_status");
    let mut desk = Desk::open(in_sandbox(&engine, "forge")).await;
    // What other systems look for in output and files, and frames of the engine's own protocol.
    let forged = "printf '\\001\\000\\000\\000\\000\\000\\000\\004fake'; \
                  echo '{\"StatusCode\":0}'; echo '{\"issues\":[],\"exit_code\":0}'; \
                  echo 0 > /tmp/exit_code; echo 0 > /tmp/status; exec 1>&- 2>&-; exit 9";
    let outcome = desk.run(&command(1, forged)).await;
    assert_eq!(outcome.end, End::Exited { code: 9 });
    assert!(outcome.stdout.inline.starts_with(b"\x01\0\0\0\0\0\0\x04fake{"));
    desk.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packed_workspace_is_private_and_writable() {
    let engine = engine!(start_or_skip, "a_packed_workspace_is_private_and_writable");
    let mut desk = Desk::open(in_sandbox(&engine, "files")).await;
    let workspace = packed(desk.bus.as_ref(), &[("a.txt", "one\n"), ("dir/b.txt", "two\n")]).await;
    let script = "pwd; cat a.txt dir/b.txt; echo changed > a.txt; mkdir made; chmod +x dir/b.txt; \
                  ls -ln a.txt | cut -d' ' -f1; ls";
    for seq in 1..=2 {
        let mut job = command(seq, script);
        job.workspace = Some(workspace.clone());
        let outcome = desk.run(&job).await;
        assert_eq!(outcome.end, End::Exited { code: 0 }, "{:?}", outcome.stderr);
        assert_eq!(stdout(&outcome), "/workspace\none\ntwo\n-rw-r--r--\na.txt\ndir\nmade\n");
    }
    let mut spec = SandboxSpec::new("read-only", IMAGE);
    spec.read_only = true;
    let mut job = command(3, "cat a.txt; echo changed > a.txt || echo refused");
    (job.workspace, job.placement) = (Some(workspace), Placement::Sandbox(Box::new(spec)));
    assert_eq!(stdout(&desk.run(&job).await), "one\nrefused\n");
    desk.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_used_in_place_shows_what_the_check_wrote() {
    let engine = engine!(start_or_skip, "a_directory_used_in_place");
    let mut desk = Desk::open(in_sandbox(&engine, "in-place")).await;
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(directory.path(), Some(1234), Some(1234)).unwrap();
    let mut job = command(1, "id -u; echo written > file");
    job.workspace = Some(in_place(directory.path()));
    let outcome = desk.run(&job).await;
    assert_eq!(stdout(&outcome), "1234\n", "{:?}", outcome.stderr);
    assert_eq!(std::fs::read_to_string(directory.path().join("file")).unwrap(), "written\n");
    job = Job { workspace: Some(in_place(Path::new("/nonexistent/tree"))), ..command(2, "true") };
    assert_eq!(fault_code(&desk.run(&job).await), "visor::sandbox::no_directory");
    desk.worker.stop().await;
}

fn in_place(path: &Path) -> Workspace {
    Workspace::Directory { path: path.display().to_string() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_image_is_named_early_with_its_pool() {
    let engine = engine!(start_or_skip, "a_missing_image_is_named_early");
    let mut config = in_sandbox(&engine, "image");
    config.images = vec!["visor/absent:none".into()];
    let mut desk = Desk::open(config).await;
    let heartbeat =
        desk.heartbeat(|heartbeat| heartbeat.images.iter().any(|image| image.ready)).await;
    let absent = heartbeat.images.iter().find(|image| image.image == "visor/absent:none").unwrap();
    assert!(!absent.ready && absent.detail.contains("`default`"), "{absent:?}");
    let absent = SandboxSpec::new("absent", "visor/absent:none");
    let job = Job { placement: Placement::Sandbox(Box::new(absent)), ..command(1, "true") };
    let outcome = desk.run(&job).await;
    let End::Infrastructure(fault) = outcome.end else { panic!("{:?}", outcome.end) };
    assert_eq!((fault.code.as_str(), fault.retry), ("visor::sandbox::image_missing", true));
    assert!(
        fault.message.contains("visor/absent:none") && fault.message.contains("pool `default`")
    );
    desk.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_its_pools_image_is_not_ready_and_says_which() {
    let engine = engine!(start_or_skip, "a_worker_without_its_pools_image");
    let mut config = in_sandbox(&engine, "no-image");
    config.default_sandbox = Some(SandboxSpec::new("default", "visor/absent:none"));
    let mut desk = Desk::open(config).await;
    desk.heartbeat(|heartbeat| match &heartbeat.state {
        WorkerState::NotReady { reason } => reason.contains("visor/absent:none"),
        WorkerState::Ready | WorkerState::Draining => false,
    })
    .await;
    desk.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_default_sandbox_a_job_is_told_what_to_do() {
    let engine = engine!(start_or_skip, "without_a_default_sandbox");
    let mut config = in_sandbox(&engine, "no-default");
    config.default_sandbox = None;
    let mut desk = Desk::open(config).await;
    let outcome = desk.run(&command(1, "true")).await;
    assert_eq!(fault_code(&outcome), "visor::sandbox::no_default");
    desk.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_dead_left_is_swept_and_what_the_living_use_is_not() {
    let engine = engine!(private_or_skip, "what_the_dead_left_is_swept");
    let make = |name: &str, labels: &str| {
        let body = format!(
            "{{\"Image\":\"{IMAGE}\",\"Cmd\":[\"sleep\",\"1000\"],\"Labels\":{labels},\"StopTimeout\":0,\
             \"NetworkDisabled\":true}}"
        );
        let made = std::process::Command::new("curl")
            .args(["-sf", "--unix-socket"])
            .arg(engine.socket())
            .args(["-H", "Content-Type: application/json", "-d", &body])
            .arg(format!("http://engine/containers/create?name={name}"))
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let started = std::process::Command::new("curl")
            .args(["-sf", "-X", "POST", "--unix-socket"])
            .arg(engine.socket())
            .arg(format!("http://engine/containers/{name}/start"))
            .output()
            .unwrap();
        assert!(started.status.success());
    };
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap();
    let here = format!("{}/{}", boot.trim(), namespace.display());
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let started = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().nth(19).unwrap();
    let own = std::process::id();
    let data = tempfile::tempdir().unwrap();
    let mut config = in_sandbox(&engine, "sweep");
    config.data_dir = Some(data.path().to_owned());
    let owners = data.path().join("owners");
    std::fs::create_dir(&owners).unwrap();
    let home = visor_providers::host::owners::id(&owners).unwrap();
    let far = "18446744073709551615";
    // All under the name of our worker: runs on one's own machine have one name for all.
    let all = [
        ("dead", format!("{here}/{own}/1"), "x", far),
        ("alive", format!("{here}/{own}/{started}"), "x", far),
        ("elsewhere", "boot/pid:[1]/1/2".to_owned(), "x", far),
        ("overdue", "boot/pid:[1]/1/2".to_owned(), "x", "1000000"),
        ("neighbour", "boot/pid:[1]/1/2".to_owned(), home.as_str(), far),
    ];
    for (name, process, data, until) in &all {
        let labels = serde_json::json!({
            "visor.worker": config.id, "visor.boot": "1", "visor.process": process,
            "visor.data": data, "visor.owner": "gone", "visor.until": until,
        });
        make(name, &labels.to_string());
    }
    make("stranger", "{\"app\":\"database\"}");
    // Not before all are there: one is swept between being made and being started otherwise.
    let desk = Desk::open(config).await;
    until("the leftovers are swept", || {
        let mut left = engine.containers("visor.boot=1");
        left.sort();
        left == ["alive", "elsewhere"]
    })
    .await;
    assert_eq!(engine.containers("app=database"), ["stranger"]);
    desk.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_somebody_else_removes_is_a_fault_that_may_be_retried() {
    let engine = engine!(private_or_skip, "a_container_that_somebody_else_removes");
    let mut desk = Desk::open(in_sandbox(&engine, "removed")).await;
    desk.enqueue(&command(1, "echo started; sleep 1000")).await;
    let runs = |name: &String| {
        let container = engine.get(&format!("/containers/{name}/json"));
        container["State"]["Running"].as_bool() == Some(true)
    };
    until("it runs", || engine.containers("visor.job").iter().any(runs)).await;
    let name = engine.containers("visor.job").remove(0);
    let removed = std::process::Command::new("curl")
        .args(["-sf", "-X", "DELETE", "--unix-socket"])
        .arg(engine.socket())
        .arg(format!("http://engine/containers/{name}?force=1"))
        .status()
        .unwrap();
    assert!(removed.success());
    let outcome = desk.outcome().await;
    let End::Infrastructure(fault) = &outcome.end else { panic!("{:?}", outcome.end) };
    assert!(fault.retry, "{fault:?}");
    assert_eq!(fault_code(&outcome), "visor::sandbox::removed");
    desk.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_killed_in_the_middle_is_a_fault_that_may_be_retried() {
    let mut engine = engine!(private_or_skip, "a_daemon_killed_in_the_middle");
    let mut desk = Desk::open(in_sandbox(&engine, "killed")).await;
    desk.enqueue(&command(1, "echo started; sleep 1000")).await;
    until("the container is there", || !containers(&engine, &desk).is_empty()).await;
    engine.kill();
    let outcome = desk.outcome().await;
    let End::Infrastructure(fault) = outcome.end else { panic!("{:?}", outcome.end) };
    assert!(fault.retry, "{fault:?}");
    let down = desk.heartbeat(|heartbeat| heartbeat.state != WorkerState::Ready).await;
    let WorkerState::NotReady { reason } = down.state else { panic!("{:?}", down.state) };
    assert!(reason.contains("container engine"), "{reason}");
    engine.start_again().await;
    desk.heartbeat(|heartbeat| heartbeat.state == WorkerState::Ready).await;
    assert_eq!(desk.run(&command(2, "echo again")).await.end, End::Exited { code: 0 });
    desk.worker.drain().await;
    assert!(containers(&engine, &desk).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_hangs_stops_nothing_else() {
    let mut engine = engine!(private_or_skip, "a_daemon_that_hangs_stops_nothing_else");
    let mut config = in_sandbox(&engine, "hangs");
    config.timings.engine_call = Duration::from_secs(2);
    let mut desk = Desk::open(config).await;
    desk.heartbeat(|heartbeat| heartbeat.state == WorkerState::Ready).await;
    engine.freeze();
    let outcome = desk.run(&command(1, "true")).await;
    assert_eq!(fault_code(&outcome), "visor::sandbox::engine_down");
    desk.heartbeat(|heartbeat| heartbeat.state != WorkerState::Ready).await;
    engine.thaw();
    desk.heartbeat(|heartbeat| heartbeat.state == WorkerState::Ready).await;
    assert_eq!(desk.run(&command(2, "true")).await.end, End::Exited { code: 0 });
    desk.worker.drain().await;
    assert!(containers(&engine, &desk).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_run_in_a_container_says_why() {
    let engine = engine!(start_or_skip, "what_cannot_run_in_a_container_says_why");
    let mut desk = Desk::open(in_sandbox(&engine, "faults")).await;
    let empty = "visor/empty:test";
    let tar = tar::Builder::new(Vec::new()).into_inner().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), tar).unwrap();
    let imported = std::process::Command::new("curl")
        .args(["-sf", "--unix-socket"])
        .arg(engine.socket())
        .arg("--data-binary")
        .arg(format!("@{}", file.path().display()))
        .arg("http://engine/images/create?fromSrc=-&repo=visor/empty&tag=test")
        .status();
    assert!(imported.unwrap().success());
    let placed = |seq, image: &str, workdir: &str, exec: &str| {
        let mut spec = SandboxSpec::new("odd", image);
        spec.workdir = workdir.into();
        Job { placement: Placement::Sandbox(Box::new(spec)), ..command(seq, exec) }
    };
    for (job, code) in [
        (placed(1, empty, "/workspace", "true"), "visor::sandbox::no_shell"),
        (placed(2, IMAGE, "/etc", "true"), "visor::sandbox::invalid"),
        (placed(3, "not an image", "/workspace", "true"), "visor::sandbox::invalid"),
        (placed(4, IMAGE, "/workspace", &"x".repeat(200_000)), "visor::sandbox::command"),
        (placed(5, IMAGE, "/workspace", "echo \0"), "visor::sandbox::command"),
    ] {
        let outcome = desk.run(&job).await;
        assert_eq!(fault_code(&outcome), code, "{:?}", outcome.end);
        let End::Infrastructure(fault) = outcome.end else { unreachable!() };
        assert!(!fault.retry, "{fault:?}");
    }
    desk.worker.drain().await;
    assert!(containers(&engine, &desk).is_empty());
}
