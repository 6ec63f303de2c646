//! Reads the descriptions of all bases of a backup, and compares them.

use doorbuster_core::Millis;
use futures_util::StreamExt;

use super::{ContinuousRestoreError, SEGMENTS_AT_ONCE, unreadable};
use crate::base::BaseBackup;
use crate::names::{self, Generation, ObjectName};
use crate::target::BackupTarget;

/// An object of a generation.
pub(super) type Object = (Generation, ObjectName);
/// A base of a generation.
pub(super) type Base = (Generation, BaseBackup);

/// Returns the objects of a backup, oldest first.
pub(crate) async fn list(target: &BackupTarget) -> Result<Vec<Object>, ContinuousRestoreError> {
    let names = target.list().await.map_err(|error| unreadable("the list of objects", error))?;
    Ok(names.iter().filter_map(|name| names::parse(name)).collect())
}

/// Returns the bases with a readable description, oldest first.
pub(super) async fn read(target: &BackupTarget, objects: &[Object]) -> Vec<Base> {
    let bases = objects.iter().filter_map(|(generation, object)| match object {
        ObjectName::Base(number) => Some((generation.clone(), names::base(generation, *number))),
        _ => None,
    });
    let read = futures_util::stream::iter(bases).map(|(generation, name)| async move {
        let text = target.get(&name).await.ok()?;
        Some((generation, serde_json::from_slice::<BaseBackup>(&text).ok()?))
    });
    read.buffered(SEGMENTS_AT_ONCE).filter_map(std::future::ready).collect().await
}

pub(super) fn is_encrypted(bases: &[Base]) -> bool {
    bases.iter().any(|(_, base)| base.encryption.is_some())
}

/// Finds the store of the newest base, and this store's first base. Fails if an even older base
/// belongs to another store. A server whose data directory was lost may have created the newer
/// store by itself.
pub(super) fn check_store(bases: &[Base], now: Millis) -> Result<(), ContinuousRestoreError> {
    let Some((newest, BaseBackup { store: Some(store), .. })) = bases.last() else { return Ok(()) };
    let is_other = |(_, base): &&Base| base.store.as_ref() != Some(store);
    let earlier: Vec<_> = bases.iter().take_while(is_other).collect();
    let older = earlier.iter().rev().find(|(_, base)| base.store.is_some());
    let (Some((older, _)), Some((first, _))) = (older, bases.get(earlier.len())) else {
        return Ok(());
    };
    let time = |at: Millis| jiff::Timestamp::from_millisecond(at.0).unwrap_or_default();
    Err(ContinuousRestoreError::OtherStore {
        newest: newest.to_string(),
        older: older.to_string(),
        until: time(first.begun().plus(-1)),
        now: time(now),
    })
}

/// Returns the time of the earliest state that can be restored.
pub(super) fn earliest(objects: &[Object], bases: &[Base]) -> Option<jiff::Timestamp> {
    let times = bases.iter().map(|(generation, base)| {
        // The base needs these segments. If one of them ends after the copy was complete, the
        // earliest state that can be restored is the state at the end of that segment.
        let needed = objects.iter().filter_map(|(other, object)| match object {
            ObjectName::Segment(first, at)
                if other == generation
                    && base.before < base.complete
                    && *first <= base.complete =>
            {
                Some(*at)
            }
            _ => None,
        });
        needed.fold(base.at(), Ord::max)
    });
    jiff::Timestamp::from_millisecond(times.min()?.0).ok()
}
