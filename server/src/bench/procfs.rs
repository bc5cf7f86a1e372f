//! What the kernel knows: one clock for all processes, the loopback's counters, CPU time, memory.

use std::fs;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds on the clock that all processes of a machine share (`CLOCK_MONOTONIC`).
pub(super) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Bytes that went over the loopback, headers included. All processes' in this network namespace.
pub(super) fn loopback_bytes() -> u64 {
    let devices = fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    let counters = devices.lines().find_map(|line| line.trim().strip_prefix("lo:"));
    // The ninth column is what was sent.
    counters.and_then(|columns| columns.split_whitespace().nth(8)?.parse().ok()).unwrap_or(0)
}

/// CPU time of a process, all its threads, in microseconds.
pub(super) fn cpu_us(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let on_cpu_ns = tasks.into_iter().flatten().flatten().filter_map(|task| {
        let schedstat = fs::read_to_string(task.path().join("schedstat")).ok()?;
        schedstat.split_whitespace().next()?.parse::<u64>().ok()
    });
    on_cpu_ns.sum::<u64>() / 1000
}

/// Memory of a process in KiB.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Memory {
    /// All that is in memory, shared pages included.
    pub(super) resident: u64,
    /// What only this process has, and has written.
    pub(super) private: u64,
}

/// Memory of a process.
pub(super) fn memory(pid: u32) -> Memory {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let field = |name: &str| {
        let line = rollup.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
    };
    Memory { resident: field("Rss:"), private: field("Private_Dirty:") }
}

/// The machine's load, for the reader of the figures.
pub(super) fn load() -> String {
    let averages = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    averages.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}
