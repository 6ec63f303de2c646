//! Chooses processor cores, pins threads to cores, and measures the processor time of a thread.
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// Returns the cores that this process may use.
#[must_use]
pub fn usable() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else { return vec![0] };
    (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect()
}

/// Returns one core for the server and a different core for the generator. If this process may use
/// only one core, both values are `None`.
#[must_use]
pub fn pair() -> (Option<usize>, Option<usize>) {
    let usable = usable();
    match (usable.first(), usable.last()) {
        (Some(&server), Some(&generator)) if server != generator => (Some(server), Some(generator)),
        _ => (None, None),
    }
}

/// Keeps the calling thread on this core.
///
/// # Errors
///
/// Fails if the system does not allow the thread to use this core.
pub fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("core {core} cannot be used"))
}

/// Returns the processor time that the calling thread has used.
#[must_use]
pub fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
