//! A real NATS server with JetStream, on a free port, with its files in a directory of its own.

use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

use crate::wait::{DEADLINE, eventually, eventually_some};

/// Where Debian puts it when it is not on the path.
const USUAL_PLACE: &str = "/usr/sbin/nats-server";

/// A server that is stopped when this value is dropped.
#[derive(Debug)]
pub struct NatsServer {
    program: OsString,
    child: Option<Child>,
    dir: TempDir,
    port: u16,
    version: String,
}

impl NatsServer {
    /// Starts a server for a test. Where none is installed, says that the test is skipped and
    /// returns nothing; with `CI=true` in the environment that is a failure.
    ///
    /// # Panics
    /// When the server is installed and does not start, or is not installed and has to be.
    pub async fn start_or_skip(test: &str) -> Option<Self> {
        Self::start_with_or_skip(test, "").await
    }

    /// As [`NatsServer::start_or_skip`], with further lines of configuration.
    ///
    /// # Panics
    /// When the server is installed and does not start, or is not installed and has to be.
    pub async fn start_with_or_skip(test: &str, config: &str) -> Option<Self> {
        let Some(program) = find() else {
            skip(test, "nats-server is not installed");
            return None;
        };
        let server = Self::start_program(program, config).await.expect("nats-server starts");
        say(&format!("{test}: nats-server {}", server.version));
        Some(server)
    }

    /// Starts a server.
    ///
    /// # Errors
    /// When it is not installed or does not answer in time.
    pub async fn start() -> io::Result<Self> {
        let program = find().ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "nats-server is not installed")
        })?;
        Self::start_program(program, "").await
    }

    async fn start_program(program: OsString, config: &str) -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("visor-nats-").tempdir()?;
        std::fs::write(dir.path().join("server.conf"), config)?;
        let mut server = Self { program, child: None, dir, port: 0, version: String::new() };
        // Between finding a port free and using it, somebody else may have taken it.
        for _ in 0..10 {
            server.port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            if server.launch().await? {
                return Ok(server);
            }
        }
        let log = std::fs::read_to_string(server.dir.path().join("log")).unwrap_or_default();
        Err(io::Error::other(format!("nats-server ends at once: {log}")))
    }

    /// Starts the process and waits until it answers; false when it ended instead.
    async fn launch(&mut self) -> io::Result<bool> {
        let path = self.dir.path();
        let child = Command::new(&self.program)
            .args(["--addr", "127.0.0.1", "--port", &self.port.to_string(), "--jetstream"])
            .arg("--store_dir")
            .arg(self.store())
            .arg("--log")
            .arg(path.join("log"))
            .arg("--config")
            .arg(path.join("server.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let child = self.child.insert(child);
        let port = self.port;
        let greeted = eventually_some("nats-server answers", async || {
            if child.try_wait().is_ok_and(|ended| ended.is_some()) {
                return Some(None);
            }
            greeting(port).await.map(Some)
        });
        match greeted.await {
            Some(greeting) => {
                self.version = version(&greeting).unwrap_or_default();
                Ok(true)
            }
            None => {
                self.child = None;
                Ok(false)
            }
        }
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The version the server says it has.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The process, while there is one.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Asks it to stop, and waits until it did.
    ///
    /// # Panics
    /// When it does not stop in time.
    pub async fn stop(&mut self) {
        self.signal(Signal::TERM);
        self.reap().await;
    }

    /// Kills it at once, as a crash or a power failure would.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.reap().await;
    }

    /// Holds it: it keeps its connections and says nothing.
    ///
    /// # Panics
    /// When it is not held in time.
    pub async fn pause(&self) {
        self.signal(Signal::STOP);
        // The signal is on its way when it is sent, and each thread stops by itself.
        let stopped = || self.pid().is_none_or(|pid| state(pid) == Some('T'));
        eventually("nats-server is held", stopped).await;
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Starts it again on the same port, with whatever is stored.
    ///
    /// # Panics
    /// When it runs already or does not start.
    pub async fn restart(&mut self) {
        assert!(self.child.is_none(), "the server runs already");
        assert!(self.launch().await.expect("nats-server starts"), "the port was taken meanwhile");
    }

    /// Deletes everything it stored. Only while it is stopped.
    ///
    /// # Panics
    /// When it runs, or its files cannot be deleted.
    pub fn wipe(&self) {
        assert!(self.child.is_none(), "stop the server first");
        match std::fs::remove_dir_all(self.store()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                panic!("the store cannot be deleted: {error}")
            }
            _ => {}
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // Gone already is as good.
            let _ = kill_process(pid, signal);
        }
    }

    async fn reap(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        eventually_some("nats-server ends", async || child.try_wait().ok().flatten()).await;
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Says, so that nobody can overlook it, that a test did not run.
///
/// # Panics
/// With `CI=true` in the environment, where everything has to run.
pub fn skip(test: &str, why: &str) {
    say(&format!("SKIPPED {test}: {why}"));
    let must_run = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!must_run, "SKIPPED {test}: {why}, and with CI=true nothing may be skipped");
}

#[expect(clippy::print_stdout, reason = "the runner of the tests reads it there")]
fn say(text: &str) {
    println!("{text}");
}

fn find() -> Option<OsString> {
    let runs = |program: &OsString| {
        let status = Command::new(program)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    };
    [OsString::from("nats-server"), USUAL_PLACE.into()].into_iter().find(runs)
}

/// The line a server sends first.
async fn greeting(port: u16) -> Option<String> {
    let asked = async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await.ok()?;
        line.starts_with("INFO ").then_some(line)
    };
    tokio::time::timeout(Duration::from_secs(1).min(DEADLINE), asked).await.ok().flatten()
}

/// What a process does, as Linux says it: `T` is held.
fn state(pid: u32) -> Option<char> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, parentheses too.
    status.rsplit_once(") ")?.1.chars().next()
}

fn version(greeting: &str) -> Option<String> {
    let (_, rest) = greeting.split_once("\"version\":\"")?;
    rest.split_once('"').map(|(version, _)| version.to_owned())
}
