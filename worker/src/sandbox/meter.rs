//! What a container uses, read from its control group.
//!
//! The engine removes the group when the container has ended, and its own statistics come too late
//! for a short check. So the group is looked for where engines put it, without a call, as soon as
//! the container is started; its first process is watched, and the moment that is gone, which is
//! some milliseconds before the engine is done with its end, the counters are read a last time.
//! Where the group cannot be seen from here nothing is known, and no check fails for it.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, PidfdFlags};
use tokio::io::unix::AsyncFd;
use visor_protocol::outcome::Usage;

/// Between two looks at a container that runs, from the first to the longest, doubled each time.
/// On a machine so busy that the last look comes too late, one of these stands for it.
const LOOKS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// The counters of one container.
#[derive(Debug)]
pub struct Meter {
    counters: Counters,
    /// Readable when the first process has ended; nothing when it had from the start.
    ended: Option<AsyncFd<OwnedFd>>,
}

/// Where the counters are: both forms of control groups, in any mixture.
#[derive(Debug, PartialEq, Eq)]
struct Counters {
    memory: Memory,
    cpu: Cpu,
}

#[derive(Debug, PartialEq, Eq)]
enum Memory {
    V1(PathBuf),
    V2(PathBuf),
}

#[derive(Debug, PartialEq, Eq)]
enum Cpu {
    V1(PathBuf),
    V2(PathBuf),
}

impl Meter {
    /// The meter of a container, by its id, where its group has the usual name: with either of
    /// the two ways in which engines name groups.
    pub fn named(container: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let names =
            [format!("docker/{container}"), format!("system.slice/docker-{container}.scope")];
        let counters = names.iter().find_map(|name| {
            let groups = format!("1:memory:/{name}\n2:cpuacct:/{name}\n0::/{name}\n");
            Counters::find(&groups, &mounts, container, Path::is_dir)
        })?;
        let processes = counters.processes()?;
        if processes.is_empty() {
            // It is over, and what it used is still there.
            return Some(Self { counters, ended: None });
        }
        // One that cannot be told, as from another pid namespace, cannot be watched.
        let first = processes.into_iter().find(|pid| is_first(*pid))?;
        Some(Self { counters, ended: Some(watch(Pid::from_raw(first)?)?) })
    }

    /// The same by its first process, for groups elsewhere. Nothing when that is over already.
    pub fn of(pid: i64, container: &str) -> Option<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
        // Before the group is looked up: from here on the number means this process.
        let ended = watch(pid)?;
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_nonzero())).ok()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let counters = Counters::find(&groups, &mounts, container, Path::is_dir)?;
        Some(Self { counters, ended: Some(ended) })
    }

    /// Keeps the usage up to date until the container has ended.
    pub async fn follow(&self, usage: &Mutex<Usage>) {
        self.counters.read(&mut usage.lock());
        let Some(ended) = &self.ended else { return };
        let mut gone = std::pin::pin!(ended.readable());
        let mut pause = LOOKS.0;
        while tokio::time::timeout(pause, &mut gone).await.is_err() {
            self.counters.read(&mut usage.lock());
            pause = (pause * 2).min(LOOKS.1);
        }
        self.counters.read(&mut usage.lock());
    }
}

impl Counters {
    fn find(
        groups: &str,
        mounts: &str,
        container: &str,
        is_there: impl Fn(&Path) -> bool,
    ) -> Option<Self> {
        let place = |controller: &str| {
            place(groups, mounts, container, controller).filter(|path| is_there(path))
        };
        let memory = match place("memory") {
            Some(path) => Memory::V1(path),
            None => Memory::V2(place("")?),
        };
        let cpu = match place("cpuacct") {
            Some(path) => Cpu::V1(path),
            None => Cpu::V2(place("")?),
        };
        Some(Self { memory, cpu })
    }

