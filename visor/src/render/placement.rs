//! Where checks run, and what their sandboxes let them do.
//!
//! Said before anything runs: by `visor validate` for every check of a file, and at the head of a
//! run in one line.

use serde_json::{Value, json};
use visor_engine::config::{self, Config, Does};
use visor_engine::plan::PlannedCheck;
use visor_protocol::ids::PoolName;
use visor_protocol::job::{Placement, SandboxSpec};
use visor_protocol::worker::Execution;

use super::style::Style;
use super::table::Table;
use super::text;

/// Checks of a file that have a line of their own; programs ask for all.
const MOST_ROWS: usize = 100;
/// Sandboxes that are named at the head of a run.
const MOST_NAMED: usize = 3;

/// Where a check of a file runs.
enum Runs<'c> {
    /// It starts no program.
    Nothing,
    /// This version cannot run it.
    Unsupported,
    /// Wherever checks without a sandbox do.
    Anywhere,
    /// In its sandbox and nowhere else.
    Sandbox(&'c SandboxSpec),
}

impl<'c> Runs<'c> {
    fn of(config: &'c Config, check: &config::Check) -> Self {
        match (&check.does, config.sandbox_of(check)) {
            (Does::Unsupported, _) => Self::Unsupported,
            (_, Some(sandbox)) => Self::Sandbox(&sandbox.spec),
            (Does::Work(work), None) if work.is_process() => Self::Anywhere,
            (Does::Work(_), None) => Self::Nothing,
        }
    }
}

/// Where each check of a file runs, for people.
pub(crate) fn table(config: &Config, style: Style) -> String {
    if config.checks.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["  CHECK", "TYPE", "RUNS", "OPENS"]);
    let (mut anywhere, mut sandboxed) = (false, false);
    for check in config.checks.values() {
        let (runs, opens) = match Runs::of(config, check) {
            Runs::Nothing => ("starts no program".into(), String::new()),
            Runs::Unsupported => ("cannot run yet".into(), String::new()),
            Runs::Anywhere => {
                anywhere = true;
                ("on the host".into(), "everything".into())
            }
            Runs::Sandbox(spec) => {
                sandboxed = true;
                (format!("in sandbox {}", named(spec)), differences(spec))
            }
        };
        let name = text::clean_line(check.name.as_str());
        let name = format!("  {}", text::truncate(&name, 36));
        table.row([name, text::clean_line(&check.kind), runs, opens]);
    }
    let whole = table.render(style);
    let mut out: String = whole.split_inclusive('\n').take(MOST_ROWS + 1).collect();
    if config.checks.len() > MOST_ROWS {
        let more = config.checks.len() - MOST_ROWS;
        out.push_str(&format!("  … {more} more; --json has all\n"));
    }
    let mut note = |words: &str| out.push_str(&format!("  {}\n", style.dim(words)));
    if anywhere {
        note("host: this machine, as you; on a fleet the default sandbox of the pool, or the");
        note("worker's host where its operator said --execution host");
    }
    if sandboxed {
        note(&format!("sandbox: unless it opens more, {}", default_words()));
    }
    out
}

/// The same for programs.
pub(crate) fn list(config: &Config) -> Value {
    let each = config.checks.values().map(|check| {
        let (here, fleet, sandbox) = match Runs::of(config, check) {
            Runs::Nothing => ("nothing", "nothing", Value::Null),
            Runs::Unsupported => ("unsupported", "unsupported", Value::Null),
            Runs::Anywhere => ("host", "pool", Value::Null),
            Runs::Sandbox(spec) => ("sandbox", "sandbox", sandbox(spec)),
        };
        json!({
            "name": check.name,
            "type": check.kind,
            "here": here,
            "fleet": fleet,
            "sandbox": sandbox,
        })
    });
    each.collect()
}

fn sandbox(spec: &SandboxSpec) -> Value {
    let mut value = json!(spec);
    if let Value::Object(fields) = &mut value {
        fields.insert("user".into(), "unprivileged".into());
        fields.insert("opens".into(), json!(opens(spec)));
        fields.insert("closes".into(), json!(closes(spec)));
    }
    value
}

/// The head of a run on this machine: where its programs run. None when it starts none.
pub(crate) fn here(checks: &[PlannedCheck]) -> Option<String> {
    words(checks, "on this machine's host")
}

