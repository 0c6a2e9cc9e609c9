//! Where a run takes place: in this process, or on a fleet.

use std::sync::Arc;

use visor_engine::{Config, Plan};
use visor_protocol::api::{Request, Response, Submission};
use visor_protocol::ids::PoolName;
use visor_protocol::job::{Placement, Workspace};

use super::RunArgs;
use crate::cli::Context;
use crate::client::connect::connect;
use crate::client::follow::{self, Ended, Where};
use crate::client::{Backend, pack};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::render::progress::model::Model;
use crate::render::progress::screen::Screen;
use crate::render::{placement, terminal, text};
use crate::roles::common::interrupts;
use crate::roles::embedded::{Embedded, Options as EmbeddedOptions};
use crate::runtime;

impl RunArgs {
    /// Runs in this process.
    pub(super) fn here(
        &self,
        mut submission: Submission,
        config: &Arc<Config>,
        plan: &Plan,
        context: Context,
    ) -> Result<Ended, Failure> {
        let directory = std::env::current_dir().map_err(|error| {
            Failure::usage("visor::cli::no_directory", "this directory does not exist any more")
                .because(&error)
        })?;
        let path = directory.to_str().ok_or_else(|| {
            let what = format!("the name of this directory, {directory:?}, is not UTF-8");
            Failure::usage("visor::cli::directory_name", what)
        })?;
        submission.workspace = Some(Workspace::Directory { path: path.to_owned() });
        let sandboxed =
            plan.checks().iter().any(|check| matches!(check.placement, Placement::Sandbox(_)));
        let options = EmbeddedOptions {
            slots: plan.max_parallelism().min(plan.checks().len().max(1)),
            data_dir: self.data_dir.clone(),
            sandboxed,
            processes: plan.checks().iter().any(|check| check.work.is_process()),
        };
        let place =
            placement::here(plan.checks()).unwrap_or_else(|| "runs on this machine".to_owned());
        let screen = self.screen(plan, &submission.config.name, &place, false, context);
        let runtime = runtime::embedded()?;
        let ended = runtime.block_on(async {
            // Before anything is started, so that nothing is left when the first signal is early.
            let mut interrupts = interrupts()?;
            let embedded = Embedded::start(options).await?;
            embedded.know(&submission.config, config);
            let backend = embedded.backend();
            let ended = follow::follow(
                backend.as_ref(),
                submission,
                screen,
                &mut interrupts,
                Where::Here,
                self.verbose,
            )
            .await;
            embedded.finish(&ended).await;
            ended
        });
        // Whatever still runs is idle; waiting for its threads would cost more than the run did.
        runtime.shutdown_background();
        ended
    }

    /// Runs on a fleet.
    pub(super) async fn on_fleet(
        &self,
        fleet: &str,
        mut submission: Submission,
        plan: &Plan,
        context: Context,
    ) -> Result<Ended, Failure> {
        let mut interrupts = interrupts()?;
        let prepared = async {
            let backend = connect(fleet, self.token.as_deref()).await?;
            let say = |line: &str| terminal::eprint(&format!("{line}\n"));
            let workers = follow::ask_first(backend.as_ref(), Request::Workers, say).await?;
            let on_pool = self.on_pool(workers, plan);
            submission.workspace = Some(self.upload(backend.as_ref(), context).await?);
            Ok::<_, Failure>((backend, submission, on_pool))
        };
        let (backend, submission, on_pool) = tokio::select! {
            prepared = prepared => prepared?,
            // Nothing was submitted: there is nothing to cancel.
            () = interrupts.next() => return Ok(Ended::Interrupted(None)),
        };
        let place = format!("{} · run {}", backend.place(), submission.run.short());
        let mut screen = self.screen(plan, &submission.config.name, &place, true, context);
        let run = submission.run;
        screen.say(&format!("  run {run} on {}", backend.place()), std::time::Duration::ZERO);
        if let Some(words) = on_pool {
            screen.say(&format!("  {words}"), std::time::Duration::ZERO);
        }
        let ended = follow::follow(
            backend.as_ref(),
            submission,
            screen,
            &mut interrupts,
            Where::Fleet,
            self.verbose,
        )
        .await;
        backend.close().await;
        ended
    }

    /// Where the checks will run, as the workers of their pool say.
    fn on_pool(&self, answer: Response, plan: &Plan) -> Option<String> {
        let pool = self.pool.clone().unwrap_or_else(PoolName::default_pool);
        let workers = match answer {
            Response::Workers(workers) => workers,
            _ => Vec::new(),
        };
        let of_pool = workers.iter().filter(|worker| worker.pool == pool);
        placement::on_fleet(plan.checks(), &pool, of_pool.map(|worker| worker.execution))
    }

    async fn upload(&self, backend: &dyn Backend, context: Context) -> Result<Workspace, Failure> {
        let directory = std::env::current_dir().map_err(|error| {
            Failure::usage("visor::cli::no_directory", "this directory does not exist any more")
                .because(&error)
        })?;
        let packed = tokio::task::spawn_blocking(move || pack::pack(&directory)).await;
        let packed = packed.map_err(|error| {
            Failure::new(ExitCode::Bug, "visor::pack::failed", "packing the working tree failed")
                .because(&error)
        })??;
        let say = |line: String| {
            if !self.quiet {
                let style = context.terminal.err;
                terminal::eprint(&format!("  {}\n", style.dim(&line)));
            }
        };
        if !packed.left_out.is_empty() {
            let number = packed.left_out.len() as u64;
            say(format!(
                "{} neither file, directory nor link, left out",
                text::count(number, "path")
            ));
        }
        if packed.env_file_stays {
            say("`.env` stays on this machine; of its variables, those go along that the configuration names"
                .into());
        }
        let bytes = packed.bytes.len() as u64;
        let place = backend.place().to_owned();
        let hash = {
            let bytes = packed.bytes.clone();
            tokio::task::spawn_blocking(move || visor_protocol::ContentHash::of(&bytes))
                .await
                .map_err(|error| {
                    let what = "reading the packed tree failed";
                    Failure::new(ExitCode::Bug, "visor::pack::failed", what).because(&error)
                })?
        };
        let there = backend.has_blob(hash).await.map_err(|error| error.into_failure(&place))?;
        if !there {
            let entries = text::count(packed.entries as u64, "path");
            say(format!("sending {entries}, {}", text::size(bytes)));
            backend.put_blob(packed.bytes).await.map_err(|error| error.into_failure(&place))?;
        }
        Ok(Workspace::Archive { hash, bytes })
    }

    fn screen(
        &self,
        plan: &Plan,
        config: &str,
        place: &str,
        places: bool,
        context: Context,
    ) -> Screen {
        let number = text::count(plan.checks().len() as u64, "check");
        let at_once = plan.max_parallelism();
        let heading =
            format!("{} · {number} · {at_once} at once · {place}", text::clean_line(config));
        let checks = plan.checks().iter().map(|check| {
            let dependencies = check.dependencies.iter().flatten();
            let names = dependencies.map(|&index| plan.check(index).name.to_string()).collect();
            (check.name.to_string(), names)
        });
        let model = Model::new(heading, places, checks);
        Screen::new(model, self.volume(), context.terminal.live, context.terminal.err)
    }
}
