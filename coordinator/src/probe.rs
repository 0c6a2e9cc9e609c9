//! Places at which a test may break a running coordinator.

use std::fmt;
use std::sync::Arc;

/// A place that a test can get hold of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbePoint<'a> {
    /// A check is about to be handed to the dispatcher.
    CheckSubmits {
        /// Its name.
        check: &'a str,
    },
    /// A branch is about to take an outcome into its book.
    BranchSettles {
        /// The check's name.
        check: &'a str,
    },
}

/// Called at each [`ProbePoint`]; does nothing unless a test says otherwise. A panic inside it is a
/// panic of the actor that met it.
#[derive(Clone, Default)]
pub struct Probe(Option<Arc<Call>>);

type Call = dyn Fn(ProbePoint<'_>) + Send + Sync;

impl Probe {
    /// A probe that calls this.
    pub fn new(call: impl Fn(ProbePoint<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(call)))
    }

    pub(crate) fn hit(&self, point: ProbePoint<'_>) {
        if let Some(call) = &self.0 {
            call(point);
        }
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Probe(set)" } else { "Probe(none)" })
    }
}
