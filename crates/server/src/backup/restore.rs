//! Rebuilds a store from a continuous backup, as the store was at a chosen time.

use std::fs::File;
use std::path::Path;

use doorbuster_core::Millis;
use doorbuster_store::{BackupFile, RestoreError, Restored, Segment, restore_copy};
use futures_util::{StreamExt, TryStreamExt};

use super::base::{Base, hash_file};
use super::names::{self, Generation, ObjectName};
use super::target::{BackupPlace, BackupTarget, PlaceError};
use crate::clock::Clock;
use crate::secrets;

/// A restore tries at most this many bases. Only the newest bases can lack segments.
const STATES_MAX: usize = 4;
/// The number of segments that are read at the same time.
const SEGMENTS_AT_ONCE: usize = 8;
/// The rebuilt file, before it becomes the store.
const PART: &str = "restore.part";

/// Why a continuous backup was not restored. A failed restore leaves no new store in the directory.
#[derive(Debug, thiserror::Error)]
pub enum ContinuousRestoreError {
    /// The backup's directory or bucket cannot be opened.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// An object cannot be read.
    #[error("cannot read {object} of the backup: {reason}")]
    Unreadable {
        /// The object.
        object: String,
        /// The reason.
        reason: String,
    },
    /// The backup contains no state at or before the chosen time.
    #[error("{0} contains no continuous backup of that time or earlier")]
    Nothing(String),
    /// The rebuilt store cannot be written.
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

/// A state that can be restored: a base and the segments after it.
struct State {
    generation: Generation,
    base: Base,
    segments: Vec<(u64, Millis)>,
}

/// Rebuilds the store from the backup in `place`, and writes it to `dir`. This directory must not
/// contain a store. The result is the state at `until`, or the last saved state before `until`.
/// `None` means the newest state.
///
/// # Errors
///
/// If the backup is missing or damaged, or the directory contains a store.
pub async fn restore(
    place: &BackupPlace,
    dir: &Path,
    until: Option<jiff::Timestamp>,
) -> Result<Restored, ContinuousRestoreError> {
    let target = BackupTarget::open(place)?;
    let until = Millis(until.map_or(i64::MAX, |until| until.as_millisecond()));
    let part = dir.join(PART);
    let failed =
        |error: std::io::Error| RestoreError::Failed(format!("{}: {error}", dir.display()));
    secrets::create_directory(dir).map_err(failed)?;
    let restored = write(&target, (&part, dir), until).await;
    // An error here is ignored: the file is only temporary.
    let _ = std::fs::remove_file(&part);
    restored
}

async fn write(
    target: &BackupTarget,
    (part, dir): (&Path, &Path),
    until: Millis,
) -> Result<Restored, ContinuousRestoreError> {
    for state in states(target, until).await? {
        let Some(at) = rebuild(target, &state, (part, until)).await? else { continue };
        let files = state.base.files.into_iter();
        let files = files.map(|(name, text)| BackupFile { name, content: text.into_bytes() });
        let (from, dir, files) = (part.to_owned(), dir.to_owned(), files.collect());
        let now = Clock::default().now();
        let write = move || restore_copy(&from, (at, files), &dir, now);
        let written = tokio::task::spawn_blocking(write).await;
        return Ok(written.map_err(|error| RestoreError::Failed(error.to_string()))??);
    }
    Err(ContinuousRestoreError::Nothing(target.to_string()))
}

/// Returns the states at or before `until`, newest first.
async fn states(
    target: &BackupTarget,
    until: Millis,
) -> Result<Vec<State>, ContinuousRestoreError> {
    let names = target.list().await.map_err(|error| unreadable("the list of objects", error))?;
    let objects: Vec<_> = names.iter().filter_map(|name| names::parse(name)).collect();
    let mut bases: Vec<(&Generation, u64)> = objects
        .iter()
        .filter_map(|(generation, object)| match object {
            ObjectName::Base(number) if generation.begun() <= until => Some((generation, *number)),
            _ => None,
        })
        .collect();
    bases.sort_unstable();
    let mut states = Vec::new();
    for (generation, number) in bases.into_iter().rev() {
        let name = names::base(generation, number);
        let text = target.get(&name).await.map_err(|error| unreadable(&name, error))?;
        let base: Base = serde_json::from_slice(&text).map_err(|error| unreadable(&name, error))?;
        if base.at() > until {
            continue;
        }
        let segments = objects.iter().filter_map(|(other, object)| match object {
            ObjectName::Segment(first, at) if other == generation && *at <= until => {
                Some((*first, *at))
            }
            _ => None,
        });
        let mut segments: Vec<_> = segments.collect();
        segments.sort_unstable();
        states.push(State { generation: generation.clone(), base, segments });
        if states.len() == STATES_MAX {
            break;
        }
    }
    Ok(states)
}

/// Writes the base and the segments to `part`. Returns the time of the state. Returns `None` if the
/// backup lacks segments that the base needs. The caller then tries an older base.
async fn rebuild(
    target: &BackupTarget,
    state: &State,
    (part, until): (&Path, Millis),
) -> Result<Option<Millis>, ContinuousRestoreError> {
    let State { generation, base, segments } = state;
    let name = names::base_file(generation, base.before);
    target.get_file(&name, part).await.map_err(|error| unreadable(&name, error))?;
    let found = hash_file(part).map_err(|error| unreadable(&name, error))?;
    if found != (base.hash.clone(), base.bytes) {
        return Err(unreadable(&name, "the copy is damaged or incomplete"));
    }
    let file = File::options().write(true).open(part).map_err(|error| unreadable(&name, error))?;
    // The first needed commit is `before` + 1. Its segment may begin with an earlier commit.
    let begin = segments.partition_point(|(first, _)| *first <= base.before + 1).saturating_sub(1);
    let names = segments[begin..].iter().map(|(first, at)| names::segment(generation, *first, *at));
    let read = futures_util::stream::iter(names).map(|name| async move {
        let bytes = target.get(&name).await.map_err(|error| unreadable(&name, error))?;
        let segment = Segment::decode(&bytes).map_err(|error| unreadable(&name, error))?;
        Ok::<_, ContinuousRestoreError>((name, segment))
    });
    let mut read = read.buffered(SEGMENTS_AT_ONCE);
    let (mut newest, mut at) = (base.before, base.at());
    while let Some((name, segment)) = read.try_next().await? {
        if segment.last <= newest {
            continue;
        }
        if segment.first > newest + 1 {
            // The segment before this one was never written, so the sequence ends here.
            break;
        }
        segment.apply(&file).map_err(|error| unreadable(&name, error))?;
        (newest, at) = (segment.last, segment.at);
    }
    if newest < base.complete {
        return Ok(None);
    }
    file.sync_all().map_err(|error| unreadable(&name, error))?;
    Ok(Some(at.min(until)))
}

fn unreadable(object: &str, reason: impl std::fmt::Display) -> ContinuousRestoreError {
    ContinuousRestoreError::Unreadable { object: object.to_owned(), reason: reason.to_string() }
}
