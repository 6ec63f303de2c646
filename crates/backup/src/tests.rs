//! Tests the writes of segments to a target that fails.

use doorbuster_core::Millis;
use doorbuster_store::limits::COPY_BYTES_MAX;
use doorbuster_testkit::TempDir;

use super::*;

#[tokio::test]
async fn a_failing_write_ends_once_the_server_has_dropped_pages() {
    let dir = TempDir::new();
    let place = BackupPlace::Directory(dir.path().join("missing"));
    let backup = ContinuousBackup {
        copy: CommitBuffer::default(),
        target: BackupTarget::open(&place).expect("valid settings"),
        data_dir: dir.path().to_owned(),
        files: Vec::new(),
        key: None,
        kept_for: Duration::from_secs(3_600),
        clock: Clock::default(),
    };
    let generation = Generation::after(None, Millis(0));
    let gap = Gap { since: Millis(0), failing: None };
    let mut run = GenerationRun::new(&backup, &generation, gap);
    let segment = Segment {
        first: 1,
        last: 1,
        at: Millis(1),
        page_size: 512,
        pages_in_store: 1,
        pages: vec![(1, vec![0; 512].into_boxed_slice())],
    };
    backup.copy.break_off();
    let written = timeout(Duration::from_secs(30), run.write(&segment, Millis(1))).await;
    assert_eq!(written, Ok(false), "the write must not be repeated");
    assert_eq!((backup.copy.progress().failures, run.segments), (1, 0));
    // The next generation still lacks the commits of the segment.
    let gap = run.fell_behind(Millis(1));
    assert!(gap.failing.is_some_and(|(_, failures)| failures == 1));
    let gap = Gap { since: gap.since, failing: None };
    assert_eq!(GenerationRun::new(&backup, &generation, gap).waiting_since(), Some(Millis(1)));
}

#[test]
fn a_large_segment_may_be_written_for_longer_than_a_small_segment() {
    assert_eq!(write_within(1_000), WRITE_WITHIN);
    assert_eq!(write_within(COPY_BYTES_MAX), Duration::from_secs(74));
}
