//! Room on the disk that jobs write to. A worker without any takes none: they would fail one after
//! the other, and the worker's own files with them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::shared::Shared;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// The usual floor: this much, or a twentieth of a small disk.
const USUAL: u64 = 1024 * 1024 * 1024;

/// Takes jobs only while there is room. For workers with a directory of their own.
pub(crate) async fn follow_room(shared: Arc<Shared>) {
    let follow = async {
        loop {
            tokio::time::sleep(LOOK).await;
            look(&shared).await;
        }
    };
    tokio::select! {
        () = follow => {}
        () = shared.ended.cancelled() => {}
    }
}

/// Looks once.
pub(crate) async fn look(shared: &Shared) {
    let Some(directory) = shared.config.data_dir.clone() else { return };
    let (floor, short) = (shared.config.min_free, shared.readiness.lock().room.is_some());
    let looked = tokio::task::spawn_blocking(move || missing(&directory, floor, short)).await;
    let room = looked.unwrap_or(None);
    let before = shared.readiness.lock().room.is_some();
    match (&room, before) {
        (Some(reason), false) => tracing::error!("{reason}"),
        (None, true) => tracing::info!("there is room on the disk again"),
        (Some(_), true) | (None, false) => {}
    }
    shared.change_readiness(|readiness| readiness.room = room);
}

/// Why no jobs can be taken. A worker that is short of room wants a little more than the floor
/// before it begins again, so that it does not change its mind with every file.
fn missing(directory: &Path, floor: Option<u64>, short: bool) -> Option<String> {
    let stat = rustix::fs::statvfs(directory);
    let stat = match stat {
        Ok(stat) => stat,
        Err(error) => return Some(format!("cannot look at {}: {error}", directory.display())),
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let floor = floor.unwrap_or_else(|| USUAL.min(stat.f_blocks * stat.f_frsize / 20));
    let wanted = if short { floor + floor / 8 } else { floor };
    (free < wanted).then(|| {
        // In steps, so that the reason is not news with every block.
        format!(
            "no room: less than {} MiB are free for {}; delete something, or give the worker \
             another --data-dir",
            wanted >> 20,
            directory.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_below_its_floor_is_said_by_name() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(missing(dir.path(), Some(0), false), None);
        let reason = missing(dir.path(), Some(u64::MAX / 2), false).unwrap();
        assert!(reason.contains(&dir.path().display().to_string()), "{reason}");
        assert!(missing(Path::new("/nonexistent"), None, false).is_some());
    }

    #[test]
    fn what_is_short_of_room_wants_more_than_the_floor_before_it_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let stat = rustix::fs::statvfs(dir.path()).unwrap();
        let floor = stat.f_bavail * stat.f_frsize / 20 * 19;
        assert_eq!(missing(dir.path(), Some(floor), false), None);
        assert!(missing(dir.path(), Some(floor), true).is_some());
    }
}
