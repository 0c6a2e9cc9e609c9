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

/// The variables that the configuration's text names. `own` is the environment of this process
/// alone: nothing else says which secrets may travel.
pub(crate) fn named_in(
    text: &str,
    all: &BTreeMap<String, String>,
    own: &BTreeMap<String, String>,
) -> Chosen {
    let words: std::collections::HashSet<&str> =
        text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).collect();
    let listed = |list: &str| -> Vec<String> {
        let value = own.get(list).map(String::as_str).unwrap_or_default();
        value.split(',').map(|name| name.trim().to_owned()).filter(|n| !n.is_empty()).collect()
    };
    let (denied, allowed) = (listed("VISOR_DENY_ENV"), listed("VISOR_ALLOW_ENV"));
    let mut chosen = Chosen::default();
    for (name, value) in all {
        if !words.contains(name.as_str()) || belongs_to_machine(name) {
            continue;
        }
        let secret = looks_secret(name) || is_secret(value) || denied.contains(name);
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
    let whole = [
        "TOKEN",
        "KEY",
        "APIKEY",
        "PAT",
        "PASS",
        "PW",
        "PWD",
        "PASSPHRASE",
        "AUTH",
        "DSN",
        "CERT",
        "CREDENTIAL",
        "CREDENTIALS",
        "COOKIE",
        "SESSION",
    ];
    let within = ["SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "TOKEN", "CREDENTIAL", "PRIVATE"];
    name.split('_').any(|part| whole.contains(&part))
        || within.iter().any(|word| name.contains(word))
}

/// Values that give themselves away, whatever they are called: an address with a password in it,
/// keys with the beginnings that their makers give them.
fn is_secret(value: &str) -> bool {
    let beginnings = ["ghp_", "gho_", "ghs_", "github_pat_", "glpat-", "sk-", "sk_", "xox", "AKIA"];
    let in_address = value
        .split_once("://")
        .and_then(|(_, rest)| rest.split(['/', '?', '#']).next())
        .and_then(|authority| authority.rsplit_once('@'))
        .is_some_and(|(user, _)| user.contains(':'));
    in_address
        || beginnings.iter().any(|beginning| value.starts_with(beginning))
        || value.contains("-----BEGIN ")
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
        let chosen = named_in(text, &all, &all);
        assert_eq!(chosen.env.keys().collect::<Vec<_>>(), ["DEPLOY_ENV", "NPM_TOKEN"]);
        assert_eq!(chosen.withheld, ["GITHUB_TOKEN"]);
    }

    #[test]
    fn what_looks_like_a_secret_by_name_or_value_stays() {
        let secret = [
            ("DATABASE_URL", "postgres://app:hunter2@db/app"),
            ("STRIPE_KEY", "x"),
            ("GITHUB_PAT", "x"),
            ("PGPASSPHRASE", "x"),
            ("AWS_ACCESS_KEY_ID", "x"),
            ("BASIC_AUTH", "x"),
            ("HARMLESS", "ghp_0123456789"),
        ];
        let plain = [
            ("DATABASE_HOST", "db"),
            ("HOMEPAGE", "https://example.org/a@b:c"),
            ("MONKEYS", "3"),
            ("COMPASS", "north"),
        ];
        let all = secret.iter().chain(&plain);
        let all: BTreeMap<String, String> =
            all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let text = all.keys().map(|name| format!("${name} ")).collect::<String>();
        let chosen = named_in(&text, &all, &all);
        assert_eq!(chosen.withheld.len(), secret.len(), "{:?}", chosen.withheld);
        assert_eq!(chosen.env.len(), plain.len(), "{:?}", chosen.env);
    }
}
