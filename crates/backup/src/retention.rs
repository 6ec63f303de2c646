//! Deletes those objects of a backup that no restore to a time at or after `kept_since` needs.

use super::names::{self, Generation, ObjectName};
use super::target::{BackupTarget, TargetError};

/// Keeps the newest base that was complete at `kept_since`, and all later objects. Deletes older
/// bases, the segments that only older bases need, and the incomplete files of older generations.
pub(super) async fn delete_old(target: &BackupTarget, kept_since: i64) {
    if let Err(error) = try_delete(target, kept_since).await {
        tracing::warn!(
            %error,
            event = "backup.retention_failed",
            "failed to delete old objects of the backup; will retry within an hour"
        );
    }
}

async fn try_delete(target: &BackupTarget, kept_since: i64) -> Result<(), TargetError> {
    let objects: Vec<(String, Generation, ObjectName)> = target
        .list()
        .await?
        .into_iter()
        .filter_map(|name| {
            let (generation, object) = names::parse(&name)?;
            Some((name, generation, object))
        })
        .collect();
    let Some(oldest) = oldest_needed(target, &objects, kept_since).await? else { return Ok(()) };
    let mut older: Vec<&Generation> = objects.iter().map(|(_, generation, _)| generation).collect();
    older.retain(|generation| **generation < oldest.0);
    older.dedup();
    for generation in older {
        target.delete_incomplete(generation).await?;
    }
    for (name, generation, object) in &objects {
        let is_before = match (generation.cmp(&oldest.0), object) {
            (std::cmp::Ordering::Less, _) => true,
            (std::cmp::Ordering::Greater, _) => false,
            (_, ObjectName::Base(number) | ObjectName::BaseFile(number)) => *number < oldest.1,
            // The base needs every segment that ended after the base began.
            (_, ObjectName::Segment(first, at)) => *first <= oldest.1 && at.0 < oldest.2 - SLACK_MS,
        };
        if is_before {
            target.delete(name).await?;
        }
    }
    Ok(())
}

/// The clock may have been changed, so segments that ended up to this many milliseconds before the
/// base began are kept.
const SLACK_MS: i64 = 60_000;

/// Returns the newest base that was complete at `kept_since`: its generation, its number and its
/// start.
async fn oldest_needed(
    target: &BackupTarget,
    objects: &[(String, Generation, ObjectName)],
    kept_since: i64,
) -> Result<Option<(Generation, u64, i64)>, TargetError> {
    for (name, generation, object) in objects.iter().rev() {
        let ObjectName::Base(number) = object else { continue };
        let text = target.get(name).await?;
        // A base without a readable description cannot be restored.
        let Ok(base) = serde_json::from_slice::<super::base::BaseBackup>(&text) else { continue };
        if base.at <= kept_since {
            return Ok(Some((generation.clone(), *number, base.begun)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use doorbuster_core::Millis;
    use doorbuster_testkit::TempDir;

    use super::*;
    use crate::BackupPlace;
    use crate::base::BaseBackup;
    use crate::restore::states;

    const MINUTE: i64 = 60_000;

    async fn put_base(target: &BackupTarget, generation: &str, number: u64, at: i64) {
        let base = BaseBackup {
            before: number,
            complete: number,
            begun: at,
            at,
            bytes: 0,
            hash: String::new(),
            files: Vec::new(),
            encryption: None,
        };
        let text = serde_json::to_vec(&base).expect("plain values");
        put(target, &format!("{generation}/base-{number:012}.sqlite"), b"".to_vec()).await;
        put(target, &format!("{generation}/base-{number:012}.json"), text).await;
    }

    async fn put(target: &BackupTarget, name: &str, bytes: Vec<u8>) {
        target.put(name, Bytes::from(bytes)).await.expect("writable");
    }

    #[tokio::test]
    async fn only_objects_that_no_restore_needs_are_deleted() {
        let dir = TempDir::new();
        let place = BackupPlace::Directory(dir.path().join("target"));
        let target = BackupTarget::create(&place).expect("a directory");
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
        let target = BackupTarget::create(&place).expect("a directory");
        // In the first generation, the clock was an hour ahead. In the second, it is correct, so
        // the second base has an earlier time than the first.
        let first = Generation::after(None, Millis(70 * MINUTE));
        put_base(&target, &first.to_string(), 0, 70 * MINUTE).await;
        let second = Generation::after(Some(&first), Millis(11 * MINUTE));
        put_base(&target, &second.to_string(), 0, 11 * MINUTE).await;
        for until in [Millis(20 * MINUTE), Millis(80 * MINUTE), Millis(i64::MAX)] {
            let found = states(&target, until, &mut Vec::new()).await.expect("readable");
            assert_eq!(found.first().map(|state| &state.generation), Some(&second), "{until:?}");
        }
        for now in [20, 60, 80] {
            try_delete(&target, now * MINUTE).await.expect("deletes");
            let left = target.list().await.expect("readable");
            let kept = left.iter().filter(|name| name.starts_with(&second.to_string())).count();
            assert_eq!(kept, 2, "{left:?}");
        }
    }
}
