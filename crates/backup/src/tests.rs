//! Tests continuous backups: writes to a target that fails, and the start and the end of a
//! generation.

use doorbuster_core::Millis;
use doorbuster_store::limits::COPY_BYTES_MAX;
use doorbuster_testkit::TempDir;

use super::*;

fn backup_to(dir: &TempDir, target: &str) -> ContinuousBackup {
    let place = BackupPlace::Directory(dir.path().join(target));
    ContinuousBackup {
        copy: CommitBuffer::default(),
        target: BackupTarget::open(&place).expect("valid settings"),
        data_dir: dir.path().to_owned(),
        files: Vec::new(),
        key: None,
        kept_for: Duration::from_secs(3_600),
        clock: Clock::default(),
    }
}

fn segment(number: u64, at: Millis) -> Segment {
    let pages = vec![(1, vec![0; 512].into_boxed_slice())];
    Segment { first: number, last: number, at, page_size: 512, pages_in_store: 1, pages }
}

#[tokio::test]
async fn a_failing_write_ends_once_the_server_has_dropped_pages() {
    let dir = TempDir::new();
    let backup = backup_to(&dir, "missing");
    let generation = Generation::after(None, Millis(0));
    let gap = Gap { since: Millis(0), failing: None };
    let mut run = GenerationRun::new(&backup, &generation, gap);
    let segment = segment(1, Millis(1));
    backup.copy.break_off();
    let written = timeout(Duration::from_secs(30), run.write(&segment, Millis(1))).await;
    assert_eq!(written, Ok(false), "the write must not be repeated");
    assert_eq!((backup.copy.progress().failures, run.segments), (1, 0));
    // The segment was not written, so its commits are not in the backup yet. The next generation
    // must report that commits have waited since the segment's time.
    let gap = run.fell_behind(Millis(1));
    assert!(gap.failing.is_some_and(|(_, failures)| failures == 1));
    let gap = Gap { since: gap.since, failing: None };
    assert_eq!(GenerationRun::new(&backup, &generation, gap).waiting_since(), Some(Millis(1)));
}

#[tokio::test]
async fn a_write_to_an_empty_disk_at_the_same_path_ends_so_that_a_new_generation_begins() {
    let dir = TempDir::new();
    let backup = backup_to(&dir, "disk");
    let generation = Generation::after(None, Millis(0));
    let gap = Gap { since: Millis(0), failing: None };
    let mut run = GenerationRun::new(&backup, &generation, gap);
    std::fs::create_dir(dir.path().join("disk")).expect("writable");
    let segment = segment(1, Millis(1));
    let written = timeout(Duration::from_secs(30), run.write(&segment, Millis(1))).await;
    assert_eq!(written, Ok(false), "the write must not be repeated");
    assert!(backup.copy.is_broken(), "the new generation must begin with a copy of the store");
}

#[test]
fn a_large_segment_may_be_written_for_longer_than_a_small_segment() {
    assert_eq!(write_within(1_000), WRITE_WITHIN);
    assert_eq!(write_within(COPY_BYTES_MAX), Duration::from_secs(74));
}

/// Files in the directories of older generations stay. A new generation does not read these
/// directories, because they may have so many files that a list takes too long.
#[tokio::test]
async fn a_new_generation_deletes_the_incomplete_files_of_the_newest_generation() {
    const PART: &str = "base-000000000000.sqlite.part";
    let dir = TempDir::new();
    let backup = backup_to(&dir, "target");
    let older = Generation::after(None, Millis(1));
    let newest = Generation::after(Some(&older), Millis(2));
    let [older, newest, other] = [older.to_string(), newest.to_string(), "other".to_owned()]
        .map(|generation| dir.path().join("target").join(generation));
    for generation in [&older, &newest, &other] {
        std::fs::create_dir_all(generation).expect("writable");
        std::fs::write(generation.join(PART), "a").expect("writable");
    }
    let next = backup.next_generation(None, &CancellationToken::new()).await;
    assert!(next.is_some());
    assert!(!newest.exists());
    assert!(older.join(PART).exists(), "the directory of an older generation must not be read");
    assert!(other.join(PART).exists(), "the files of other programs must stay");
}

#[tokio::test]
async fn the_next_generation_needs_only_the_names_of_the_generations() {
    let dir = TempDir::new();
    let backup = backup_to(&dir, "target");
    let [older, newest] = [Millis(1), Millis(i64::from(u32::MAX) * 1_000)]
        .map(|begun| Generation::after(None, begun));
    // The newest generation has no objects, so a list of objects would not show it.
    std::fs::create_dir_all(dir.path().join("target").join(newest.to_string())).expect("writable");
    let name = names::segment(&older, 1, Millis(2));
    backup.target.create_generation(&older).await.expect("writable");
    backup.target.put(&name, Bytes::from_static(b"pages")).await.expect("writable");
    let next = backup.next_generation(None, &CancellationToken::new()).await;
    let (next, _) = next.expect("the directory is readable");
    assert!(next > newest, "{next} must sort after {newest}");
}