    fn processes(&self) -> Option<Vec<i32>> {
        let (Memory::V1(group) | Memory::V2(group)) = &self.memory;
        let all = fs::read_to_string(group.join("cgroup.procs")).ok()?;
        Some(all.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// What cannot be read stays as it was.
    fn read(&self, usage: &mut Usage) {
        let peak = match &self.memory {
            Memory::V1(path) => number(&path.join("memory.max_usage_in_bytes")),
            // Kernels before 5.19 do not keep the peak: the highest that was seen has to do.
            Memory::V2(path) => {
                number(&path.join("memory.peak")).or_else(|| number(&path.join("memory.current")))
            }
        };
        usage.peak_memory_bytes = usage.peak_memory_bytes.max(peak.unwrap_or(0));
        let (user, system) = match &self.cpu {
            Cpu::V1(path) => {
                let micros = |name| number(&path.join(name)).map(|nanos| nanos / 1_000);
                (micros("cpuacct.usage_user"), micros("cpuacct.usage_sys"))
            }
            Cpu::V2(path) => {
                let text = fs::read_to_string(path.join("cpu.stat")).unwrap_or_default();
                (field(&text, "user_usec"), field(&text, "system_usec"))
            }
        };
        usage.user_micros = usage.user_micros.max(user.unwrap_or(0));
        usage.system_micros = usage.system_micros.max(system.unwrap_or(0));
    }
}

/// The directory of a process' group: of the hierarchy with this controller, or of the one without
/// any, which is the second version's. Nothing when the group is not the container's.
fn place(groups: &str, mounts: &str, container: &str, controller: &str) -> Option<PathBuf> {
    let has = |list: &str| list.split(',').any(|one| one == controller);
    let group = groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        has(controllers).then_some(path)
    });
    let group = Path::new(group.filter(|path| path.contains(container))?);
    mounts.lines().find_map(|line| {
        // 36 35 98:0 ROOT POINT rw,noatime … - TYPE SOURCE OPTIONS
        let (mount, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let (kind, options) = (kind.next()?, kind.nth(1)?);
        let wanted = if controller.is_empty() {
            kind == "cgroup2"
        } else {
            kind == "cgroup" && has(options)
        };
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (mount.next()?, mount.next()?);
        let below = group.strip_prefix(root).ok().filter(|_| wanted)?;
        Some(Path::new(point).join(below))
    })
}

/// Whether a process is number 1 in its container.
fn is_first(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let inner = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    inner.and_then(|pids| pids.split_ascii_whitespace().last()) == Some("1")
}

fn watch(pid: Pid) -> Option<AsyncFd<OwnedFd>> {
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
    visor_providers::host::watch(pidfd).ok()
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn groups_of_the_first_version_are_found_by_controller() {
        let groups = "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n0::/\n";
        let counters = Counters::find(groups, MOUNTS, "abc", |_| true).unwrap();
        assert_eq!(counters.memory, Memory::V1("/sys/fs/cgroup/memory/docker/abc".into()));
        assert_eq!(counters.cpu, Cpu::V1("/sys/fs/cgroup/cpu/docker/abc".into()));
    }

    #[test]
    fn the_one_group_of_the_second_version_has_both() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let groups = "0::/system.slice/docker-abc.scope\n";
        let counters = Counters::find(groups, mounts, "abc", |_| true).unwrap();
        let path = PathBuf::from("/sys/fs/cgroup/system.slice/docker-abc.scope");
        assert_eq!(counters, Counters { memory: Memory::V2(path.clone()), cpu: Cpu::V2(path) });
    }

    #[test]
    fn a_process_that_is_not_the_containers_is_not_measured() {
        let find = |groups, mounts| Counters::find(groups, mounts, "abc", |_| true);
        assert_eq!(find("0::/user.slice\n", MOUNTS), None);
        assert_eq!(find("", MOUNTS), None);
        assert_eq!(find("0::/../docker/abc\n", ""), None);
    }

    #[test]
    fn counters_of_both_versions_are_read_and_never_fall() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        let at = || dir.path().to_owned();
        write("memory.max_usage_in_bytes", "4096\n");
        write("cpuacct.usage_user", "7000\n");
        write("cpuacct.usage_sys", "8000\n");
        let mut usage = Usage::default();
        Counters { memory: Memory::V1(at()), cpu: Cpu::V1(at()) }.read(&mut usage);
        let expected = Usage { peak_memory_bytes: 4096, user_micros: 7, system_micros: 8 };
        assert_eq!(usage, expected);
        let second = Counters { memory: Memory::V2(at()), cpu: Cpu::V2(at()) };
        second.read(&mut usage);
        assert_eq!(usage, expected, "what is gone changes nothing");
        write("memory.peak", "8192\n");
        write("cpu.stat", "usage_usec 30\nuser_usec 10\nsystem_usec 20\n");
        second.read(&mut usage);
        let expected = Usage { peak_memory_bytes: 8192, user_micros: 10, system_micros: 20 };
        assert_eq!(usage, expected);
    }
}