/// The head of a run on a fleet, where a pool does with checks that name no sandbox what its
/// workers say, as far as they are known.
pub(crate) fn on_fleet(
    checks: &[PlannedCheck],
    pool: &PoolName,
    workers: impl IntoIterator<Item = Execution>,
) -> Option<String> {
    let (mut hosts, mut sandboxes) = (false, false);
    for execution in workers {
        match execution {
            Execution::Host => hosts = true,
            Execution::Sandbox => sandboxes = true,
        }
    }
    let anywhere = match (hosts, sandboxes) {
        (true, false) => format!("on the hosts of pool {pool}"),
        (false, true) => format!("in the default sandbox of pool {pool}"),
        _ => format!("in the default sandbox of pool {pool} or on a worker's host"),
    };
    words(checks, &anywhere)
}

fn words(checks: &[PlannedCheck], anywhere: &str) -> Option<String> {
    let mut unnamed = 0_u64;
    // Each sandbox once, in the order of the file.
    let mut sandboxes: Vec<(&SandboxSpec, u64)> = Vec::new();
    for check in checks.iter().filter(|check| check.work.is_process()) {
        match &check.placement {
            Placement::Pool => unnamed += 1,
            Placement::Sandbox(spec) => {
                match sandboxes.iter_mut().find(|(known, _)| known.name == spec.name) {
                    Some((_, number)) => *number += 1,
                    None => sandboxes.push((spec.as_ref(), 1)),
                }
            }
        }
    }
    if sandboxes.is_empty() {
        return (unnamed > 0).then(|| format!("runs {anywhere}"));
    }
    let mut parts = Vec::new();
    if unnamed > 0 {
        parts.push(format!("{} {anywhere}", text::count(unnamed, "check")));
    }
    let hidden: u64 = sandboxes.iter().skip(MOST_NAMED).map(|(_, number)| number).sum();
    for (spec, number) in sandboxes.iter().take(MOST_NAMED) {
        let number =
            if parts.is_empty() { text::count(*number, "check") } else { number.to_string() };
        let network = if spec.network { "network" } else { "no network" };
        let image = text::clean_line(&spec.image);
        parts.push(format!(
            "{number} in sandbox {} ({image}, {network})",
            text::clean_line(&spec.name)
        ));
    }
    if hidden > 0 {
        let others = sandboxes.len() - MOST_NAMED;
        let end = if others == 1 { "" } else { "es" };
        parts.push(format!("{hidden} in {others} other sandbox{end}"));
    }
    Some(parts.join(", "))
}

fn named(spec: &SandboxSpec) -> String {
    format!("{} ({})", text::clean_line(&spec.name), text::clean_line(&spec.image))
}

fn differences(spec: &SandboxSpec) -> String {
    let (opens, closes) = (opens(spec), closes(spec));
    let opens = if opens.is_empty() { "nothing".to_owned() } else { opens.join(", ") };
    if closes.is_empty() { opens } else { format!("{opens}; closes: {}", closes.join(", ")) }
}

/// What a sandbox lets a check do beyond the default.
fn opens(spec: &SandboxSpec) -> Vec<String> {
    let usual = SandboxSpec::new("", "");
    let mut opens = Vec::new();
    if spec.network {
        opens.push("network".to_owned());
    }
    opens.extend(limits(spec).filter(|(given, usual, _)| given > usual).map(|(.., says)| says));
    let variables = spec.env_passthrough.iter();
    let further: Vec<&str> = variables
        .map(String::as_str)
        .filter(|name| !config::PASSED_ALWAYS.contains(name))
        .collect();
    if !further.is_empty() {
        opens.push(format!("variables {}", text::clean_line(&further.join(" "))));
    }
    if spec.workdir != usual.workdir {
        opens.push(format!("files at {}", text::clean_line(&spec.workdir)));
    }
    opens
}

/// What it keeps from it that the default does not.
fn closes(spec: &SandboxSpec) -> Vec<String> {
    let files = spec.read_only.then(|| "files cannot be written".to_owned());
    let limits = limits(spec).filter(|(given, usual, _)| given < usual).map(|(.., says)| says);
    files.into_iter().chain(limits).collect()
}

/// Each limit as it is given, as it is usually, and in words.
fn limits(spec: &SandboxSpec) -> impl Iterator<Item = (u64, u64, String)> {
    let usual = SandboxSpec::new("", "");
    [
        (spec.memory_bytes, usual.memory_bytes, format!("{} memory", binary(spec.memory_bytes))),
        (spec.cpu_millis, usual.cpu_millis, cores(spec.cpu_millis)),
        (spec.disk_bytes, usual.disk_bytes, format!("{} disk", binary(spec.disk_bytes))),
        (spec.pids.into(), usual.pids.into(), format!("{} processes", spec.pids)),
    ]
    .into_iter()
}

