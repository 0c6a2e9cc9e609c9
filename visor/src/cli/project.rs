//! The configuration of the directory somebody stands in.

use std::path::{Path, PathBuf};

use visor_engine::diagnostic::{Diagnostics, Style as Diagnosed};
use visor_engine::{Loaded, config};
use visor_protocol::api::ConfigSource;

use super::{Context, file};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::render::style::Style;
use crate::render::terminal;

/// The names a configuration has, the first that exists counts.
pub(super) const NAMES: [&str; 4] = ["visor.yaml", "visor.yml", ".visor.yaml", ".visor.yml"];

/// The configuration: the one that was named, or the one of this directory's project.
///
/// # Errors
/// When there is none, or it cannot be read.
pub(super) fn read(named: Option<&Path>) -> Result<ConfigSource, Failure> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => discover()?,
    };
    file::read(&path)
}

fn discover() -> Result<PathBuf, Failure> {
    let here = std::env::current_dir().map_err(|error| {
        Failure::usage("visor::cli::no_directory", "this directory does not exist any more")
            .because(&error)
    })?;
    let strict = std::env::var("VISOR_STRICT_CONFIG_NAME").is_ok_and(|value| value == "true");
    let root = git_root(&here);
    let places = root.iter().map(PathBuf::as_path).chain([here.as_path()]);
    for directory in places {
        for name in NAMES {
            let path = directory.join(name);
            if !path.is_file() {
                continue;
            }
            if strict && name.starts_with('.') {
                let what = format!("`{name}` is not a name for a configuration here");
                return Err(Failure::usage("visor::cli::config_name", what).help(format!(
                    "VISOR_STRICT_CONFIG_NAME is set: call it `{}`",
                    name.trim_start_matches('.')
                )));
            }
            // Short where it can be: it is shown in every message.
            return Ok(path.strip_prefix(&here).map(Path::to_owned).unwrap_or(path));
        }
    }
    let searched = match &root {
        Some(root) if *root != here => format!("`{}` or `{}`", root.display(), here.display()),
        _ => format!("`{}`", here.display()),
    };
    let what = format!("no configuration in {searched} ({})", NAMES.join(", "));
    Err(Failure::usage("visor::cli::no_config", what)
        .help("`visor init` writes one that fits this directory; --config names another"))
}

/// The directory that holds `.git` (a directory, or a file in worktrees), from here upwards.
fn git_root(here: &Path) -> Option<PathBuf> {
    here.ancestors().find(|directory| directory.join(".git").exists()).map(Path::to_owned)
}

/// The configuration without mistakes, and what in it is probably not as meant.
///
/// # Errors
/// All mistakes at once.
pub(super) fn load(source: &ConfigSource, context: Context) -> Result<Loaded, Failure> {
    config::load(source).map_err(|mistakes| refused(&mistakes, context))
}

/// Mistakes as the reason to stop.
pub(super) fn refused(mistakes: &Diagnostics, context: Context) -> Failure {
    let text = shown(mistakes, context.terminal.err);
    Failure::rendered(ExitCode::Usage, format!("{text}{}. Nothing was run.\n", mistakes.summary()))
}

/// Mistakes as text for standard error.
pub(crate) fn shown(mistakes: &Diagnostics, style: Style) -> String {
    let style = if style == Style::plain() { Diagnosed::Plain } else { Diagnosed::Colour };
    let (_, columns) = terminal::screen();
    let mut text = mistakes.render(style, columns);
    if !text.ends_with("\n\n") {
        text.push('\n');
    }
    text
}
