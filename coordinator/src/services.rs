//! What the actors of a coordinator share: handles, never state.

use std::sync::Arc;

use tokio_util::task::TaskTracker;
use visor_protocol::ids::WorkerId;
use visor_protocol::time::Clock;
use visor_transport::Bus;

use crate::channel::directory::Directory;
use crate::channel::plans::Plans;
use crate::channel::recent::Recent;
use crate::config::CoordinatorConfig;
use crate::dispatch::{Dispatcher, Publisher};
use crate::fleet::Fleet;
use crate::gauges::Gauges;
use crate::notice::NoticeHub;
use crate::probe::Probe;
use crate::store::Journal;

/// The handles that every branch and check needs.
pub(crate) struct Services {
    pub(crate) config: CoordinatorConfig,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) journal: Journal,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) fleet: Fleet,
    pub(crate) publisher: Publisher,
    pub(crate) notices: NoticeHub,
    pub(crate) directory: Directory,
    pub(crate) plans: Plans,
    pub(crate) recent: Recent,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) tasks: TaskTracker,
    pub(crate) probe: Probe,
    /// Rung when runs that are open in the journal have no branch any more.
    pub(crate) recover: tokio::sync::Notify,
    /// The name under which the coordinator itself reports outcomes of jobs that never ran.
    pub(crate) own_id: WorkerId,
}