#[tokio::test]
async fn a_missing_disk_is_reported_and_a_generation_begins_once_the_disk_is_there() {
    let dir = TempDir::new();
    let backup = backup_to(&dir, "disk/shop");
    let stop = CancellationToken::new();
    let next = backup.next_generation(None, &stop);
    let disk = async {
        while backup.copy.progress().failures == 0 {
            sleep(Duration::from_millis(10)).await;
        }
        assert!(!dir.path().join("disk").exists(), "the server must not create the mount point");
        std::fs::create_dir(dir.path().join("disk")).expect("writable");
    };
    let next = timeout(Duration::from_secs(30), async { tokio::join!(next, disk).0 }).await;
    let (generation, failing) = next.expect("a new attempt").expect("no stop");
    assert!(failing.is_some());
    assert!(dir.path().join("disk/shop").join(generation.to_string()).exists());
}

#[tokio::test]
async fn a_stop_before_the_first_base_is_complete_leaves_an_incomplete_backup() {
    let dir = TempDir::new();
    let backup = backup_to(&dir, "target");
    let generation = Generation::after(None, Millis(0));
    let gap = Gap { since: Millis(0), failing: None };
    let mut run = GenerationRun::new(&backup, &generation, gap);
    let error = backup.write_last(&mut run, &generation, None).await.expect_err("no base");
    assert_eq!(error, "the copy of the store was not complete");
    backup.copy.break_off();
    let error = backup.write_last(&mut run, &generation, None).await.expect_err("dropped pages");
    assert_eq!(error, "the backup fell behind and dropped changes");

    backup.copy.restart();
    backup.target.create_generation(&generation).await.expect("writable");
    // An empty file is an empty database for SQLite, so the copy of the store succeeds.
    std::fs::write(dir.path().join("doorbuster.sqlite3"), "").expect("writable");
    run.update_base().await;
    let copied = async {
        while !run.has_base().await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(30), copied).await.expect("the copy of the store is complete");
    assert_eq!(backup.write_last(&mut run, &generation, None).await, Ok(()));
}

#[tokio::test]
async fn a_base_that_cannot_be_made_stays_reported_while_segments_are_written() {
    let dir = TempDir::new();
    let backup = backup_to(&dir, "target");
    // This sparse file is larger than the disk, so there is no space for a copy of the file.
    let store = std::fs::File::create(dir.path().join("doorbuster.sqlite3")).expect("writable");
    store.set_len(1 << 42).expect("a sparse file");
    let generation = Generation::after(None, Millis(0));
    backup.target.create_generation(&generation).await.expect("writable");
    let gap = Gap { since: Millis(0), failing: None };
    let mut run = GenerationRun::new(&backup, &generation, gap);
    let failed = async {
        while backup.copy.progress().failures == 0 {
            run.update_base().await;
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(30), failed).await.expect("the copy is refused");
    let due_since = backup.copy.progress().base_due_since;
    assert!(due_since.is_some());
    assert!(run.write(&segment(1, Millis(1)), Millis(1)).await);
    run.update_base().await;
    assert_eq!(backup.copy.progress().base_due_since, due_since);
    let gap = run.fell_behind(Millis(1));
    assert!(gap.failing.is_none(), "the target did not fail");
}

#[tokio::test]
async fn old_objects_are_deleted_without_a_new_base() {
    let dir = TempDir::new();
    let backup = backup_to(&dir, "target");
    let [old, kept] = [Millis(1), Millis(2)].map(|begun| Generation::after(None, begun));
    for generation in [&old, &kept] {
        backup.target.create_generation(generation).await.expect("writable");
    }
    backup.target.put(&names::segment(&old, 1, Millis(1)), Bytes::new()).await.expect("writable");
    let base = base::BaseBackup {
        before: 0,
        complete: 0,
        begun: 2,
        at: 2,
        bytes: 0,
        hash: String::new(),
        files: Vec::new(),
        encryption: None,
        store: None,
    };
    let text = serde_json::to_vec(&base).expect("plain values");
    backup.target.put(&names::base(&kept, 0), text.into()).await.expect("writable");
    let generation = Generation::after(None, Millis(3));
    let gap = Gap { since: Millis(3), failing: None };
    let mut run = GenerationRun::new(&backup, &generation, gap);
    run.next_deletion = Instant::now();
    // The directory has no store, so no base can be made.
    run.update_base().await;
    let deleted = async {
        while dir.path().join("target").join(old.to_string()).exists() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(30), deleted).await.expect("the old generation is deleted");
    assert!(dir.path().join("target").join(kept.to_string()).exists());
}
