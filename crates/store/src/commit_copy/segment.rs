//! The format of a segment: the pages that one or more successive commits changed, with a checksum.
//!
//! The numbers are little-endian. The parts of a segment, with their sizes in bytes, are:
//!
//! - `DbrSeg1\n` (8)
//! - the numbers of the first and of the last commit (8 each)
//! - the time of the last commit (8)
//! - the size of a page (4)
//! - the number of pages in the store (4)
//! - the number of pages in the segment (4)
//! - for each page: its number (4) and its content (the size of a page)
//! - the BLAKE3 hash of all earlier parts (32)
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use doorbuster_core::Millis;

const MAGIC: &[u8; 8] = b"DbrSeg1\n";
const HEAD_BYTES: usize = 44;
const HASH_BYTES: usize = 32;
/// The page sizes that SQLite allows, in bytes.
const PAGE_SIZES: std::ops::RangeInclusive<u32> = 512..=65_536;

/// The pages that some commits changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The number of the first commit whose pages are in the segment.
    pub first: u64,
    /// The number of the last commit whose pages are in the segment.
    pub last: u64,
    /// When the last of these commits was made.
    pub at: Millis,
    /// The size of a page in bytes.
    pub page_size: u32,
    /// The number of pages in the store's file after the last commit.
    pub pages_in_store: u32,
    /// The pages, each with its number from 1.
    pub pages: Vec<(u32, Box<[u8]>)>,
}

/// The reason why bytes are not a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// The checksum or the length is wrong.
    #[error("the segment is damaged or incomplete")]
    Damaged,
    /// The bytes do not begin with the mark of this format. A newer program may have written these
    /// bytes.
    #[error("the segment has an unknown format; use a newer program")]
    UnknownFormat,
}

impl Segment {
    /// Returns the segment as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let page = 4 + self.page_size as usize;
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.pages.len() * page + HASH_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.first.to_le_bytes());
        bytes.extend_from_slice(&self.last.to_le_bytes());
        bytes.extend_from_slice(&self.at.0.to_le_bytes());
        let count = u32::try_from(self.pages.len()).unwrap_or(u32::MAX);
        for number in [self.page_size, self.pages_in_store, count] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for (number, content) in &self.pages {
            bytes.extend_from_slice(&number.to_le_bytes());
            bytes.extend_from_slice(content);
        }
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        bytes
    }

    /// Reads a segment from its bytes.
    ///
    /// # Errors
    ///
    /// Fails if the bytes were changed or cut off, or if they have another format.
    pub fn decode(bytes: &[u8]) -> Result<Self, SegmentError> {
        if bytes.len() < HEAD_BYTES + HASH_BYTES {
            return Err(SegmentError::Damaged);
        }
        if !bytes.starts_with(MAGIC) {
            return Err(SegmentError::UnknownFormat);
        }
        let (body, hash) = bytes.split_at(bytes.len() - HASH_BYTES);
        if blake3::hash(body).as_bytes() != hash {
            return Err(SegmentError::Damaged);
        }
        let long = |at: usize| {
            let mut value = [0; 8];
            value.copy_from_slice(&body[at..at + 8]);
            u64::from_le_bytes(value)
        };
        let (page_size, pages_in_store) = (word(&body[32..]), word(&body[36..]));
        let (content, one) = (&body[HEAD_BYTES..], 4 + page_size as usize);
        let is_whole = PAGE_SIZES.contains(&page_size)
            && content.len() / one == word(&body[40..]) as usize
            && content.len() % one == 0;
        if !is_whole {
            return Err(SegmentError::Damaged);
        }
        let pages = content.chunks_exact(one).map(|page| (word(page), page[4..].into()));
        Ok(Self {
            first: long(8),
            last: long(16),
            at: Millis(long(24) as i64),
            page_size,
            pages_in_store,
            pages: pages.collect(),
        })
    }

    /// Writes the segment's pages into `store`, a copy of the store's file that has all earlier
    /// commits. The copy then equals the store's file after the commit [`Segment::last`].
    ///
    /// # Errors
    ///
    /// Returns the file system's error.
    pub fn apply(&self, store: &File) -> io::Result<()> {
        let bytes = |pages: u32| u64::from(pages) * u64::from(self.page_size);
        for (number, content) in &self.pages {
            let before = number.checked_sub(1).ok_or(io::ErrorKind::InvalidData)?;
            store.write_all_at(content, bytes(before))?;
        }
        store.set_len(bytes(self.pages_in_store))
    }
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment() -> Segment {
        let page = |byte| vec![byte; 512].into_boxed_slice();
        Segment {
            first: 3,
            last: 5,
            at: Millis(1_795_000_000_123),
            page_size: 512,
            pages_in_store: 7,
            pages: vec![(1, page(1)), (7, page(9))],
        }
    }

    #[test]
    fn a_segment_is_read_as_it_was_written() {
        assert_eq!(Segment::decode(&segment().encode()), Ok(segment()));
    }

    #[test]
    fn a_changed_or_shorter_segment_is_refused() {
        let bytes = segment().encode();
        for at in [8, 20, 43, 44, 600, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(Segment::decode(&changed), Err(SegmentError::Damaged), "byte {at}");
        }
        for length in [0, 43, 100, bytes.len() - 1] {
            assert_eq!(Segment::decode(&bytes[..length]), Err(SegmentError::Damaged), "{length}");
        }
        let mut newer = bytes;
        newer[6] = b'2';
        assert_eq!(Segment::decode(&newer), Err(SegmentError::UnknownFormat));
    }
}
