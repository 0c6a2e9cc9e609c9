//! The file `deps.toml`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// Everything that `deps.toml` says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rules {
    pub(super) licenses: Licenses,
    /// Registries that crates may come from.
    pub(super) sources: Vec<String>,
    /// Crates that must not be built, and why.
    pub(super) bans: BTreeMap<String, String>,
    /// Crates that are there in several versions, and why that is borne.
    pub(super) duplicates: BTreeMap<String, String>,
    pub(super) layers: Vec<Layer>,
}

/// Licences that may be used.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Licenses {
    /// Licences any crate may have.
    pub(super) allow: Vec<String>,
    /// Licences that one crate may have.
    #[serde(default)]
    pub(super) exceptions: Vec<Exception>,
}

/// A licence that one crate may have.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exception {
    #[serde(rename = "crate")]
    pub(super) name: String,
    pub(super) license: String,
    /// Why that is all right.
    pub(super) reason: String,
}

/// What a crate of this workspace must not reach, directly or through others.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Layer {
    #[serde(rename = "crate")]
    pub(super) name: String,
    pub(super) never: Vec<String>,
    /// Tests of the crate may reach it.
    #[serde(default)]
    pub(super) except_tests: bool,
    pub(super) reason: String,
}

impl Rules {
    /// Reads the file.
    pub(super) fn load(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is not valid", path.display()))
    }
}
