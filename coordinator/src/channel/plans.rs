//! Configurations and plans kept ready: a thousand submits of one file parse it once.

use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;
use visor_engine::{Context, Plan};
use visor_protocol::api::{ApiError, MAX_CONFIG_BYTES, Submission};
use visor_protocol::ids::ContentHash;

/// Plans by what they were made from. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Plans {
    ready: Arc<Mutex<LruCache<ContentHash, Arc<Plan>>>>,
}

impl Plans {
    pub(crate) fn new(capacity: std::num::NonZeroUsize) -> Self {
        Self { ready: Arc::new(Mutex::new(LruCache::new(capacity))) }
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
        let key = key(submission)?;
        if let Some(plan) = self.ready.lock().get(&key) {
            return Ok(Arc::clone(plan));
        }
        let refused = |diagnostics: visor_engine::Diagnostics| {
            ApiError::new("visor::config::invalid", diagnostics.to_string())
        };
        let loaded = visor_engine::config::load(&submission.config).map_err(refused)?;
        let context = Context {
            env: submission.env.clone(),
            branch: submission.revision.branch.clone(),
            base_branch: submission.revision.base_branch.clone(),
            files_changed: submission.revision.files_changed.clone(),
        };
        let plan = Plan::new(&loaded.config, &submission.selection, &context).map_err(refused)?;
        let plan = Arc::new(plan);
        self.ready.lock().put(key, Arc::clone(&plan));
        Ok(plan)
    }
}

fn key(submission: &Submission) -> Result<ContentHash, ApiError> {
    let parts = (&submission.config, &submission.selection, &submission.env, &submission.revision);
    let bytes = rmp_serde::to_vec(&parts)
        .map_err(|error| ApiError::new("visor::api::malformed", error.to_string()))?;
    Ok(ContentHash::of(&bytes))
}
