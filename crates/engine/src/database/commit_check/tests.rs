//! Tests how often checks begin, when a check makes a node unready, and what the metrics show.

use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::{advance, sleep};

use super::*;

fn success() -> impl Future<Output = Result<(), String>> + Send + 'static {
    ready(Ok(()))
}

fn failure() -> impl Future<Output = Result<(), String>> + Send + 'static {
    ready(Err("the disk is full".to_owned()))
}

#[tokio::test(start_paused = true)]
async fn all_callers_share_one_commit_a_second() {
    let (check, commits) = (CommitCheck::default(), Arc::new(AtomicU32::new(0)));
    for _ in 0..100 {
        let commits = commits.clone();
        let commit = async move {
            commits.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        assert_eq!(CommitCheck::wait(check.begin_with(commit)).await, None);
        advance(Duration::from_millis(30)).await;
    }
    assert_eq!(commits.load(Ordering::Relaxed), 3, "3 s are over");
}

#[tokio::test(start_paused = true)]
async fn only_the_second_failure_in_a_row_makes_a_node_unready() {
    let check = CommitCheck::default();
    assert_eq!(CommitCheck::wait(check.begin_with(failure())).await, None);
    assert!(!check.is_failing());
    advance(RESULT_MAX_AGE).await;
    assert_eq!(CommitCheck::wait(check.begin_with(success())).await, None);
    advance(RESULT_MAX_AGE).await;
    assert_eq!(CommitCheck::wait(check.begin_with(failure())).await, None);
    advance(RESULT_MAX_AGE).await;
    let reason = CommitCheck::wait(check.begin_with(failure())).await;
    assert_eq!(reason.as_deref(), Some("the disk is full"));
    assert!(check.is_failing());
}

#[tokio::test(start_paused = true)]
async fn a_stall_of_a_second_does_not_make_a_node_unready_and_a_longer_one_does() {
    let check = CommitCheck::default();
    let slow = async {
        sleep(Duration::from_secs(1)).await;
        Ok(())
    };
    assert_eq!(CommitCheck::wait(check.begin_with(slow)).await, None);
    advance(RESULT_MAX_AGE).await;
    let reason = CommitCheck::wait(check.begin_with(pending())).await;
    assert_eq!(reason.as_deref(), Some(STORE_STALLED));
    let reason = CommitCheck::wait(check.begin_with(success())).await;
    assert_eq!(reason.as_deref(), Some(STORE_STALLED));
}

#[tokio::test(start_paused = true)]
async fn the_metrics_count_a_commit_that_has_not_returned() {
    let check = CommitCheck::default();
    assert_eq!((check.duration(), check.progress()), (None, None));
    let slow = async {
        sleep(Duration::from_secs(3)).await;
        Err("no answer".to_owned())
    };
    drop(check.begin_with(slow));
    for seconds in 1..3 {
        sleep(RESULT_MAX_AGE).await;
        let expected = Duration::from_secs(seconds);
        assert_eq!(check.duration(), Some(expected));
        assert_eq!(check.progress(), Some(CommitProgress::Running(expected)));
    }
    sleep(RESULT_MAX_AGE * 2).await;
    let took = Duration::from_secs(3);
    assert_eq!((check.duration(), check.progress()), (Some(took), Some(CommitProgress::Failed)));
    // The test begins another check, whose commit never returns. The earlier check's duration is
    // the minimum, so the alarm for slow commits continues.
    drop(check.begin_with(pending()));
    assert_eq!(check.duration(), Some(took));
    sleep(RESULT_MAX_AGE * 5).await;
    assert_eq!(check.duration(), Some(RESULT_MAX_AGE * 5));
}
