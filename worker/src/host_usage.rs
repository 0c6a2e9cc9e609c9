//! Load of this machine, from two small files of `/proc`.

use std::fs;

use visor_protocol::worker::HostUsage;

/// Remembers the last look, because the kernel counts from the machine's start.
#[derive(Debug, Default)]
pub(crate) struct HostSampler {
    last: Option<CpuTimes>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CpuTimes {
    busy: u64,
    all: u64,
}

impl HostSampler {
    /// The load since the last look; zeros where the machine does not say.
    pub(crate) fn sample(&mut self) -> HostUsage {
        let now = fs::read_to_string("/proc/stat").ok().and_then(|text| cpu_times(&text));
        let cpu_percent = match (self.last, now) {
            (Some(last), Some(now)) if now.all > last.all => {
                let busy = now.busy.saturating_sub(last.busy) as f32;
                100.0 * busy / (now.all - last.all) as f32
            }
            _ => 0.0,
        };
        self.last = now.or(self.last);
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = memory_bytes(&memory, "MemTotal:");
        let available = memory_bytes(&memory, "MemAvailable:");
        HostUsage {
            cpu_percent,
            memory_used_bytes: total.saturating_sub(available),
            memory_total_bytes: total,
        }
    }
}

fn cpu_times(stat: &str) -> Option<CpuTimes> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // user nice system idle iowait irq softirq steal; what follows is contained in user and nice.
    let times: Vec<u64> =
        line.split_ascii_whitespace().take(8).map_while(|field| field.parse().ok()).collect();
    let idle = times.get(3)? + times.get(4).unwrap_or(&0);
    let all: u64 = times.iter().sum();
    Some(CpuTimes { busy: all - idle, all })
}

fn memory_bytes(meminfo: &str, name: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_disks_is_not_busy() {
        let times = cpu_times("cpu  10 0 20 60 10 0 0 0 5 5\ncpu0 1 1 1 1\n").unwrap();
        assert_eq!(times, CpuTimes { busy: 30, all: 100 });
        assert_eq!(cpu_times("intr 1\n"), None);
    }

    #[test]
    fn memory_is_read_in_kibibytes() {
        let text = "MemTotal:  100 kB\nMemFree: 1 kB\nMemAvailable:   40 kB\n";
        assert_eq!(memory_bytes(text, "MemTotal:"), 102_400);
        assert_eq!(memory_bytes(text, "Absent:"), 0);
    }
}
