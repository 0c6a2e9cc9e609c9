//! Which fleet a command is about, and how it answers.

use std::future::Future;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use visor_protocol::api::{Request, Response};

use super::Context;
use crate::client::connect::{DEFAULT_FLEET, connect};
use crate::client::{Backend, ClientError};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::render::{json, terminal};
use crate::runtime;

/// Flags of every command that asks a fleet.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The fleet: nats://HOST:PORT, or the http:// address of a coordinator
    #[arg(long, value_name = "URL", env = "VISOR_FLEET", global = true)]
    fleet: Option<String>,
    /// The NATS server of the fleet, where --fleet is not given
    #[arg(long = "nats", value_name = "URL", env = "VISOR_NATS", global = true, hide = true)]
    nats: Option<String>,
    /// The token for the coordinator's HTTP API
    #[arg(long, value_name = "TOKEN", env = "VISOR_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
    /// Print the whole answer as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Target {
    /// The address: `--fleet`, else the NATS server, else this machine's own server.
    fn address(&self) -> &str {
        self.fleet.as_deref().or(self.nats.as_deref()).unwrap_or(DEFAULT_FLEET)
    }

    /// The further arguments with which another command means the same fleet.
    pub(crate) fn repeated(&self) -> String {
        match &self.fleet {
            Some(fleet) => format!(" --fleet {}", crate::render::text::shell_word(fleet)),
            None => String::new(),
        }
    }

    /// Connects, asks, and says goodbye.
    ///
    /// # Errors
    /// What the questions end with.
    pub(crate) fn with<T, F, Answer>(&self, questions: F) -> Result<T, Failure>
    where
        F: FnOnce(Connected) -> Answer,
        Answer: Future<Output = Result<T, Failure>>,
    {
        runtime::small()?.block_on(async {
            let backend = connect(self.address(), self.token.as_deref()).await?;
            let result = questions(Connected { backend: Arc::clone(&backend) }).await;
            backend.close().await;
            result
        })
    }

    /// Prints an answer: as JSON when that was asked for.
    ///
    /// # Errors
    /// When standard output does not take it.
    pub(crate) fn print<T: Serialize>(
        &self,
        answer: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<ExitCode, Failure> {
        print(&if self.json { json::pretty(answer) } else { text(answer) })?;
        Ok(ExitCode::Passed)
    }
}

/// Writes a result to standard output.
///
/// # Errors
/// When it does not take it, for example because the disk behind it is full.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    terminal::print(text).map_err(|error| {
        Failure::new(ExitCode::Failed, "visor::cli::output", "cannot write the result")
            .because(&error)
    })
}

/// A fleet to ask.
pub(crate) struct Connected {
    backend: Arc<dyn Backend>,
}

impl Connected {
    /// Asks, and takes the one kind of answer that there is to the question.
    ///
    /// # Errors
    /// When there is none, or another.
    pub(crate) async fn ask<T>(
        &self,
        request: Request,
        expect: impl FnOnce(Response) -> Option<T>,
    ) -> Result<T, Failure> {
        let place = self.backend.place();
        let answer = self.backend.call(request).await.map_err(|error| error.into_failure(place))?;
        expect(answer).ok_or_else(|| {
            let why = "it answers another question".to_owned();
            ClientError::Nonsense { question: "request", why }.into_failure(place)
        })
    }
}

/// The present moment, for ages in lists.
pub(crate) fn now(_: Context) -> visor_protocol::Timestamp {
    use visor_protocol::time::{Clock as _, SystemClock};
    SystemClock.now()
}