/// What every sandbox is unless it says otherwise.
fn default_words() -> String {
    let usual = SandboxSpec::new("", "");
    format!(
        "no network, no root, no capability; files writable; {} memory, {}, {} processes, {} disk",
        binary(usual.memory_bytes),
        cores(usual.cpu_millis),
        usual.pids,
        binary(usual.disk_bytes),
    )
}

fn cores(millis: u64) -> String {
    let cores = millis as f64 / 1_000.0;
    if millis == 1_000 { "1 core".into() } else { format!("{cores} cores") }
}

/// A size in the units in which a file gives it.
fn binary(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    match bytes {
        bytes if bytes >= 1024 * MIB => {
            let tenths = (bytes as f64 / (1024 * MIB) as f64 * 10.0).round();
            format!("{} GiB", tenths / 10.0)
        }
        bytes => format!("{} MiB", bytes / MIB),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use visor_engine::{Context, Plan};
    use visor_protocol::api::{ConfigSource, Selection};

    use super::*;

    const FILE: &str = r#"version: "1.0"
sandboxes:
  plain: { image: "visor/base:busybox" }
  node:
    image: node:22-alpine
    network: true
    env_passthrough: [NPM_TOKEN]
    resources: { memory: 2g, cpu: 1.5 }
  shut: { image: "alpine:3", read_only: true, workdir: /src, resources: { memory: 64m } }
  last: { image: "alpine:3" }
checks:
  lint: { type: command, exec: make lint }
  unit: { type: command, exec: make, sandbox: plain }
  both: { type: command, exec: make, sandbox: plain }
  pack: { type: command, exec: npm pack, sandbox: node }
  audit: { type: command, exec: ls, sandbox: shut }
  end: { type: command, exec: ls, sandbox: last }
  say: { type: log, message: done }
  review: { type: ai, prompt: look }
"#;

    fn config(text: &str) -> Arc<Config> {
        let source = ConfigSource { name: "visor.yaml".into(), text: text.into() };
        config::load(&source).unwrap().config
    }

    fn plan(text: &str) -> Plan {
        Plan::new(&config(text), &Selection::default(), &Context::default()).unwrap()
    }

    #[test]
    fn every_check_says_where_it_runs_and_what_that_opens() {
        insta::assert_snapshot!(table(&config(FILE), Style::plain()));
        let listed = list(&config(FILE));
        assert_eq!(listed[0]["here"], "host");
        assert_eq!(listed[0]["fleet"], "pool");
        assert_eq!(listed[3]["sandbox"]["image"], "node:22-alpine");
        let opens = json!(["network", "2 GiB memory", "1.5 cores", "variables NPM_TOKEN"]);
        assert_eq!(listed[3]["sandbox"]["opens"], opens);
        assert_eq!(
            listed[4]["sandbox"]["closes"],
            json!(["files cannot be written", "64 MiB memory"])
        );
        assert_eq!(listed[6]["here"], "nothing");
        assert_eq!(listed[7]["here"], "unsupported");
    }

    #[test]
    fn a_long_file_is_shown_in_part() {
        let mut text = String::from("version: 1\nchecks:\n");
        for n in 0..500 {
            text.push_str(&format!("  c{n}: {{ type: command, exec: x }}\n"));
        }
        let shown = table(&config(&text), Style::plain());
        assert_eq!(shown.lines().count(), 1 + MOST_ROWS + 1 + 2);
        assert!(shown.contains("… 400 more; --json has all"));
    }

    #[test]
    fn the_head_of_a_run_says_it_in_one_line() {
        assert_eq!(
            here(plan(FILE).checks()).unwrap(),
            "1 check on this machine's host, 2 in sandbox plain (visor/base:busybox, no network), \
             1 in sandbox node (node:22-alpine, network), 1 in sandbox shut (alpine:3, no network), \
             1 in 1 other sandbox"
        );
        let host = plan("version: 1\nchecks: { a: { type: command, exec: x }, b: { type: noop } }");
        assert_eq!(here(host.checks()).unwrap(), "runs on this machine's host");
        let none = plan("version: 1\nchecks: { b: { type: noop } }");
        assert_eq!(here(none.checks()), None);
        let pool = PoolName::default_pool();
        for (workers, words) in [
            (vec![Execution::Sandbox], "runs in the default sandbox of pool default"),
            (vec![Execution::Host], "runs on the hosts of pool default"),
            (vec![], "runs in the default sandbox of pool default or on a worker's host"),
        ] {
            assert_eq!(on_fleet(host.checks(), &pool, workers).unwrap(), words);
        }
    }
}
