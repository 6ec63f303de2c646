//! Tests a change of an item's total: which effects it requests, in which sequence, and when it is
//! refused.
use super::*;

const START: Millis = Millis(10_000);

fn after(ms: i64) -> Millis {
    START.plus(ms)
}

#[test]
fn a_change_that_the_store_decides_ends() {
    let (mut steps, first) = TotalChange::begin(3, START);
    assert_eq!(first, Effect::Adjust);
    assert_eq!(steps.next(Input::Adjusted(None), START), Effect::Finish);
}

#[test]
fn missing_units_are_recalled_and_the_change_is_tried_again() {
    let (mut steps, _) = TotalChange::begin(5, START);
    assert_eq!(steps.next(Input::Adjusted(Some(2)), START), Effect::ReadFree);
    assert_eq!(steps.next(Input::Free(5), START), Effect::Recall(3));
    assert_eq!(steps.next(Input::Recalled(3), after(20)), Effect::Adjust);
    assert_eq!(steps.next(Input::Adjusted(None), after(20)), Effect::Finish);
}

#[test]
fn a_change_that_takes_more_than_is_free_is_refused_at_once() {
    let (mut steps, _) = TotalChange::begin(5, START);
    steps.next(Input::Adjusted(Some(2)), START);
    assert_eq!(steps.next(Input::Free(4), START), Effect::Refuse(4));
}

#[test]
fn tickets_in_flight_get_time_to_return_their_units() {
    let (mut steps, _) = TotalChange::begin(5, START);
    steps.next(Input::Adjusted(Some(2)), START);
    steps.next(Input::Free(6), START);
    assert_eq!(steps.next(Input::Recalled(0), after(300)), Effect::Wait(700));
    assert_eq!(steps.next(Input::Waited, after(400)), Effect::Adjust);
    assert_eq!(steps.next(Input::Adjusted(Some(2)), after(400)), Effect::ReadFree);
    steps.next(Input::Free(6), after(400));
    assert_eq!(steps.next(Input::Recalled(0), after(WAIT_MAX_MS)), Effect::Adjust);
    // After the wait, the units of unsettled tickets do not count as free.
    let last = after(WAIT_MAX_MS);
    assert_eq!(steps.next(Input::Adjusted(Some(2)), last), Effect::CountFree);
    assert_eq!(steps.next(Input::Free(2), last), Effect::Refuse(2));
}

#[test]
fn a_refusal_never_names_as_many_free_units_as_the_change_takes() {
    let (mut steps, _) = TotalChange::begin(5, START);
    steps.next(Input::Adjusted(Some(2)), START);
    steps.next(Input::Free(6), START);
    let last = after(WAIT_MAX_MS);
    steps.next(Input::Recalled(1), last);
    assert_eq!(steps.next(Input::Adjusted(Some(3)), last), Effect::CountFree);
    assert_eq!(steps.next(Input::Free(8), last), Effect::Refuse(4));
}
