//! Measures how long this disk takes to make a write durable.
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::limits::{SYNC_MIN, SYNCS};

/// A block of data of the size of a page of the store.
const PAGE: [u8; 4096] = [0x5a; 4096];

/// Returns the median time of one page that is appended and synced (`fdatasync`) in this directory.
///
/// # Errors
///
/// Fails if the directory is not on a disk, because the durable figures would have no
/// meaning.
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
            "{} is not on a disk (a sync takes {median:?}): name another directory with --dir",
            dir.display()
        );
    }
    Ok(median)
}
