//! Sandboxes of a file.
//!
//! Unlike the original, a sandbox has no network unless it says `network: true`: everything that is
//! not asked for is closed.

use std::collections::BTreeMap;

use visor_protocol::job::SandboxSpec;

use super::keys::{self, Fate, SANDBOX};
use super::model::SandboxDefinition;
use super::node::{Node, Value};
use super::reader::{Also, Key, Reader, clip, list};
use crate::diagnostic::Diagnostic;

type Entry<'d> = Option<(&'d Key<'d>, &'d Node)>;

/// Variables of the submitter that every sandbox sees. `PATH`, `HOME` and `USER` belong to the
/// image: those of the host name places that are not in it.
pub const PASSED_ALWAYS: [&str; 3] = ["CI", "NODE_ENV", "LANG"];

/// Reads `sandboxes` and `sandbox_defaults`; none when what stands there is no mapping, so that
/// nothing can be said about the names.
pub(super) fn read(
    reader: &mut Reader<'_>,
    sandboxes: Entry<'_>,
    defaults: Entry<'_>,
) -> Option<BTreeMap<String, SandboxDefinition>> {
    let mut passed: Vec<String> = PASSED_ALWAYS.map(str::to_owned).to_vec();
    if let Some((key, node)) = defaults
        && reader.is_map(key, node, "a mapping")
    {
        for (key, node) in reader.entries(node, "`sandbox_defaults`") {
            let known = [("env_passthrough", Fate::Read)];
            if key.name == "env_passthrough" {
                passed.extend(
                    reader.texts(&key, node, Also::Nothing).into_iter().map(|(name, _)| name),
                );
            } else {
                keys::remark(reader, &known, &key, node, "`sandbox_defaults`");
            }
        }
    }
    let mut found = BTreeMap::new();
    if let Some((key, node)) = sandboxes {
        if !reader.is_map(key, node, "a mapping of names to sandboxes") {
            return None;
        }
        for (key, node) in reader.entries(node, "") {
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if !key.name.starts_with(|c: char| c.is_ascii_alphanumeric())
                || !key.name.chars().all(plain)
                || key.name.len() > 128
            {
                reader.push(
                    Diagnostic::error(
                        "visor::config::invalid_name",
                        format!("`{}` cannot be the name of a sandbox", clip(key.name)),
                    )
                    .label(key.span.clone(), "this name")
                    .help("letters, digits, `.`, `_` and `-`, beginning with a letter or digit"),
                );
            }
            let spec = one(reader, &key, node, &passed);
            found.insert(key.name.to_owned(), SandboxDefinition { spec, span: key.span.clone() });
        }
    }
    Some(found)
}

/// Reads the name of a sandbox where one is used.
pub(super) fn name(
    reader: &mut Reader<'_>,
    key: &Key<'_>,
    node: &Node,
    sandboxes: Option<&BTreeMap<String, SandboxDefinition>>,
) -> Option<String> {
    let name = reader.some_text(key, node)?;
    if name.contains("{{") || name.contains("{%") {
        reader.push(
            Diagnostic::error(
                "visor::config::unsupported_template",
                format!(
                    "{} is a Liquid template, which this version cannot fill in yet",
                    key.says()
                ),
            )
            .label(key.place_of(node), "has `{{` or `{%`"),
        );
        return None;
    }
    let Some(sandboxes) = sandboxes.filter(|sandboxes| !sandboxes.contains_key(&name)) else {
        return Some(name);
    };
    let near = reader.near(&name, sandboxes.keys().map(String::as_str));
    let help = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None if sandboxes.is_empty() => "define it under `sandboxes`".into(),
        None => {
            let names: Vec<&str> = sandboxes.keys().map(String::as_str).take(10).collect();
            format!("defined: {}", list(&names))
        }
    };
    reader.push(
        Diagnostic::error(
            "visor::config::unknown_sandbox",
            format!("{} is `{}`, which is not defined", key.says(), clip(&name)),
        )
        .about(name)
        .label(key.place_of(node), "no sandbox has this name")
        .help(help),
    );
    None
}

fn one(reader: &mut Reader<'_>, key: &Key<'_>, node: &Node, passed: &[String]) -> SandboxSpec {
    let owner = format!("sandbox `{}`", clip(key.name));
    let mut spec = SandboxSpec::new(key.name, "");
    spec.env_passthrough = passed.to_vec();
    if !reader.is_map(key, node, "a mapping with `image`") {
        return spec;
    }
    let mut other_mode = false;
    for (field, value) in reader.entries(node, &owner) {
        keys::remark(reader, SANDBOX, &field, value, "a sandbox");
        if !keys::is_off(value) {
            other_mode |= matches!(field.name, "dockerfile" | "dockerfile_inline" | "compose");
        }
        if let Value::Null = value.value {
            continue;
        }
        match field.name {
            "engine" => other_mode |= !engine(reader, &field, value),
            "image" => {
                if let Some(image) = reader.some_text(&field, value) {
                    let fits = image.len() <= 512
                        && !image.starts_with('-')
                        && !image.contains(|c: char| c.is_whitespace() || c.is_control());
                    if fits {
                        spec.image = image;
                    } else {
                        let message = format!("`{}` is not the name of an image", clip(&image));
                        reader.invalid(&field, value, message, "for example `node:22-alpine`");
                        other_mode = true;
                    }
                } else {
                    other_mode = true;
                }
            }
            "workdir" => workdir(reader, &field, value, &mut spec),
            "env_passthrough" => {
                let names = reader.texts(&field, value, Also::Nothing);
                spec.env_passthrough.extend(names.into_iter().map(|(name, _)| name));
            }
            "network" => spec.network = reader.flag(&field, value).unwrap_or(false),
            "read_only" => spec.read_only = reader.flag(&field, value).unwrap_or(false),
            "resources" => resources(reader, &field, value, &mut spec),
            _ => {}
        }
    }
    if spec.image.is_empty() && !other_mode {
        reader.push(
            Diagnostic::error("visor::config::missing_image", format!("{owner} has no `image`"))
                .label(key.span.clone(), "nothing to run in")
                .help("add `image:`, for example `image: alpine:3`"),
        );
    }
    spec
}

