//! Tests that the statistics of a sale are recorded.

use doorbuster_config::{Flags, load};
use doorbuster_core::sale::PhaseStep;
use doorbuster_store::NewSale;
use doorbuster_testkit::TempDir;

use super::*;
use crate::tests::{app, sale};

/// Starts an app that records no statistics by itself.
async fn silent_app(dir: &TempDir) -> Arc<App> {
    let flags = Flags { data_dir: Some(dir.path().to_owned()), ..Flags::default() };
    let secret = "a secret of the shop, long enough for anyone";
    let setting = ("DOORBUSTER_AUTH__BUYER_SECRET".into(), secret.into());
    let settings = load(&flags, [setting]).expect("valid settings");
    app(dir, &settings, 100).await
}

#[test]
fn a_minute_has_the_counts_of_its_seconds_and_their_largest_queue() {
    let second = |at: i64, node, point: &StepCounts| SaleSeriesRow {
        sale: "spring".to_owned(),
        step: PointStep::Second,
        at: Millis(at),
        node: NodeId(node),
        point: point.to_json(),
    };
    let seconds = [
        second(60_000, 1, &point(&[("reserved", 2)], &[(3, 2)], 2)),
        second(60_000, 2, &point(&[("sold_out", 1)], &[], 7)),
        second(119_000, 1, &point(&[("reserved", 1)], &[(3, 1)], 1)),
        second(119_000, 2, &point(&[("sold_out", 3)], &[], 7)),
        second(120_000, 1, &point(&[("reserved", 1)], &[], 3)),
    ];
    let minutes = minutes_of(&seconds);
    let keys: Vec<_> = minutes.iter().map(|row| (row.at.0, row.node.0, row.step)).collect();
    let minute = PointStep::Minute;
    assert_eq!(keys, [(60_000, 1, minute), (60_000, 2, minute), (120_000, 1, minute)]);
    let of = |at: usize| StepCounts::parse(&minutes[at].point);
    let first = point(&[("reserved", 3)], &[(3, 3)], 1);
    assert_eq!(of(0), StepCounts { queue_depth: 2, peak: 1, ..first });
    assert_eq!(
        of(0).peak + of(1).peak,
        4,
        "the peaks must be from the busiest second of both nodes together"
    );
    assert_eq!(minutes_of(&[]), []);
}

#[test]
fn a_second_is_recorded_once_even_if_the_clock_is_slewed_or_set_back() {
    assert!(is_next(Millis(9_000), Millis(10_000)));
    assert!(!is_next(Millis(9_000), Millis(9_000)));
    assert!(!is_next(Millis(9_000), Millis(8_000)));
    assert!(is_next(Millis(90_000), Millis(9_000)));
}

#[test]
fn the_recording_waits_for_the_next_whole_second() {
    for (now, millis) in [(10_000, 1_000), (10_001, 999), (10_999, 1), (-1, 1)] {
        assert_eq!(until_next_second(Millis(now)), Duration::from_millis(millis), "{now}");
    }
}

#[test]
fn a_step_starts_at_a_multiple_of_its_length() {
    assert_eq!(start_of(Millis(61_999), PointStep::Second), Millis(61_000));
    assert_eq!(start_of(Millis(61_999), PointStep::Minute), Millis(60_000));
    assert_eq!(start_of(Millis(-1), PointStep::Second), Millis(-1_000));
}

#[tokio::test]
async fn a_minute_grows_by_a_second_that_arrives_late() {
    let dir = TempDir::new();
    let app = silent_app(&dir).await;
    let (store, now) = (app.node.store(), app.node.now());
    let from = start_of(now, PointStep::Minute).plus(-2 * MINUTE_MS);
    let to = from.plus(MINUTE_MS);
    for (late_ms, reserved) in [(0, 2), (1_000, 5)] {
        let second = SaleSeriesRow {
            sale: "spring".to_owned(),
            step: PointStep::Second,
            at: from.plus(late_ms),
            node: NodeId(2),
            point: point(&[("reserved", reserved)], &[], 0).to_json(),
        };
        store.insert_points(vec![second]).await.expect("writes");
        app.sum_minutes(now, MINUTE_MS, (from, to)).await.expect("writes");
    }
    let query = PointQuery { sale: "spring".to_owned(), step: PointStep::Minute, from, to };
    let minutes = store.points(query).await.expect("reads");
    assert_eq!(StepCounts::parse(&minutes[0].point).answers["reserved"], 7);
    app.stock.stop_node().await;
}

#[tokio::test]
async fn requests_from_before_the_recording_of_a_sale_are_not_recorded() {
    let dir = TempDir::new();
    let app = silent_app(&dir).await;
    let now = app.node.now();
    let starts_at = Some(now.plus(2 * BEFORE_OPENING_MS));
    let summer = NewSale { starts_at, ..sale("summer", 100, "CNY") };
    let created = app.sales.create_sale(summer).await.expect("the store is available");
    created.expect("the sale's id is free");
    let step = async |step: PhaseStep| {
        app.sales.step_sale("summer", step).await.expect("the store is available");
    };
    let refuse = |kind: AnswerKind| {
        let summer = app.node.catalogue().sale("summer").cloned().expect("the sale was created");
        summer.runtime.answer_counts.count(kind);
    };
    let recorded = async |secs: i64| {
        app.record_seconds(now.plus(secs * 1_000)).await;
        let (from, to) = (now.plus(-MINUTE_MS), now.plus(MINUTE_MS));
        let sale = "summer".to_owned();
        let query = PointQuery { sale, step: PointStep::Second, from, to };
        let seconds = app.node.store().points(query).await.expect("reads");
        seconds.iter().map(|row| StepCounts::parse(&row.point).requests()).sum::<u64>()
    };
    step(PhaseStep::Schedule).await;
    refuse(AnswerKind::NotStarted);
    assert_eq!(recorded(1).await, 0);
    step(PhaseStep::Open).await;
    assert_eq!(recorded(2).await, 0);
    refuse(AnswerKind::SoldOut);
    assert_eq!(recorded(3).await, 1);
    app.stock.stop_node().await;
}

#[test]
fn a_sale_is_recorded_from_an_hour_before_its_opening_until_a_minute_after_its_close() {
    let now = Millis(100 * MINUTE_MS);
    let recorded = |phase, starts_at: i64, closed_at: Option<i64>| {
        let row = SaleRow {
            id: "spring".into(),
            title: "Spring drop".into(),
            phase,
            starts_at: Some(now.plus(starts_at * 1_000)),
            ends_at: None,
            front_door: "{}".into(),
            page: String::new(),
            version: 1,
            created_at: Millis(0),
            opened_at: None,
            closed_at: closed_at.map(|secs| now.plus(secs * 1_000)),
            draining_until: None,
            items: Vec::new(),
        };
        is_recorded(&row, now, RECORDED_AFTER_CLOSE_MS)
    };
    assert!(recorded(Phase::Scheduled, 50 * 60, None));
    assert!(!recorded(Phase::Scheduled, 70 * 60, None));
    assert!(!recorded(Phase::Draft, 50 * 60, None));
    for phase in [Phase::Open, Phase::Paused] {
        assert!(recorded(phase, -7 * 86_400, None), "{phase:?}");
    }
    assert!(recorded(Phase::Closed, -3_600, Some(-60)));
    assert!(!recorded(Phase::Closed, -3_600, Some(-61)));
}
