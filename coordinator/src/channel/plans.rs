//! Configurations and plans kept ready: a thousand submits of one file parse it once.

use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;
use visor_engine::{Config, Context, Plan};
use visor_protocol::api::{ApiError, ConfigSource, MAX_CONFIG_BYTES, Submission};
use visor_protocol::ids::ContentHash;

/// Plans by what they were made from. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Plans {
    /// By the text alone: one file is run for many revisions.
    configs: Arc<Mutex<LruCache<ContentHash, Arc<Config>>>>,
    ready: Arc<Mutex<LruCache<ContentHash, Arc<Plan>>>>,
}

impl Plans {
    pub(crate) fn new(capacity: std::num::NonZeroUsize) -> Self {
        Self {
            configs: Arc::new(Mutex::new(LruCache::new(capacity))),
            ready: Arc::new(Mutex::new(LruCache::new(capacity))),
        }
    }

    /// Whoever submits from this process has loaded the file already.
    pub(crate) fn know(&self, source: &ConfigSource, config: Arc<Config>) {
        if let Ok(key) = key(source) {
            self.configs.lock().put(key, config);
        }
    }

    /// The plan of a submission. Parsing a large file takes milliseconds: not from an actor.
    pub(crate) fn of(&self, submission: &Submission) -> Result<Arc<Plan>, ApiError> {
        let len = submission.config.text.len();
        if len > MAX_CONFIG_BYTES {
            return Err(ApiError::new(
                "visor::config::too_large",
                format!(
                    "{}: {len} bytes; at most {MAX_CONFIG_BYTES} are read",
                    submission.config.name
                ),
            ));
        }
        let parts =
            (&submission.config, &submission.selection, &submission.env, &submission.revision);
        let key = key(&parts)?;
        if let Some(plan) = self.ready.lock().get(&key) {
            return Ok(Arc::clone(plan));
        }
        let config = self.config(&submission.config)?;
        let context = Context {
            env: submission.env.clone(),
            branch: submission.revision.branch.clone(),
            base_branch: submission.revision.base_branch.clone(),
            files_changed: submission.revision.files_changed.clone(),
        };
        let plan = Plan::new(&config, &submission.selection, &context).map_err(refused)?;
        let plan = Arc::new(plan);
        self.ready.lock().put(key, Arc::clone(&plan));
        Ok(plan)
    }
    fn config(&self, source: &ConfigSource) -> Result<Arc<Config>, ApiError> {
        let key = key(source)?;
        if let Some(config) = self.configs.lock().get(&key) {
            return Ok(Arc::clone(config));
        }
        let config = visor_engine::config::load(source).map_err(refused)?.config;
        self.configs.lock().put(key, Arc::clone(&config));
        Ok(config)
    }
}

fn refused(diagnostics: visor_engine::Diagnostics) -> ApiError {
    ApiError::new("visor::config::invalid", diagnostics.to_string())
}

fn key(of: &impl serde::Serialize) -> Result<ContentHash, ApiError> {
    let bytes = rmp_serde::to_vec(of)
        .map_err(|error| ApiError::new("visor::api::malformed", error.to_string()))?;
    Ok(ContentHash::of(&bytes))
}
