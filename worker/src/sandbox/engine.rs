//! The container engine, through its socket. Every call has a deadline; a call that cannot reach
//! the engine marks it as down until the keeper finds it up again.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, Docker};
use parking_lot::Mutex;
use tokio::sync::watch;
use visor_protocol::outcome::Fault;

/// Where the engine usually listens.
const USUAL_SOCKET: &str = "/var/run/docker.sock";

/// How long the engine may take to say its version: it does nothing else for that.
const GREETING: Duration = Duration::from_secs(5);

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// The address is none that can be used.
    #[error(
        "`{host}` cannot be used as a container engine: give the path of a socket on this machine"
    )]
    Address {
        /// The address.
        host: String,
    },
    /// Nobody answers at the socket, or the connection broke.
    #[error("the container engine at {} does not answer, asked to {what}: {why}", socket.display())]
    Unreachable {
        /// Where it was looked for.
        socket: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system says.
        why: String,
    },
    /// It took too long.
    #[error("the container engine at {} did not {what} within {within:?}", socket.display())]
    TimedOut {
        /// Where it is.
        socket: PathBuf,
        /// What was tried.
        what: &'static str,
        /// How long it was waited for.
        within: Duration,
    },
    /// It refused.
    #[error("the container engine refused to {what}: {message}")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// The HTTP status.
        status: u16,
        /// What it says.
        message: String,
    },
}

impl EngineError {
    /// The thing that was asked for is not there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Somebody else is removing it at this moment.
    pub fn is_being_removed(&self) -> bool {
        matches!(self, Self::Refused { status: 409, message, .. } if message.contains("in progress"))
    }

    /// The engine itself is not there.
    pub fn is_down(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::TimedOut { .. })
    }

    /// What a job that met this error reports.
    pub fn fault(&self) -> Fault {
        let (code, retry) = match self {
            Self::Address { .. } => ("visor::sandbox::engine_address", true),
            Self::Unreachable { .. } | Self::TimedOut { .. } => {
                ("visor::sandbox::engine_down", true)
            }
            // Its own troubles may pass; what is wrong with the request stays wrong.
            Self::Refused { status, .. } => ("visor::sandbox::engine_refused", *status >= 500),
        };
        let mut message = self.to_string();
        if self.is_down() {
            message.push_str("; start it, or say with DOCKER_HOST where it is");
        }
        Fault { code: code.into(), message, retry }
    }
}

/// The engine.
#[derive(Debug)]
pub struct Engine {
    socket: PathBuf,
    within: Duration,
    client: Mutex<Option<Docker>>,
    /// Why it is down; nothing while it is up, or was not asked yet.
    down: watch::Sender<Option<String>>,
}

impl Engine {
    /// An engine at `unix:///path`, a path, or the usual place. Nothing is asked of it yet.
    ///
    /// # Errors
    /// When the address is none of these.
    pub fn at(host: Option<&str>, within: Duration) -> Result<Self, EngineError> {
        let host = host.unwrap_or(USUAL_SOCKET);
        let path = host.strip_prefix("unix://").unwrap_or(host);
        if !path.starts_with('/') {
            return Err(EngineError::Address { host: host.to_owned() });
        }
        let (down, _) = watch::channel(None);
        Ok(Self { socket: path.into(), within, client: Mutex::new(None), down })
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Follows whether it is down, and why.
    pub fn watch(&self) -> watch::Receiver<Option<String>> {
        self.down.subscribe()
    }

    /// Whether the last call found it down.
    pub fn is_down(&self) -> bool {
        self.down.borrow().is_some()
    }

    /// A client that speaks the engine's version of the protocol.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn client(&self) -> Result<Docker, EngineError> {
        let known = self.client.lock().clone();
        match known {
            Some(client) => Ok(client),
            None => self.greet().await,
        }
    }

    /// Asks the engine for its version, also when it is known: it may have been replaced.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn greet(&self) -> Result<Docker, EngineError> {
        let what = "say its version";
        let path = self.socket.to_string_lossy();
        let connected = async {
            // The client's own limit is per request and in whole seconds; ours come first.
            Docker::connect_with_unix(&path, 24 * 60 * 60, API_DEFAULT_VERSION)?
                .negotiate_version()
                .await
        };
        let client = self.bounded(what, GREETING, connected).await?;
        *self.client.lock() = Some(client.clone());
        self.down.send_if_modified(|down| down.take().is_some());
        Ok(client)
    }

    /// Waits for a call, no longer than calls may take.
    ///
    /// # Errors
    /// When the engine does not answer in time, or refuses.
    pub async fn call<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, EngineError> {
        self.bounded(what, self.within, call).await
    }

    async fn bounded<T>(
        &self,
        what: &'static str,
        within: Duration,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, EngineError> {
        let error = match tokio::time::timeout(within, call).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => self.explain(what, error),
            Err(_) => EngineError::TimedOut { socket: self.socket.clone(), what, within },
        };
        if error.is_down() {
            self.mark_down(&error);
        }
        Err(error)
    }

    /// Notes that the engine does not answer. Jobs fail and workers stop taking them until the
    /// keeper finds that it does.
    pub fn mark_down(&self, error: &EngineError) {
        *self.client.lock() = None;
        let reason = error.to_string();
        self.down.send_if_modified(|down| {
            let news = down.is_none();
            *down = Some(reason);
            news
        });
    }

    /// The client's errors, in the words of this module.
    pub fn explain(&self, what: &'static str, error: Error) -> EngineError {
        match error {
            Error::DockerResponseServerError { status_code, message } => {
                EngineError::Refused { what, status: status_code, message }
            }
            error => {
                let why = chain(&error);
                EngineError::Unreachable { socket: self.socket.clone(), what, why }
            }
        }
    }
}

/// An error with its causes: the client's own texts often leave out what matters.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_of_this_machine_are_engines() {
        let at = |host| Engine::at(host, GREETING).map(|engine| engine.socket().to_owned());
        assert_eq!(at(None).unwrap(), Path::new(USUAL_SOCKET));
        assert_eq!(at(Some("unix:///run/x.sock")).unwrap(), Path::new("/run/x.sock"));
        assert_eq!(at(Some("/run/y.sock")).unwrap(), Path::new("/run/y.sock"));
        for host in ["tcp://1.2.3.4:2375", "", "relative.sock"] {
            assert!(matches!(at(Some(host)), Err(EngineError::Address { .. })), "{host}");
        }
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_down_and_says_where_it_was_looked_for() {
        let engine = Engine::at(Some("/nonexistent/engine.sock"), GREETING).unwrap();
        let error = engine.client().await.unwrap_err();
        assert!(error.is_down() && engine.is_down(), "{error}");
        let fault = error.fault();
        assert!(fault.retry && fault.message.contains("/nonexistent/engine.sock"), "{fault:?}");
    }
}
