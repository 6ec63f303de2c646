//! Tests the effects that a late payment's steps request, their sequence, and when the payment
//! stops waiting.
use super::*;

const START: Millis = Millis(10_000);

fn after(ms: i64) -> Millis {
    START.plus(ms)
}

#[test]
fn missing_units_are_recalled_and_the_payment_is_tried_again() {
    let (mut steps, first) = LatePayment::begin(START);
    assert_eq!(first, Effect::Capture { is_last: false });
    assert_eq!(steps.next(Input::Captured(Some(2)), START), Effect::Recall(2));
    let again = steps.next(Input::Recalled(Some(2)), after(20));
    assert_eq!(again, Effect::Capture { is_last: false });
    assert_eq!(steps.next(Input::Captured(None), after(20)), Effect::Finish);
}

#[test]
fn a_payment_waits_for_units_that_may_return_and_then_uses_only_the_pool() {
    let (mut steps, _) = LatePayment::begin(START);
    steps.next(Input::Captured(Some(2)), START);
    assert_eq!(steps.next(Input::Recalled(Some(0)), after(300)), Effect::Wait(700));
    assert_eq!(steps.next(Input::Waited, after(400)), Effect::Capture { is_last: false });
    steps.next(Input::Captured(Some(1)), after(400));
    assert_eq!(steps.next(Input::Recalled(Some(0)), after(999)), Effect::Wait(1));
    let last = after(WAIT_MAX_MS);
    assert_eq!(steps.next(Input::Waited, last), Effect::Capture { is_last: true });
}

#[test]
fn a_payment_does_not_wait_for_slots_that_do_not_answer() {
    let (mut steps, _) = LatePayment::begin(START);
    steps.next(Input::Captured(Some(2)), START);
    assert_eq!(steps.next(Input::Recalled(None), after(5)), Effect::Capture { is_last: true });
}

#[test]
fn a_slow_recall_also_ends_the_wait() {
    let (mut steps, _) = LatePayment::begin(START);
    steps.next(Input::Captured(Some(2)), START);
    let last = after(WAIT_MAX_MS);
    assert_eq!(steps.next(Input::Recalled(Some(1)), last), Effect::Capture { is_last: true });
}
