//! All providers of this build, by the kind of work they do.

use std::collections::HashMap;
use std::sync::Arc;

use crate::provider::Provider;
use crate::{command, log, noop};

/// The providers a worker has.
#[derive(Clone)]
pub struct Registry {
    by_kind: HashMap<&'static str, Arc<dyn Provider>>,
}

impl Registry {
    /// Every provider of this build.
    pub fn standard() -> Self {
        let mut registry = Self { by_kind: HashMap::new() };
        registry.add(Arc::new(command::CommandProvider));
        registry.add(Arc::new(log::LogProvider));
        registry.add(Arc::new(noop::NoopProvider));
        registry
    }

    /// Adds a provider, in place of an earlier one of its kind.
    pub fn add(&mut self, provider: Arc<dyn Provider>) {
        self.by_kind.insert(provider.kind(), provider);
    }

    /// The provider for a kind of work.
    pub fn get(&self, kind: &str) -> Option<&Arc<dyn Provider>> {
        self.by_kind.get(kind)
    }
}

#[cfg(test)]
mod tests {
    use visor_protocol::job::{LogLevel, Work};

    use super::*;

    #[test]
    fn every_kind_of_work_has_a_provider() {
        let registry = Registry::standard();
        for work in [
            Work::Noop,
            Work::Log { level: LogLevel::Info, message: String::new() },
            Work::Command { exec: String::new() },
        ] {
            assert_eq!(registry.get(work.kind()).unwrap().kind(), work.kind());
        }
    }
}