/// Docker is the one engine of this version; true when it is what is asked for.
fn engine(reader: &mut Reader<'_>, key: &Key<'_>, node: &Node) -> bool {
    match reader.text(key, node, Also::Nothing).as_deref() {
        Some("docker") => true,
        Some(other) => {
            let (message, label) = if ["bubblewrap", "seatbelt"].contains(&other) {
                (
                    format!("{} `{other}` is not supported by this version yet", key.says()),
                    "not yet",
                )
            } else {
                (format!("`{}` is not a value of {}", clip(other), key.says()), "not known")
            };
            reader.push(
                Diagnostic::error("visor::config::unsupported_value", message)
                    .label(key.place_of(node), label)
                    .help("`docker` is supported"),
            );
            false
        }
        None => false,
    }
}

fn workdir(reader: &mut Reader<'_>, key: &Key<'_>, node: &Node, spec: &mut SandboxSpec) {
    let Some(path) = reader.some_text(key, node) else { return };
    if path == "host" {
        reader.push(
            Diagnostic::error(
                "visor::config::unsupported_value",
                format!("{} cannot be `host` in this version yet", key.says()),
            )
            .label(key.place_of(node), "not supported yet")
            .help("leave it out: the files are at `/workspace`"),
        );
    } else if !path.starts_with('/')
        || path.split('/').any(|part| part == "..")
        || path.contains([':', '\n', '\r'])
        || path.trim_matches('/').is_empty()
    {
        let message = format!("{} must be an absolute path below `/`", key.says());
        reader.invalid(key, node, message, "not such a path");
    } else {
        spec.workdir = path;
    }
}

fn resources(reader: &mut Reader<'_>, key: &Key<'_>, node: &Node, spec: &mut SandboxSpec) {
    if !reader.is_map(key, node, "a mapping with `memory`, `cpu` and `disk`") {
        return;
    }
    let owner = key.says();
    for (field, value) in reader.entries(node, &owner) {
        match field.name {
            "memory" | "disk" => {
                if let Some(text) = reader.something(&field, value, Also::Numbers) {
                    match bytes(&text) {
                        Some(bytes) if field.name == "disk" => spec.disk_bytes = bytes,
                        Some(bytes) => spec.memory_bytes = bytes,
                        None => reader.invalid(
                            &field,
                            value,
                            format!(
                                "{} must be 8m to 16t, for example `512m` or `2g`",
                                field.says()
                            ),
                            "not such an amount",
                        ),
                    }
                }
            }
            "cpu" => {
                let cores = match value.value {
                    #[expect(clippy::cast_precision_loss, reason = "range-checked below")]
                    Value::Integer(cores) => Some(cores as f64),
                    Value::Number(cores) => Some(cores),
                    _ => None,
                };
                match cores.filter(|cores| (0.01..=1024.0).contains(cores)) {
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "range-checked above"
                    )]
                    Some(cores) => spec.cpu_millis = (cores * 1000.0).round() as u64,
                    None => {
                        let what = "a number of cores from 0.01 to 1024";
                        if let Value::Integer(_) | Value::Number(_) = value.value {
                            let message = format!("{} must be {what}", field.says());
                            reader.invalid(&field, value, message, "not such a number");
                        } else {
                            reader.wrong_type(&field, value, what);
                        }
                    }
                }
            }
            _ => {
                let known = [("memory", Fate::Read), ("cpu", Fate::Read), ("disk", Fate::Read)];
                keys::remark(reader, &known, &field, value, "`resources`");
            }
        }
    }
}

/// `512m`, `1.5g`, `2GiB` or plain bytes.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return None,
    };
    #[expect(clippy::cast_precision_loss, reason = "a power of two")]
    let bytes = number.parse::<f64>().ok()? * factor as f64;
    let limits = f64::from(8 << 20)..=(1_u64 << 44) as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within limits")]
    limits.contains(&bytes).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_the_units_people_write() {
        assert_eq!(bytes("512m"), Some(512 << 20));
        assert_eq!(bytes("1.5g"), Some(1536 << 20));
        assert_eq!(bytes("2 GiB"), Some(2 << 30));
        assert_eq!(bytes("16777216"), Some(16 << 20));
        for wrong in ["", "m", "1k", "99999999t", "12x", "-5m", "1e9", "nan", "1.2.3g"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }
}
