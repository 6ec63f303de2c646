//! Rebuilds the state of a store at a chosen time from a continuous backup.

mod bases;
mod error;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use doorbuster_base::clock::Clock;
use doorbuster_base::encryption::DecryptionError;
use doorbuster_core::Millis;
use doorbuster_store::{BackupFile, RestoreError, Restored, Segment, restore_copy};
use futures_util::{StreamExt, TryStreamExt};
use secrecy::SecretString;

use super::base::{BaseBackup, hash_file};
use super::key::BackupKey;
use super::names::{self, Generation, ObjectName};
use super::target::BackupTarget;
use bases::Object;

pub(super) use bases::list;
pub use error::ContinuousRestoreError;

/// A restore tries at most this many bases, newest first. This number is enough, because only the
/// last bases of a generation can lack segments.
const STATES_MAX: usize = 4;
const SEGMENTS_AT_ONCE: usize = 8;
const PART: &str = "restore.part";
const ENCRYPTED: &str = "encrypted";

/// A store that was rebuilt from a continuous backup.
#[derive(Debug)]
pub struct RestoredCopy {
    /// The store.
    pub restored: Restored,
    /// The reasons why newer bases were not used. If there is a reason, the restored state may be
    /// older than the backup's newest state.
    pub skipped: Vec<String>,
}

/// A base and its segments up to the requested time.
pub(super) struct State {
    pub(super) generation: Generation,
    base: BaseBackup,
    segments: Vec<(u64, Millis)>,
}

/// Returns the paths of the temporary files of [`restore`] in `dir`.
/// [`doorbuster_store::restore_part_paths`] returns the paths of further temporary files.
#[must_use]
pub fn restore_part_paths(dir: &Path) -> [PathBuf; 2] {
    let part = dir.join(PART);
    let encrypted = part.with_extension(ENCRYPTED);
    [part, encrypted]
}

/// Rebuilds, in `dir`, the last state at or before `until`. If `until` is `None`, rebuilds the
/// newest state. `dir` must exist, and must not contain a store. An encrypted backup needs the
/// passphrase.
///
/// # Errors
/// If the backup is damaged, the passphrase is wrong, or the directory contains a store. Without
/// `until`, the call also fails if the oldest states of the backup belong to a different store than
/// the newest state.
pub async fn restore(
    target: &BackupTarget,
    dir: &Path,
    until: Option<jiff::Timestamp>,
    passphrase: Option<&SecretString>,
) -> Result<RestoredCopy, ContinuousRestoreError> {
    let until = until.map(|until| Millis(until.as_millisecond()));
    // Removes the files that a killed restore left.
    remove_parts(dir);
    let restored = write(target, (&dir.join(PART), dir), until, passphrase).await;
    remove_parts(dir);
    restored
}

async fn write(
    target: &BackupTarget,
    (part, dir): (&Path, &Path),
    until: Option<Millis>,
    passphrase: Option<&SecretString>,
) -> Result<RestoredCopy, ContinuousRestoreError> {
    let objects = list(target).await?;
    let bases = bases::read(target, &objects).await;
    // A restore from an encrypted backup needs the passphrase even if the newest state is not
    // encrypted, because an attacker may have added that state.
    if passphrase.is_none() && bases::is_encrypted(&bases) {
        return Err(ContinuousRestoreError::Encrypted);
    }
    let until = match until {
        Some(until) => until,
        None => {
            bases::check_store(&bases, Clock::default().now())?;
            Millis(i64::MAX)
        }
    };
    let mut skipped = Vec::new();
    let mut is_known = false;
    for state in states(target, &objects, until, &mut skipped).await? {
        let (key, files) = match open(&state, passphrase, &mut skipped) {
            Ok(Some(opened)) => opened,
            Ok(None) => continue,
            // A newer state was opened with this passphrase, but could not be rebuilt. This older
            // state has another passphrase, so it is skipped.
            Err(error) if is_known => {
                skipped.push(error.to_string());
                continue;
            }
            Err(error) => return Err(error),
        };
        is_known = true;
        let rebuilt = rebuild(target, (&state, key.as_ref()), (part, until), &mut skipped).await?;
        let Some(at) = rebuilt else { continue };
        let files =
            files.into_iter().map(|(name, text)| BackupFile { name, content: text.into_bytes() });
        let (from, dir, files) = (part.to_owned(), dir.to_owned(), files.collect());
        let now = Clock::default().now();
        let write = move || restore_copy(&from, (at, files), &dir, now);
        let written = tokio::task::spawn_blocking(write).await;
        let restored = written.map_err(|error| RestoreError::Failed(error.to_string()))??;
        return Ok(RestoredCopy { restored, skipped });
    }
    match skipped.is_empty() {
        true => {
            let (place, earliest) = (target.to_string(), bases::earliest(&objects, &bases));
            Err(ContinuousRestoreError::Nothing { place, earliest })
        }
        false => Err(ContinuousRestoreError::AllDamaged(skipped.join("; "))),
    }
}

