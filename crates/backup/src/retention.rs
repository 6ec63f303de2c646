//! Deletes old objects of a backup. Keeps all objects that a restore to a time at or after
//! `kept_since` needs.

use std::cmp::Ordering::{Equal, Greater, Less};
use std::sync::atomic::{AtomicBool, Ordering};

use super::base::BaseBackup;
use super::names::{self, Generation, ObjectName};
use super::target::{BackupTarget, TargetError};

/// Keeps the newest base that was complete at `kept_since`, and all later objects. Deletes older
/// bases, the segments that only older bases need, and the incomplete files of older generations.
///
/// Deletes only objects of the store to which the newest base belongs. A server whose data
/// directory is lost creates a new store. The backup of this new store must not replace the backup
/// of the lost store. `is_reported` is set when this function has logged that it keeps objects of
/// another store.
pub(super) async fn delete_old(target: &BackupTarget, kept_since: i64, is_reported: &AtomicBool) {
    match try_delete(target, kept_since).await {
        Ok(0) => {}
        Ok(generations) if !is_reported.swap(true, Ordering::Relaxed) => tracing::warn!(
            generations,
            target = %target,
            event = "backup.retention_failed",
            "the server keeps old generations of another store or of an earlier version in the \
             backup; if you do not need these generations, delete them"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(
            %error,
            event = "backup.retention_failed",
            "failed to delete old objects of the backup; will retry within an hour"
        ),
    }
}

/// Deletes old generations. Returns how many old generations it kept because they may belong to
/// another store.
async fn try_delete(target: &BackupTarget, kept_since: i64) -> Result<usize, TargetError> {
    let objects: Vec<Object> = target
        .list()
        .await?
        .into_iter()
        .filter_map(|name| {
            let (generation, object) = names::parse(&name)?;
            Some((name, generation, object))
        })
        .collect();
    let Some(oldest) = oldest_needed(target, &objects, kept_since).await? else { return Ok(0) };
    let mut older: Vec<&Generation> = objects.iter().map(|(_, generation, _)| generation).collect();
    older.retain(|generation| **generation < oldest.generation);
    older.dedup();
    let (deleted, kept) = deletable(target, &objects, (older, &oldest)).await?;
    for generation in &deleted {
        target.delete_incomplete(generation).await?;
    }
    for (name, generation, object) in &objects {
        let is_before = match (generation.cmp(&oldest.generation), object) {
            (Less, _) => deleted.contains(&generation),
            (Greater, _) => false,
            (Equal, ObjectName::Base(number) | ObjectName::BaseFile(number)) => {
                *number < oldest.number
            }
            // The base needs every segment that ended after the base began.
            (Equal, ObjectName::Segment(first, at)) => {
                *first <= oldest.number && at.0 < oldest.begun - SLACK_MS
            }
        };
        if is_before {
            target.delete(name).await?;
        }
    }
    Ok(kept)
}

/// The clock may have been changed, so segments that ended up to this many milliseconds before the
/// base began are kept.
const SLACK_MS: i64 = 60_000;

/// An object with its name.
type Object = (String, Generation, ObjectName);

/// The oldest base that a restore may need.
struct OldestNeeded {
    generation: Generation,
    number: u64,
    begun: i64,
    /// The id of the store to which this base and the newest base belong.
    store: Option<String>,
}

/// Returns the newest base that was complete at `kept_since` and belongs to the store of the newest
/// base.
async fn oldest_needed(
    target: &BackupTarget,
    objects: &[Object],
    kept_since: i64,
) -> Result<Option<OldestNeeded>, TargetError> {
    let mut newest = None;
    for (name, generation, object) in objects.iter().rev() {
        let ObjectName::Base(number) = object else { continue };
        // A base without a readable description cannot be restored.
        let Some(base) = read_base(target, name).await? else { continue };
        let store = newest.get_or_insert_with(|| base.store.clone());
        if base.store == *store && base.at <= kept_since {
            let (generation, number) = (generation.clone(), *number);
            let BaseBackup { begun, store, .. } = base;
            return Ok(Some(OldestNeeded { generation, number, begun, store }));
        }
    }
    Ok(None)
}

/// Divides the generations in `older`. Returns those that can be deleted, and the number of those
/// that must be kept. `older` must be sorted.
///
/// A generation can be deleted if it has no base, belongs to the store of `oldest`, or follows a
/// generation of that store. In the last case, another store or an earlier version wrote the
/// generation, and an operator then restored the store of `oldest`. If `oldest` has no store id,
/// all generations in `older` can be deleted.
async fn deletable<'a>(
    target: &BackupTarget,
    objects: &[Object],
    (older, oldest): (Vec<&'a Generation>, &OldestNeeded),
) -> Result<(Vec<&'a Generation>, usize), TargetError> {
    let (mut deletable, mut kept, mut follows) = (Vec::new(), 0, oldest.store.is_none());
    for generation in older {
        let mut bases = objects.iter().filter_map(|(name, of, object)| {
            (of == generation && matches!(object, ObjectName::Base(_))).then_some(name)
        });
        let is_deletable = match bases.next_back() {
            None => true,
            Some(name) => {
                let store = read_base(target, name).await?.and_then(|base| base.store);
                follows |= store.is_some() && store == oldest.store;
                follows
            }
        };
        match is_deletable {
            true => deletable.push(generation),
            false => kept += 1,
        }
    }
    Ok((deletable, kept))
}

/// Returns the description of a base, or `None` if the description is damaged.
async fn read_base(target: &BackupTarget, name: &str) -> Result<Option<BaseBackup>, TargetError> {
    Ok(serde_json::from_slice(&target.get(name).await?).ok())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use doorbuster_core::Millis;
    use doorbuster_testkit::TempDir;

    use super::*;
    use crate::BackupPlace;
    use crate::restore::{list, states};

    const MINUTE: i64 = 60_000;

    async fn put_base(target: &BackupTarget, generation: &str, number: u64, at: i64) {
        put_base_of(target, None, (generation, number), at).await;
    }

    async fn put_base_of(
        target: &BackupTarget,
        store: Option<&str>,
        (generation, number): (&str, u64),
        at: i64,
    ) {
        let base = BaseBackup {
            before: number,
            complete: number,
            begun: at,
            at,
            bytes: 0,
            hash: String::new(),
            files: Vec::new(),
            encryption: None,
            store: store.map(str::to_owned),
        };
        let text = serde_json::to_vec(&base).expect("plain values");
        put(target, &format!("{generation}/base-{number:012}.sqlite"), b"".to_vec()).await;
        put(target, &format!("{generation}/base-{number:012}.json"), text).await;
    }

    async fn put(target: &BackupTarget, name: &str, bytes: Vec<u8>) {
        let (generation, _) = names::parse(name).expect("the name of an object");
        target.create_generation(&generation).await.expect("writable");
        target.put(name, Bytes::from(bytes)).await.expect("writable");
    }

    #[tokio::test]
    async fn only_objects_that_no_restore_needs_are_deleted() {
        let dir = TempDir::new();
        let place = BackupPlace::Directory(dir.path().join("target"));
        let target = BackupTarget::open(&place).expect("a directory");
        let (first, second) = ("0000000000000-0000000a", "0000003600000-0000000b");
        put_base(&target, first, 0, MINUTE).await;
        put(&target, &format!("{first}/segment-{:012}-{:013}", 1, 2 * MINUTE), Vec::new()).await;
        let part = dir.path().join("target").join(first).join("base-000000000001.sqlite.part");
        std::fs::write(part, "a").expect("writable");
        put_base(&target, second, 0, 61 * MINUTE).await;
        let early = format!("{second}/segment-{:012}-{:013}", 1, 62 * MINUTE);
        let late = format!("{second}/segment-{:012}-{:013}", 900, 90 * MINUTE);
        put(&target, &early, Vec::new()).await;
        put(&target, &late, Vec::new()).await;
        put_base(&target, second, 800, 89 * MINUTE).await;

        // At minute 60, the first base was the only complete base. No object is older than this
        // base, so no object is deleted.
        let all = target.list().await.expect("readable");
        try_delete(&target, 60 * MINUTE).await.expect("deletes");
        assert_eq!(target.list().await.expect("readable"), all);

        try_delete(&target, 70 * MINUTE).await.expect("deletes");
        let left = target.list().await.expect("readable");
        assert!(left.iter().all(|name| name.starts_with(second)), "{left:?}");
        assert_eq!(left.len(), 6);
        assert!(!dir.path().join("target").join(first).exists());

        try_delete(&target, 100 * MINUTE).await.expect("deletes");
        let left = target.list().await.expect("readable");
        assert!(!left.contains(&early) && left.contains(&late), "{left:?}");
        assert_eq!(left.len(), 3, "{left:?}");
    }

    #[tokio::test]
    async fn the_running_generation_is_kept_and_restored_although_the_clock_was_set_back() {
        let dir = TempDir::new();
        let place = BackupPlace::Directory(dir.path().join("target"));
        let target = BackupTarget::open(&place).expect("a directory");
        // In the first generation, the clock was an hour ahead. In the second, it is correct, so
        // the second base has an earlier time than the first.
        let first = Generation::after(None, Millis(70 * MINUTE));
        put_base(&target, &first.to_string(), 0, 70 * MINUTE).await;
        let second = Generation::after(Some(&first), Millis(11 * MINUTE));
        put_base(&target, &second.to_string(), 0, 11 * MINUTE).await;
        for until in [Millis(20 * MINUTE), Millis(80 * MINUTE), Millis(i64::MAX)] {
            let objects = list(&target).await.expect("readable");
            let found = states(&target, &objects, until, &mut Vec::new()).await;
            let found = found.expect("readable");
            assert_eq!(found.first().map(|state| &state.generation), Some(&second), "{until:?}");
        }
        for now in [20, 60, 80] {
            try_delete(&target, now * MINUTE).await.expect("deletes");
            let left = target.list().await.expect("readable");
            let kept = left.iter().filter(|name| name.starts_with(&second.to_string())).count();
            assert_eq!(kept, 2, "{left:?}");
        }
    }

    #[tokio::test]
    async fn the_backup_of_a_lost_store_is_kept_beside_the_backup_of_a_new_store() {
        let dir = TempDir::new();
        let place = BackupPlace::Directory(dir.path().join("target"));
        let target = BackupTarget::open(&place).expect("a directory");
        let generation = |minute: i64| Generation::after(None, Millis(minute * MINUTE)).to_string();
        let (unknown, lost, empty) = (generation(1), generation(2), generation(3));
        let (new, newest) = (generation(4), generation(5));
        put_base_of(&target, None, (&unknown, 0), MINUTE).await;
        put_base_of(&target, Some("lost"), (&lost, 0), 2 * MINUTE).await;
        // This generation has no base, so it is useless.
        put(&target, &format!("{empty}/segment-{:012}-{:013}", 1, 3 * MINUTE), Vec::new()).await;
        put_base_of(&target, Some("new"), (&new, 0), 4 * MINUTE).await;
        put_base_of(&target, Some("new"), (&newest, 0), 5 * MINUTE).await;
        let left = async || {
            let names = target.list().await.expect("readable");
            let objects = names.iter().filter_map(|name| names::parse(name));
            let mut left: Vec<_> = objects.map(|(generation, _)| generation.to_string()).collect();
            left.dedup();
            left
        };
        assert_eq!(try_delete(&target, 60 * MINUTE).await.expect("deletes"), 2);
        assert_eq!(left().await, [&*unknown, &lost, &newest]);
        // The lost store is restored, and its server continues its backup.
        let restored = generation(61);
        put_base_of(&target, Some("lost"), (&restored, 0), 61 * MINUTE).await;
        assert_eq!(try_delete(&target, 60 * MINUTE).await.expect("deletes"), 1);
        assert_eq!(left().await, [&*unknown, &lost, &newest, &restored]);
        // The base of `restored` is now old enough, so the generations `lost` and `newest` are not
        // needed any more.
        assert_eq!(try_delete(&target, 120 * MINUTE).await.expect("deletes"), 1);
        assert_eq!(left().await, [&*unknown, &restored]);
    }
}
