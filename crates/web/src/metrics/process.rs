//! The metrics of the process and of its build, with the names that Prometheus clients use.

use std::fs;

use doorbuster_telemetry::metrics::{MetricKind, MetricsText};
use rustix::time::{ClockId, clock_gettime};

/// Writes the metrics of the process. A metric is missing if the operating system does not report
/// its value.
pub(super) fn show(text: &mut MetricsText) {
    text.metric("doorbuster_build_info", MetricKind::Gauge, "1, with the program's version.")
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    if let Some(seconds) = started_at() {
        text.gauge(
            "process_start_time_seconds",
            "When the process started, in seconds since 1970.",
            seconds,
        );
    }
    text.counter(
        "process_cpu_seconds_total",
        "Processor time that the process used.",
        cpu_seconds(),
    );
    if let Some(bytes) = resident_bytes() {
        text.gauge("process_resident_memory_bytes", "Memory that the process occupies.", bytes);
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        text.gauge("process_open_fds", "Open files and connections.", files.count());
    }
    if let Ok((most, _)) = rlimit::Resource::NOFILE.get() {
        text.gauge("process_max_fds", "The limit of open files.", most);
    }
}

/// Returns the fields that follow the command in `/proc/self/stat`. The fields are separated by
/// spaces, and only the command itself may contain spaces.
fn stat() -> Option<Vec<u64>> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect())
}

fn ticks_per_second() -> u64 {
    rustix::param::clock_ticks_per_second()
}

/// Reads the clock of the process's processor time, which is more exact than the ticks in
/// `/proc/self/stat`.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Returns the start time of the process, in seconds since 1970. This is the time at which the
/// operating system started, plus the time from then to the start of the process.
fn started_at() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let system: u64 = text.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()?;
    Some(system as f64 + *stat()?.get(19)? as f64 / ticks_per_second() as f64)
}

fn resident_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_measured() {
        assert!(cpu_seconds() > 0.0);
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
        assert!(started_at().is_some_and(|seconds| seconds > 1.7e9));
    }
}