/// The names and contents of the files with the generated secrets.
type StoreFiles = Vec<(String, String)>;

/// Returns the key and the secrets of a state. If the key or the secrets are damaged, adds the
/// reason to `skipped` and returns `None`.
fn open(
    state: &State,
    passphrase: Option<&SecretString>,
    skipped: &mut Vec<String>,
) -> Result<Option<(Option<BackupKey>, StoreFiles)>, ContinuousRestoreError> {
    let name = names::base(&state.generation, state.base.before);
    let Some(encryption) = &state.base.encryption else {
        return match passphrase {
            Some(_) => Err(ContinuousRestoreError::NotEncrypted(name)),
            None => Ok(Some((None, state.base.files.clone()))),
        };
    };
    let passphrase = passphrase.ok_or(ContinuousRestoreError::Encrypted)?;
    let opened = encryption
        .unlock(passphrase)
        .and_then(|key| encryption.files(&key).map(|files| (Some(key), files)));
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(DecryptionError::WrongPassphrase) => {
            let before = jiff::Timestamp::from_millisecond(state.generation.begun().0);
            let before = before.unwrap_or_default();
            Err(ContinuousRestoreError::WrongPassphrase { object: name, before })
        }
        Err(error) => {
            skipped.push(format!("{name} of the backup is damaged: {error}"));
            Ok(None)
        }
    }
}

/// Returns the states at or before `until`, newest first, but at most [`STATES_MAX`] of them. Adds
/// bases with a damaged description to `skipped`.
pub(super) async fn states(
    target: &BackupTarget,
    objects: &[Object],
    until: Millis,
    skipped: &mut Vec<String>,
) -> Result<Vec<State>, ContinuousRestoreError> {
    let mut bases: Vec<(&Generation, u64)> = objects
        .iter()
        .filter_map(|(generation, object)| match object {
            ObjectName::Base(number) => Some((generation, *number)),
            _ => None,
        })
        .collect();
    bases.sort_unstable();
    let mut states = Vec::new();
    for (generation, number) in bases.into_iter().rev() {
        let name = names::base(generation, number);
        // A base that cannot be read now may be intact. The restore then fails, so that no older
        // base silently replaces it.
        let text = target.get(&name).await.map_err(|error| unreadable(&name, error))?;
        let base: BaseBackup = match serde_json::from_slice(&text) {
            Ok(base) => base,
            Err(error) => {
                skipped.push(format!("{name} of the backup is damaged: {error}"));
                continue;
            }
        };
        if base.at() > until {
            continue;
        }
        let segments = objects.iter().filter_map(|(other, object)| match object {
            ObjectName::Segment(first, at) if other == generation => Some((*first, *at)),
            _ => None,
        });
        let mut segments: Vec<_> = segments.collect();
        segments.sort_unstable();
        // The restore needs all commits after `before`. Commit `before` + 1 may be in the middle of
        // a segment. Earlier segments are not read, because they are not needed and may be damaged.
        let needed = segments.partition_point(|(first, _)| *first <= base.before + 1);
        segments.drain(..needed.saturating_sub(1));
        segments.retain(|(_, at)| *at <= until);
        states.push(State { generation: generation.clone(), base, segments });
        if states.len() == STATES_MAX {
            break;
        }
    }
    Ok(states)
}

/// Copies an object to `part`. Returns `false` if the object does not exist.
async fn copy_object(
    target: &BackupTarget,
    name: &str,
    part: &Path,
) -> Result<bool, ContinuousRestoreError> {
    match target.get_file(name, part).await {
        Ok(()) => Ok(true),
        Err(error) if error.is_missing => Ok(false),
        Err(error) => Err(unreadable(name, error)),
    }
}

