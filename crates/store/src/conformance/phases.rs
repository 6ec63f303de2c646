//! Tests the phases of a sale.
use doorbuster_core::sale::{Phase, PhaseStep, StepRequest, TimedStep};
use doorbuster_core::{Millis, Stock};

use super::sales::create;
use super::{Fixture, new_item, new_sale};
use crate::contract::StepOutcome;

/// A sale passes through its phases. A repeated step changes nothing.
pub async fn a_sale_walks_through_its_phases(fixture: Fixture) {
    create(&fixture, "spring").await;
    let step = async |step| fixture.store.step_sale("spring", step).await.expect("writes");
    assert_eq!(step(PhaseStep::Pause).await, StepOutcome::WrongState(Phase::Draft));
    let walk = [
        (PhaseStep::Schedule, Phase::Scheduled),
        (PhaseStep::Open, Phase::Open),
        (PhaseStep::Pause, Phase::Paused),
    ];
    let walk = walk
        .into_iter()
        .chain([(PhaseStep::Resume, Phase::Open), (PhaseStep::Close, Phase::Closed)]);
    let mut version = 1;
    for (next, phase) in walk {
        fixture.clock.advance(1_000);
        version += 1;
        for changed in [true, false] {
            let StepOutcome::Done { sale, changed: moved } = step(next).await else {
                panic!("{next:?}")
            };
            assert_eq!((sale.phase, sale.version, moved), (phase, version, changed));
        }
    }
    let closed = fixture.store.sale("spring").await.expect("reads").expect("created");
    assert_eq!(
        closed.opened_at,
        Some(closed.created_at.plus(2_000)),
        "the sale must keep the time of its first opening"
    );
    assert_eq!(closed.closed_at, Some(closed.created_at.plus(5_000)));
    assert_eq!(step(PhaseStep::Open).await, StepOutcome::WrongState(Phase::Closed));
    let none = fixture.store.step_sale("autumn", PhaseStep::Open).await.expect("writes");
    assert_eq!(none, StepOutcome::NotFound);
}

/// After a drain, the phase changes only if nothing else has changed the sale since the drain
/// began.
pub async fn a_drained_sale_that_changed_keeps_its_phase(fixture: Fixture) {
    let store = &fixture.store;
    create(&fixture, "spring").await;
    store.step_sale("spring", PhaseStep::Open).await.expect("writes");
    let drain = async || store.drain_sale("spring", 60_000).await.expect("writes");
    let close = async |announced| {
        let close = StepRequest::Now(PhaseStep::Close);
        store.step_drained_sale("spring", close, announced).await.expect("writes")
    };
    let announced = drain().await;
    let others = announced.is_some();
    // Another operator pauses and resumes the sale. The slots then sell again, so the drain no
    // longer counts.
    for step in [PhaseStep::Pause, PhaseStep::Resume] {
        store.step_sale("spring", step).await.expect("writes");
    }
    let before = store.sale("spring").await.expect("reads").expect("created");
    if others {
        assert_eq!(close(announced).await, None);
        assert_eq!(store.sale("spring").await.expect("reads"), Some(before.clone()));
    }
    // Another node cancels a second drain. All nodes then sell again, so the second drain does not
    // count either.
    let announced = drain().await;
    store.cancel_drain("spring").await.expect("writes");
    if others {
        assert_eq!(close(announced).await, None);
    }
    let before = store.sale("spring").await.expect("reads").expect("created");
    assert_eq!(before.draining_until, None);
    store.cancel_drain("spring").await.expect("writes");
    let announced = drain().await;
    assert_eq!(announced, others.then_some(before.version), "a drain must not change the version");
    let closed = close(announced).await;
    let is_closed = |outcome: &Option<StepOutcome>, by_this_call| {
        matches!(outcome, Some(StepOutcome::Done { sale, changed })
            if sale.phase == Phase::Closed && *changed == by_this_call)
    };
    assert!(is_closed(&closed, true), "{closed:?}");
    // A second request to close the sale needs no new drain.
    let again = close(announced).await;
    assert!(is_closed(&again, false), "{again:?}");
    assert_eq!(store.drain_sale("autumn", 60_000).await.expect("writes"), None);
    store.cancel_drain("autumn").await.expect("writes");
}

/// A timed step changes nothing if the sale is a draft, or if an operator has changed the step's
/// time.
pub async fn a_timed_step_that_is_not_needed_changes_nothing(fixture: Fixture) {
    let store = &fixture.store;
    let (start, end) = (fixture.clock.now(), fixture.clock.now().plus(60_000));
    let mut sale = new_sale("spring", vec![new_item("item", Stock::Counted(5), 2)]);
    (sale.starts_at, sale.ends_at) = (Some(start), Some(end));
    store.create_sale(sale).await.expect("writes").expect("a free id");
    let step = async |step, at: Millis| {
        let timed = StepRequest::Timed(TimedStep { step, at });
        match store.step_drained_sale("spring", timed, None).await.expect("writes") {
            Some(StepOutcome::Done { sale, changed }) => (sale.phase, changed),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(step(PhaseStep::Open, start).await, (Phase::Draft, false), "the sale is a draft");
    store.step_sale("spring", PhaseStep::Schedule).await.expect("writes");
    let earlier = start.plus(-1_000);
    assert_eq!(step(PhaseStep::Open, earlier).await, (Phase::Scheduled, false));
    assert_eq!(step(PhaseStep::Open, start).await, (Phase::Open, true));
    assert_eq!(step(PhaseStep::Close, end.plus(-1_000)).await, (Phase::Open, false));
    assert_eq!(step(PhaseStep::Close, end).await, (Phase::Closed, true));
}
