//! `cargo xtask reference`: pages of the reference that are made from the program.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{interrupt, say, tools};

/// Write the pages of the reference that are made from the program.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing; fail when a page is stale
    #[arg(long)]
    check: bool,
    /// The program [default: built for it]
    #[arg(long, value_name = "PATH")]
    visor: Option<std::path::PathBuf>,
}

/// Commands in the order of the page.
const COMMANDS: [&str; 12] = [
    "run",
    "validate",
    "init",
    "serve",
    "coordinator",
    "worker",
    "status",
    "runs",
    "workers",
    "why",
    "deadletter",
    "",
];

/// Writes or compares.
pub(crate) fn run(args: &Args) -> Result<()> {
    let visor = match &args.visor {
        Some(visor) => visor.clone(),
        None => build()?,
    };
    let page = command_line(&visor)?;
    let file = tools::root().join("docs/src/reference/cli.md");
    let before = fs::read_to_string(&file).unwrap_or_default();
    if before == page {
        say::step(&format!("{} is up to date", file.display()));
        return Ok(());
    }
    if args.check {
        bail!("{} is stale: run `cargo xtask reference`", file.display());
    }
    fs::write(&file, page).with_context(|| format!("cannot write {}", file.display()))?;
    say::step(&format!("wrote {}", file.display()));
    Ok(())
}

fn build() -> Result<std::path::PathBuf> {
    let mut command = tools::cargo();
    if !interrupt::run(command.args(["build", "--quiet", "--package", "visor"]))?.success() {
        bail!("visor does not build");
    }
    Ok(tools::target_dir()?.join("debug/visor"))
}

fn command_line(visor: &Path) -> Result<String> {
    let mut page = String::from(
        "# Command line\n\nMade from the program's own help by `cargo xtask reference`. Without a \
         command, `visor` takes the flags of `visor run`.\n",
    );
    for command in COMMANDS {
        let (title, arguments) = match command {
            "" => ("visor".to_owned(), vec!["--help"]),
            command => (format!("visor {command}"), vec![command, "--help"]),
        };
        let help = help(visor, &arguments)?;
        write!(page, "\n## `{title}`\n\n```text\n{help}```\n")?;
        for line in subcommands(&help) {
            let help = self::help(visor, &[command, line, "--help"])?;
            write!(page, "\n### `{title} {line}`\n\n```text\n{help}```\n")?;
        }
    }
    Ok(page)
}

/// Subcommands that a command of the second level lists.
fn subcommands(help: &str) -> Vec<&str> {
    if help.contains("\nUsage: visor [") {
        return Vec::new();
    }
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = listed.take_while(|line| line.starts_with("  "));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect()
}

fn help(visor: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(visor)
        .args(arguments)
        // Nothing of this machine belongs on the page.
        .env_clear()
        .env("COLUMNS", "100")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", visor.display()))?;
    if !output.status.success() {
        bail!("visor {} failed: {}", arguments.join(" "), output.status);
    }
    let text = String::from_utf8(output.stdout).context("the help is no text")?;
    // Lines of blanks only differ from editor to editor.
    let lines: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
    Ok(lines.join("\n") + "\n")
}
