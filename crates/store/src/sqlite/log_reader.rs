//! Reads the pages of each commit from the write-ahead log, for a continuous backup.
//!
//! The writer's thread reads the pages after its commit and before its next transaction. Only a
//! transaction of the writer restarts the log, so no page is overwritten before it is read. The
//! log's file stays the same while the store is open.
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use doorbuster_core::Millis;

use crate::commit_copy::{CommitBuffer, LogPages};

use super::open::{data_path, with_suffix};

/// The size of the log's header, in bytes.
const HEADER: usize = 32;
/// The size of the header before each page in the log, in bytes.
const FRAME_HEADER: usize = 24;
/// The position of the salts in the log's header. The salts are two numbers that change whenever
/// the log restarts.
const SALTS: std::ops::Range<usize> = 16..24;

pub(super) struct LogReader {
    log: File,
    copy: CommitBuffer,
    salts: [u8; 8],
    /// The number of frames that were read from the current log.
    frames: i64,
}

impl LogReader {
    pub(super) fn open(dir: &Path, copy: CommitBuffer) -> io::Result<Self> {
        let real = std::fs::canonicalize(data_path(dir))?;
        let log = File::open(with_suffix(&real, "-wal"))?;
        Ok(Self { log, copy, salts: [0; 8], frames: 0 })
    }

    /// Skips the frames that are in the log now, so that the next copy begins after them. `frames`
    /// is the number of valid frames in the log.
    pub(super) fn skip(&mut self, frames: i64) {
        self.frames = frames;
        // If the log has no header yet, the next `copy_commit` reads the log from its beginning.
        if let Ok((salts, _)) = self.header() {
            self.salts = salts;
        }
    }

    pub(super) fn set_committing(&self, is_committing: bool) {
        self.copy.set_committing(is_committing);
    }

    /// Copies all pages that were written since the last call. `frames` is the number of valid
    /// frames in the log. After an error the store continues, but the backup needs a new base.
    pub(super) fn copy_commit(&mut self, frames: i64, at: Millis) {
        match self.read(frames) {
            Ok(Some(pages)) => self.copy.add(pages, at),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(
                    %error,
                    event = "backup.log_unreadable",
                    "failed to read the store's log for the backup; a full copy follows"
                );
                self.copy.break_off();
                self.skip(frames);
            }
        }
    }

    fn read(&mut self, frames: i64) -> io::Result<Option<LogPages>> {
        if frames == 0 {
            return Ok(None);
        }
        let (salts, page_size) = self.header()?;
        if salts != self.salts {
            (self.salts, self.frames) = (salts, 0);
        }
        let missing = usize::try_from(frames - self.frames).map_err(io::Error::other)?;
        if missing == 0 {
            return Ok(None);
        }
        let one = FRAME_HEADER + page_size as usize;
        let before = usize::try_from(self.frames).map_err(io::Error::other)?;
        let mut bytes = vec![0; missing * one];
        self.log.read_exact_at(&mut bytes, (HEADER + before * one) as u64)?;
        let mut read = LogPages { page_size, pages_in_store: 0, pages: Vec::new() };
        for frame in bytes.chunks_exact(one) {
            if frame[8..16] != self.salts {
                return Err(io::Error::other("a frame belongs to an earlier log"));
            }
            // The last frame of a commit contains the size of the store, in pages.
            read.pages_in_store = word(&frame[4..]);
            read.pages.push((word(frame), frame[FRAME_HEADER..].into()));
        }
        if read.pages_in_store == 0 {
            return Err(io::Error::other("the last frame does not end a commit"));
        }
        self.frames = frames;
        Ok(Some(read))
    }

    fn header(&self) -> io::Result<([u8; 8], u32)> {
        let mut header = [0; HEADER];
        self.log.read_exact_at(&mut header, 0)?;
        let mut salts = [0; 8];
        salts.copy_from_slice(&header[SALTS]);
        Ok((salts, word(&header[8..])))
    }
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