/// Writes the base and the segments to `part`, and returns the time of the state.
///
/// * If the base, or a segment that the base needs, is missing or damaged: adds the reason to
///   `skipped` and returns `None`. The caller tries an older base.
/// * If a later segment is missing or damaged: fails.
async fn rebuild(
    target: &BackupTarget,
    (state, key): (&State, Option<&BackupKey>),
    (part, until): (&Path, Millis),
    skipped: &mut Vec<String>,
) -> Result<Option<Millis>, ContinuousRestoreError> {
    let State { generation, base, segments } = state;
    let name = names::base_file(generation, base.before);
    let is_there = copy_object(target, &name, part).await?;
    if !is_there {
        skipped.push(format!("{name} of the backup is missing"));
        return Ok(None);
    }
    if let Some(key) = key
        && let Err(error) = decrypt_in_place(key, part)
    {
        match error {
            DecryptionError::File(error) => return Err(unreadable(&name, error)),
            error => skipped.push(format!("{name} of the backup is damaged: {error}")),
        }
        return Ok(None);
    }
    let found = hash_file(part).map_err(|error| unreadable(&name, error))?;
    if found != (base.hash.clone(), base.bytes) {
        skipped.push(format!("{name} of the backup is damaged or incomplete"));
        return Ok(None);
    }
    let file = File::options().write(true).open(part).map_err(|error| unreadable(&name, error))?;
    let objects = segments.iter().map(|(first, at)| (names::segment(generation, *first, *at), *at));
    let read = futures_util::stream::iter(objects).map(|(name, ends)| async move {
        let decoded = read_segment(target, key, &name).await?;
        Ok::<_, ContinuousRestoreError>((name, ends, decoded))
    });
    let mut read = read.buffered(SEGMENTS_AT_ONCE);
    let (mut newest, mut at) = (base.before, base.at());
    while let Some((name, ends, decoded)) = read.try_next().await? {
        let segment = match decoded {
            Ok(segment) => segment,
            Err(reason) if newest >= base.complete => {
                return Err(damaged(name, reason, at.min(ends.plus(-1))));
            }
            // The base needs this segment.
            Err(reason) => {
                skipped.push(format!("cannot read {name} of the backup: {reason}"));
                return Ok(None);
            }
        };
        if segment.last <= newest {
            continue;
        }
        if segment.first > newest + 1 {
            // This segment begins later, so the commits after `newest` are missing. If the base
            // needs these commits, the base is skipped below. If the target has these commits in a
            // segment that `state` lacks, the restored state ends before these commits.
            if newest < base.complete || is_left_out(target, state, segment.first).await? {
                break;
            }
            let object = format!("the segment after commit {newest}");
            return Err(damaged(object, "it is missing".to_owned(), at.min(ends.plus(-1))));
        }
        segment.apply(&file).map_err(|error| unreadable(&name, error))?;
        (newest, at) = (segment.last, segment.at);
    }
    if newest < base.complete {
        skipped.push(format!("the backup lacks changes that {name} needs"));
        return Ok(None);
    }
    file.sync_all().map_err(|error| unreadable(&name, error))?;
    Ok(Some(at.min(until)))
}

/// Reads a segment. The outer error says why it cannot be read. The inner error says why it is
/// damaged.
async fn read_segment(
    target: &BackupTarget,
    key: Option<&BackupKey>,
    name: &str,
) -> Result<Result<Segment, String>, ContinuousRestoreError> {
    let bytes = target.get(name).await.map_err(|error| unreadable(name, error))?;
    let bytes = match key {
        Some(key) => key.decrypt(&bytes).map(Bytes::from).map_err(|error| error.to_string()),
        None => Ok(bytes),
    };
    Ok(bytes.and_then(|bytes| Segment::decode(&bytes).map_err(|error| error.to_string())))
}

/// Returns whether the target has a segment that is missing in `state`, right before the segment
/// that begins at commit `first`. There are two possible causes:
///
/// * The clock was set back, and the missing segment is newer than the requested time.
/// * The server wrote the missing segment while the restore read the list of objects.
async fn is_left_out(
    target: &BackupTarget,
    state: &State,
    first: u64,
) -> Result<bool, ContinuousRestoreError> {
    let objects = list(target).await?;
    let known = state.segments.iter().map(|(known, _)| *known);
    let previous = known.take_while(|known| *known < first).last();
    Ok(objects.iter().any(|(generation, object)| match object {
        ObjectName::Segment(found, _) => {
            *generation == state.generation
                && *found < first
                && previous.is_none_or(|previous| previous < *found)
        }
        _ => false,
    }))
}

/// Removes the temporary files of a restore. Ignores errors, because a file may be missing.
fn remove_parts(dir: &Path) {
    for file in restore_part_paths(dir) {
        let _ = std::fs::remove_file(file);
    }
}

fn decrypt_in_place(key: &BackupKey, file: &Path) -> Result<(), DecryptionError> {
    let encrypted = file.with_extension(ENCRYPTED);
    std::fs::rename(file, &encrypted)?;
    let decrypted = key.decrypt_file(&encrypted, file);
    let _ = std::fs::remove_file(&encrypted);
    decrypted
}

/// Returns the error for an unreadable segment. It advises a restore of the state at `at`, which is
/// before this segment.
fn damaged(object: String, reason: String, at: Millis) -> ContinuousRestoreError {
    match jiff::Timestamp::from_millisecond(at.0) {
        Ok(until) => ContinuousRestoreError::Damaged { object, reason, until },
        Err(_) => ContinuousRestoreError::Unreadable { object, reason },
    }
}

fn unreadable(object: &str, reason: impl std::fmt::Display) -> ContinuousRestoreError {
    ContinuousRestoreError::Unreadable { object: object.to_owned(), reason: reason.to_string() }
}
