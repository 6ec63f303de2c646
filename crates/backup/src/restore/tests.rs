//! Tests a restore from a backup with missing or damaged segments.

use doorbuster_testkit::TempDir;

use super::*;
use crate::BackupPlace;

/// Writes a base and, for each of the times, one segment with one commit.
async fn put_backup(dir: &TempDir, times: [i64; 3]) -> (BackupTarget, Generation) {
    let place = BackupPlace::Directory(dir.path().join("target"));
    let target = BackupTarget::open(&place).expect("a directory");
    let generation = Generation::after(None, Millis(0));
    put_base(dir, &target, &generation, (0, 0)).await;
    for (number, at) in (1..).zip(times.map(Millis)) {
        let pages = vec![(1, vec![1; 512].into_boxed_slice())];
        let (page_size, pages_in_store) = (512, 1);
        let segment = Segment { first: number, last: number, at, page_size, pages_in_store, pages };
        let name = names::segment(&generation, number, at);
        target.put(&name, segment.encode().into()).await.expect("writable");
    }
    (target, generation)
}

/// Writes a base that contains every commit up to `before`, and that was complete at the time `at`.
async fn put_base(
    dir: &TempDir,
    target: &BackupTarget,
    generation: &Generation,
    (before, at): (u64, i64),
) {
    let file = dir.path().join("base");
    std::fs::write(&file, [0; 512]).expect("writable");
    let (hash, bytes) = hash_file(&file).expect("readable");
    let (complete, begun, files, encryption, store) = (before, at, Vec::new(), None, None);
    let base = BaseBackup { before, complete, begun, at, bytes, hash, files, encryption, store };
    let text = serde_json::to_vec(&base).expect("plain values");
    target.create_generation(generation).await.expect("writable");
    target.put_file(&names::base_file(generation, before), &file).await.expect("writable");
    target.put(&names::base(generation, before), text.into()).await.expect("writable");
}

async fn rebuild_until(
    dir: &TempDir,
    target: &BackupTarget,
    until: i64,
) -> Result<Option<i64>, ContinuousRestoreError> {
    let (until, mut skipped) = (Millis(until), Vec::new());
    let found = states(target, &list(target).await?, until, &mut skipped).await?;
    let state = found.first().expect("a state");
    let part = dir.path().join(PART);
    let at = rebuild(target, (state, None), (&part, until), &mut skipped).await?;
    Ok(at.map(|at| at.0))
}

#[tokio::test]
async fn a_restore_refuses_a_gap_and_names_the_time_before_the_gap() {
    let dir = TempDir::new();
    let (target, generation) = put_backup(&dir, [1_000, 2_000, 3_000]).await;
    let rebuilt = rebuild_until(&dir, &target, i64::MAX).await.expect("a complete backup");
    assert_eq!(rebuilt, Some(3_000));
    let lost = names::segment(&generation, 2, Millis(2_000));
    target.delete(&lost).await.expect("the segment exists");
    let error = rebuild_until(&dir, &target, i64::MAX).await.expect_err("a gap");
    let text = error.to_string();
    assert!(text.contains("the segment after commit 1 of the backup: it is missing"), "{text}");
    let ContinuousRestoreError::Damaged { until, .. } = error else { panic!("{text}") };
    assert!(text.contains(&format!("add --until {until}")), "{text}");
    let rebuilt = rebuild_until(&dir, &target, until.as_millisecond()).await.expect("no gap");
    assert_eq!(rebuilt, Some(1_000));
}

#[tokio::test]
async fn a_segment_after_the_requested_time_ends_the_restore_without_an_error() {
    let dir = TempDir::new();
    // The third commit has an earlier time than the second, as if the clock had been set back after
    // the second commit. A restore to a time between these two times must end before the second
    // commit.
    let (target, _) = put_backup(&dir, [1_000, 9_000, 3_000]).await;
    let rebuilt = rebuild_until(&dir, &target, 5_000).await.expect("a state");
    assert_eq!(rebuilt, Some(1_000));
}

