//! Measures how long this disk takes to make a write durable.
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::limits::{SYNC_MIN, SYNCS};

/// A block of data that is as large as a page of the store.
const PAGE: [u8; 4096] = [0x5a; 4096];

/// The size of an appended row, in bytes: about the size of an order's row.
const ROW_BYTES: usize = 256;

/// Appends pages to a file in this directory, and syncs the file (`fdatasync`) after each page.
/// Returns the median time for one page.
///
/// # Errors
///
/// Fails if the directory is not on a disk. For a directory in memory, the figures about durable
/// writes would have no meaning.
pub fn sync_time(dir: &Path) -> Result<Duration> {
    let path = dir.join("sync");
    let mut file =
        OpenOptions::new().create(true).append(true).open(&path).context("cannot create a file")?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let start = Instant::now();
        file.write_all(&PAGE)?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    drop(std::fs::remove_file(path));
    times.sort_unstable();
    let median = times[SYNCS / 2];
    if median < SYNC_MIN {
        bail!(
            "{} is not on a disk (a sync takes only {median:?}): name another directory with --dir",
            dir.display()
        );
    }
    Ok(median)
}

/// Appends `per_sec` rows per second to a file during `time`, and returns the 99th percentile of
/// the latencies. A row's latency starts when the row is due, and ends when a sync has made it
/// durable. One sync may cover several rows.
///
/// # Errors
/// Fails if the file cannot be written.
pub fn append_p99(dir: &Path, per_sec: f64, time: Duration) -> Result<Duration> {
    let path = dir.join("append");
    let mut file =
        OpenOptions::new().create(true).append(true).open(&path).context("making a file")?;
    let start = Instant::now();
    let due = |row: u64| Duration::from_secs_f64(row as f64 / per_sec);
    let (mut first, mut latencies, mut rows) = (0, Vec::new(), Vec::new());
    while start.elapsed() < time {
        let mut end = first;
        while due(end) <= start.elapsed() {
            end += 1;
        }
        if end == first {
            std::thread::sleep(due(first).saturating_sub(start.elapsed()));
            continue;
        }
        rows.resize((end - first) as usize * ROW_BYTES, 0x5a);
        file.write_all(&rows)?;
        file.sync_data()?;
        let done = start.elapsed();
        latencies.extend((first..end).map(|row| done.saturating_sub(due(row))));
        first = end;
    }
    drop(std::fs::remove_file(path));
    latencies.sort_unstable();
    let at = latencies.len() * 99 / 100;
    latencies.get(at).copied().context("no row was appended")
}
