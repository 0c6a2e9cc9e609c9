//! Which of the submitter's variables a run sees.
//!
//! On this machine, all: checks and expressions see what a shell would. Elsewhere only what the
//! file names, because a run's submission is kept in the coordinator's journal; and never what
//! looks like a secret, unless its owner allows it.

use std::collections::BTreeMap;

/// The variables that travel, and the names of those that were held back.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// They go along.
    pub(crate) env: BTreeMap<String, String>,
    /// The file names them, and they look like secrets.
    pub(crate) withheld: Vec<String>,
}

/// Everything this process has, as far as it is text.
pub(crate) fn everything() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The variables that the configuration's text names.
pub(crate) fn named_in(text: &str, all: &BTreeMap<String, String>) -> Chosen {
    let words: std::collections::HashSet<&str> =
        text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).collect();
    let listed = |list: &str| -> Vec<String> {
        let value = all.get(list).map(String::as_str).unwrap_or_default();
        value.split(',').map(|name| name.trim().to_owned()).filter(|n| !n.is_empty()).collect()
    };
    let (denied, allowed) = (listed("VISOR_DENY_ENV"), listed("VISOR_ALLOW_ENV"));
    let mut chosen = Chosen::default();
    for (name, value) in all {
        if !words.contains(name.as_str()) || belongs_to_machine(name) {
            continue;
        }
        let secret = looks_secret(name) || denied.contains(name);
        if secret && !allowed.contains(name) {
            chosen.withheld.push(name.clone());
        } else {
            chosen.env.insert(name.clone(), value.clone());
        }
    }
    chosen
}

/// Worth nothing on another machine, and in the way there.
fn belongs_to_machine(name: &str) -> bool {
    const OWN: [&str; 12] = [
        "PATH", "HOME", "PWD", "OLDPWD", "SHELL", "USER", "LOGNAME", "TMPDIR", "TERM", "HOSTNAME",
        "SHLVL", "_",
    ];
    OWN.contains(&name) || name.starts_with("XDG_") || name.starts_with("LD_")
}

fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let endings =
        ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "PRIVATE_KEY", "API_KEY", "CREDENTIALS"];
    endings.iter().any(|ending| name.ends_with(ending))
        || (name.starts_with("AWS_") && name.contains("KEY"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_file_names_travels_and_secrets_only_when_allowed() {
        let all: BTreeMap<String, String> = [
            ("DEPLOY_ENV", "prod"),
            ("UNRELATED", "x"),
            ("PATH", "/bin"),
            ("GITHUB_TOKEN", "t"),
            ("NPM_TOKEN", "n"),
            ("VISOR_ALLOW_ENV", "NPM_TOKEN, OTHER"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let text = "exec: $PATH/x ${{ env.DEPLOY_ENV }} $GITHUB_TOKEN \"${NPM_TOKEN}\"";
        let chosen = named_in(text, &all);
        assert_eq!(chosen.env.keys().collect::<Vec<_>>(), ["DEPLOY_ENV", "NPM_TOKEN"]);
        assert_eq!(chosen.withheld, ["GITHUB_TOKEN"]);
    }
}