#[tokio::test]
async fn a_damaged_segment_that_the_base_does_not_need_is_not_read() {
    let dir = TempDir::new();
    let (target, generation) = put_backup(&dir, [1_000, 2_000, 3_000]).await;
    put_base(&dir, &target, &generation, (1, 1_500)).await;
    for (number, at) in [(1, 1_000), (2, 2_000)] {
        let name = names::segment(&generation, number, Millis(at));
        target.put(&name, vec![0; 512].into()).await.expect("writable");
    }
    let error = rebuild_until(&dir, &target, i64::MAX).await.expect_err("a damaged segment");
    let ContinuousRestoreError::Damaged { until, .. } = error else { panic!("{error}") };
    let rebuilt = rebuild_until(&dir, &target, until.as_millisecond()).await;
    assert_eq!(rebuilt.expect("the base is intact"), Some(1_500));
}

/// Changes the description of the first base of a generation.
async fn change_base(
    target: &BackupTarget,
    generation: &Generation,
    change: impl FnOnce(&mut BaseBackup),
) {
    let name = names::base(generation, 0);
    let text = target.get(&name).await.expect("readable");
    let mut base: BaseBackup = serde_json::from_slice(&text).expect("a description");
    change(&mut base);
    let text = serde_json::to_vec(&base).expect("plain values");
    target.put(&name, text.into()).await.expect("writable");
}

#[tokio::test]
async fn the_newest_state_of_another_store_is_restored_only_with_a_time() {
    let dir = TempDir::new();
    let (target, lost) = put_backup(&dir, [1_000, 2_000, 3_000]).await;
    let new = Generation::after(Some(&lost), Millis(9_000));
    put_base(&dir, &target, &new, (0, 9_000)).await;
    let restore = async || restore(&target, dir.path(), None, None).await.expect_err("no store");
    change_base(&target, &lost, |base| base.store = Some("lost".to_owned())).await;
    let error = restore().await;
    assert!(matches!(error, ContinuousRestoreError::Restore(_)), "the store is unknown: {error}");
    change_base(&target, &new, |base| base.store = Some("new".to_owned())).await;
    let error = restore().await;
    let text = error.to_string();
    let ContinuousRestoreError::OtherStore { until, now, .. } = error else { panic!("{text}") };
    for (generation, until) in [(&lost, until), (&new, now)] {
        let advice = format!("to restore the store of {generation}, add --until {until}");
        assert!(text.contains(&advice), "{text}");
    }
    for (until, at) in [(until, 3_000), (now, 9_000)] {
        let rebuilt = rebuild_until(&dir, &target, until.as_millisecond()).await;
        assert_eq!(rebuilt.expect("a complete backup"), Some(at));
    }
    // After the store `lost` was restored, it also writes the newest generation, so the oldest and
    // the newest generation are from the same store.
    let restored = Generation::after(Some(&new), Millis(10_000));
    put_base(&dir, &target, &restored, (0, 10_000)).await;
    change_base(&target, &restored, |base| base.store = Some("lost".to_owned())).await;
    let error = restore().await;
    assert!(matches!(error, ContinuousRestoreError::Restore(_)), "{error}");
}

#[tokio::test]
async fn an_unencrypted_newest_state_of_an_encrypted_backup_needs_the_passphrase() {
    let dir = TempDir::new();
    let (target, encrypted) = put_backup(&dir, [1_000, 2_000, 3_000]).await;
    let forged = Generation::after(Some(&encrypted), Millis(9_000));
    put_base(&dir, &target, &forged, (0, 9_000)).await;
    let [key, files, hash] = ["a key", "files", "a hash"].map(str::to_owned);
    let encryption = crate::base::BaseEncryption { key, files, hash };
    change_base(&target, &encrypted, |base| base.encryption = Some(encryption)).await;
    let error = restore(&target, dir.path(), None, None).await.expect_err("no passphrase");
    assert!(matches!(error, ContinuousRestoreError::Encrypted), "{error}");
    let passphrase = SecretString::from("correct horse");
    let error = restore(&target, dir.path(), None, Some(&passphrase)).await;
    let error = error.expect_err("the newest state is not encrypted");
    assert!(matches!(error, ContinuousRestoreError::NotEncrypted(_)), "{error}");
}
