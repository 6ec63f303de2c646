//! Verifies Stripe's signatures (`Stripe-Signature: t=…,v1=…`), and reads the events that this
//! server uses.
use doorbuster_api::limits::ORDER_TEXT_CHARS_MAX;
use doorbuster_api::value::Currency;
use doorbuster_base::signing::{SigningKey, TOLERANCE_MS};
use doorbuster_core::Millis;
use doorbuster_core::money::{
    Capture, Money, PaymentId, RefundId, RefundUpdate, ReversalKind, ReversalReport,
};
use http::HeaderMap;
use serde_json::Value;

use super::api::{NAME, REFUND_RECHECK_MS};
use crate::contract::{FailedPayment, MessageError, ProviderMessage};

const SIGNATURE_HEADER: &str = "stripe-signature";
/// At most this many signatures of one event are checked.
const SIGNATURES_MAX: usize = 16;
/// The metadata entry that contains this installation's mark.
const INSTALLATION_KEY: &str = "doorbuster";

/// Checks that one of `keys` signed this event, and that the time of the signature is near `now`.
pub(super) fn verify(
    headers: &HeaderMap,
    body: &[u8],
    keys: &[SigningKey],
    now: Millis,
) -> Result<(), MessageError> {
    let unproved = |why: &str| MessageError::Unverified(why.to_owned());
    let mut values = headers.get_all(SIGNATURE_HEADER).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(unproved("the request must have exactly one Stripe-Signature header"));
    };
    let text = value.to_str().map_err(|_| unproved("Stripe-Signature is not ASCII"))?;
    let parts = || text.split(',').filter_map(|part| part.trim().split_once('='));
    let mut times = parts().filter(|(name, _)| *name == "t").map(|(_, value)| value);
    let (Some(time), None) = (times.next(), times.next()) else {
        return Err(unproved("Stripe-Signature must have exactly one time (t=)"));
    };
    let is_number =
        (1..=12).contains(&time.len()) && time.bytes().all(|byte| byte.is_ascii_digit());
    let at_secs: i64 = time
        .parse()
        .ok()
        .filter(|_| is_number)
        .ok_or_else(|| unproved("the time in Stripe-Signature is not a number"))?;
    if now.0.abs_diff(at_secs * 1_000) > TOLERANCE_MS.unsigned_abs() {
        return Err(unproved("the time in Stripe-Signature is too old or too new"));
    }
    let message = [time.as_bytes(), b".", body].concat();
    let offered = parts().filter(|(name, _)| *name == "v1").take(SIGNATURES_MAX);
    let mut proofs = offered.filter_map(|(_, digits)| bytes(digits));
    match proofs.any(|proof| keys.iter().any(|key| key.verifies(&message, &proof))) {
        true => Ok(()),
        false => Err(unproved("no signature matches")),
    }
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [a, b] => {
                Some((char::from(*a).to_digit(16)? << 4 | char::from(*b).to_digit(16)?) as u8)
            }
            _ => None,
        })
        .collect()
}

/// Reads an event whose signature was verified. Ignores sessions without this installation's mark.
pub(super) fn read(body: &[u8], mark: &str) -> Result<ProviderMessage, MessageError> {
    let wrong = |why: &str| MessageError::Malformed(why.to_owned());
    let root: Value = serde_json::from_slice(body)
        .map_err(|error| wrong(&format!("the body is not JSON: {error}")))?;
    let word =
        |name: &str| root[name].as_str().ok_or_else(|| wrong(&format!("{name} must be a string")));
    let (event, kind, object) = (word("id")?, word("type")?, &root["data"]["object"]);
    if kind.starts_with("checkout.session.") && !is_ours(object, mark) {
        return Ok(ProviderMessage::Unused);
    }
    let at = root["created"].as_i64().and_then(|secs| secs.checked_mul(1_000)).map(Millis);
    match kind {
        "checkout.session.completed" | "checkout.session.async_payment_succeeded" => {
            // If the payment is pending, Stripe sends another event when the money arrives.
            if !matches!(object["payment_status"].as_str(), Some("paid" | "no_payment_required")) {
                return Ok(ProviderMessage::Unused);
            }
            read_capture(object, event).map(ProviderMessage::Captured).map_err(|why| wrong(&why))
        }
        "checkout.session.async_payment_failed" => {
            let Capture { event, payment, order, money, .. } =
                read_capture(object, event).map_err(|why| wrong(&why))?;
            let session = object["id"].as_str().map(str::to_owned);
            Ok(ProviderMessage::FailedPayment(FailedPayment {
                event,
                payment: payment.0,
                order,
                money: Some(money),
                session,
            }))
        }
        "checkout.session.expired" => {
            let session =
                object["id"].as_str().ok_or_else(|| wrong("data.object.id must be a string"))?;
            Ok(ProviderMessage::Closed {
                order: order_id(object).unwrap_or_default(),
                session: session.to_owned(),
            })
        }
        "refund.created" | "refund.updated" | "refund.failed" | "charge.refund.updated" => {
            let (event, update) = (event.to_owned(), refund_update(object));
            if let Some(id) = object["metadata"]["refund"].as_str() {
                // A refund may return only a part of the payment, so `update` has the amount that
                // arrived.
                let is_settled = update == RefundUpdate::Settled;
                let arrived = object["amount"].as_i64().filter(|_| is_settled);
                let update = arrived.map_or(update, RefundUpdate::Arrived);
                return Ok(ProviderMessage::Refund {
                    event,
                    id: RefundId(id.to_owned()),
                    update,
                    if_not_ours: None,
                });
            }
            // A person made this refund at Stripe. It may cover only a part of the payment.
            let Some(payment) = object["payment_intent"].as_str() else {
                return Ok(ProviderMessage::Unused);
            };
            let lost = matches!(update, RefundUpdate::CameBack(_));
            let id = RefundId::for_payment(&PaymentId(payment.to_owned()));
            let (said, kind) = (Some((event.as_str(), at)), ReversalKind::Returned);
            let if_not_ours = read_reversal(object, said, kind, "amount", !lost);
            Ok(ProviderMessage::Refund {
                event,
                id,
                update: RefundUpdate::CheckAgain { lost },
                if_not_ours,
            })
        }
        // If this installation requested the refund, the store ignores this event.
        "charge.refunded" => {
            // Stripe copies the payment's metadata to a charge, but not to refunds and disputes.
            let order = order_id(object).filter(|_| is_ours(object, mark));
            let (event, kind) = (Some((event, at)), ReversalKind::Returned);
            Ok(reversal_message(read_reversal(object, event, kind, "amount_refunded", true), order))
        }
        kind if kind.starts_with("charge.dispute.") => {
            let stands =
                !matches!(object["status"].as_str(), Some("won" | "warning_closed" | "prevented"));
            let dispute = object["id"].as_str().map(without_control_chars);
            let (event, kind) = (Some((event, at)), ReversalKind::Disputed);
            let back = read_reversal(object, event, kind, "amount", stands);
            Ok(reversal_message(back.map(|back| ReversalReport { dispute, ..back }), None))
        }
        _ => Ok(ProviderMessage::Unused),
    }
}

fn reversal_message(back: Option<ReversalReport>, order: Option<String>) -> ProviderMessage {
    back.map_or(ProviderMessage::Unused, |reversal| ProviderMessage::Reversed { reversal, order })
}

/// Reads the reversal that a charge, a refund or a dispute reports. `amount` names the JSON member
/// with the amount. `event` is the id and the time of the event, if there is one.
fn read_reversal(
    object: &Value,
    event: Option<(&str, Option<Millis>)>,
    kind: ReversalKind,
    amount: &str,
    stands: bool,
) -> Option<ReversalReport> {
    let currency = object["currency"]
        .as_str()
        .map(str::to_ascii_uppercase)
        .filter(|c| Currency::parse(c).is_some());
    let money = object[amount].as_i64().filter(|minor| *minor >= 0).zip(currency);
    Some(ReversalReport {
        event: event.map(|(id, _)| id.to_owned()),
        reported_at: event.and_then(|(_, at)| at),
        provider: NAME.to_owned(),
        payment: PaymentId(without_control_chars(object["payment_intent"].as_str()?)),
        kind,
        money: money.map(|(minor, currency)| Money { minor, currency }),
        stands,
        dispute: None,
    })
}

/// Returns the refund of a charge, or `None` if no part of the charge was refunded.
pub(super) fn returned_money(charge: &Value, at: Millis) -> Option<ReversalReport> {
    let back = read_reversal(charge, None, ReversalKind::Returned, "amount_refunded", true)?;
    let is_returned = back.money.as_ref().is_some_and(|money| money.minor > 0);
    is_returned.then_some(ReversalReport { reported_at: Some(at), ..back })
}

pub(super) fn read_capture(session: &Value, event: &str) -> Result<Capture, String> {
    let text = |value: Option<String>, name: &str| {
        let is_short = |text: &String| (1..=ORDER_TEXT_CHARS_MAX).contains(&text.chars().count());
        let fits = |text: &String| is_short(text) && !text.chars().any(char::is_control);
        value.filter(fits).ok_or_else(|| format!("data.object.{name} cannot be used"))
    };
    // Stripe writes the payment's id here, or the whole payment if the query asked for it.
    let payment = &session["payment_intent"];
    let payment = payment.as_str().or_else(|| payment["id"].as_str());
    let minor = session["amount_total"].as_i64().filter(|minor| *minor >= 0);
    // A free session has no payment, so the session's id is used as the payment's id.
    let payment =
        payment.or_else(|| session["id"].as_str().filter(|_| minor == Some(0))).map(str::to_owned);
    let currency = session["currency"]
        .as_str()
        .map(str::to_ascii_uppercase)
        .filter(|c| Currency::parse(c).is_some());
    Ok(Capture {
        event: event.to_owned(),
        provider: NAME.to_owned(),
        payment: PaymentId(text(payment, "payment_intent")?),
        order: text(order_id(session), "client_reference_id")?,
        money: Money {
            minor: minor.ok_or("data.object.amount_total cannot be used")?,
            currency: text(currency, "currency")?,
        },
    })
}

fn order_id(session: &Value) -> Option<String> {
    let named =
        session["client_reference_id"].as_str().or_else(|| session["metadata"]["order"].as_str());
    named.map(str::to_owned)
}

/// Removes control characters, because PostgreSQL cannot store NUL. Cuts off a text that is too
/// long.
fn without_control_chars(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(ORDER_TEXT_CHARS_MAX).collect()
}

/// Returns whether this installation made the session. Other shops may use the same account.
fn is_ours(session: &Value, mark: &str) -> bool {
    session["metadata"][INSTALLATION_KEY].as_str() == Some(mark)
}

pub(super) fn refund_update(refund: &Value) -> RefundUpdate {
    match refund["status"].as_str() {
        Some("succeeded") => RefundUpdate::Settled,
        Some("failed" | "canceled") => {
            let why = refund["failure_reason"].as_str().unwrap_or("no reason given");
            RefundUpdate::CameBack(format!(
                "Stripe's refund failed: {}",
                without_control_chars(why)
            ))
        }
        // The refund is pending, or waits for a person at Stripe or at the bank.
        _ => RefundUpdate::Accepted { again_ms: REFUND_RECHECK_MS },
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_signature_is_valid_for_its_body_its_time_and_its_secret() {
        // Stripe's official Python library created `GOOD` for t=1795000000, the body {"id":"evt_1"}
        // and the secret whsec_test.
        let keys = [SigningKey::new(b"whsec_new"), SigningKey::new(b"whsec_test")];
        let now = Millis(1_795_000_000_000);
        let check = |header: Option<&str>, body: &str, now: Millis, expected: bool| {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert(SIGNATURE_HEADER, HeaderValue::from_str(header).expect("ASCII"));
            }
            assert_eq!(
                verify(&headers, body.as_bytes(), &keys, now).is_ok(),
                expected,
                "{header:?} {body}"
            );
        };
        let body = r#"{"id":"evt_1"}"#;
        let good = GOOD;
        let old = good.replace("1795000000", "1794999999");
        check(Some(good), body, now, true);
        check(Some(good), body, now.plus(300_000), true);
        check(Some(&format!("{good},v1=00,v0=1")), body, now, true);
        check(Some(good), body, now.plus(300_001), false);
        check(Some(good), body, now.plus(-300_001), false);
        check(Some(good), r#"{"id":"evt_2"}"#, now, false);
        check(Some(&old), body, now, false);
        for wrong in [
            "",
            "t=1795000000",
            "v1=00",
            "t=,v1=00",
            "t=1795000000,v1=",
            "t=1795000000,v1=zz",
            "t=1795000000,t=1,v1=0",
        ] {
            check(Some(wrong), body, now, false);
        }
        check(None, body, now, false);
    }

    const GOOD: &str =
        "t=1795000000,v1=9768205fbb644a6a645cdd13f225c6791ed91580e4d16c14b9a8e73cd4ba4393";

    #[test]
    fn sessions_and_refunds_are_read_and_unknown_events_are_unused() {
        let session = json!({
            "id": "cs_1", "client_reference_id": "ord_x", "payment_intent": "pi_1", "amount_total": 100, "currency": "cny",
            "payment_status": "paid", "status": "complete", "metadata": {"doorbuster": "m1"},
        });
        let event = |kind: &str, object: &Value| {
            read(
                json!({"id": "evt_1", "type": kind, "data": {"object": object}})
                    .to_string()
                    .as_bytes(),
                "m1",
            )
        };
        let Ok(ProviderMessage::Captured(paid)) = event("checkout.session.completed", &session)
        else {
            panic!("captured")
        };
        let money = Money { minor: 100, currency: "CNY".into() };
        assert_eq!(
            (paid.payment.0.as_str(), paid.order.as_str(), &paid.money),
            ("pi_1", "ord_x", &money)
        );
        let mut unpaid = session.clone();
        unpaid["payment_status"] = json!("unpaid");
        assert_eq!(event("checkout.session.completed", &unpaid), Ok(ProviderMessage::Unused));
        assert!(matches!(
            event("checkout.session.async_payment_failed", &unpaid),
            Ok(ProviderMessage::FailedPayment(_))
        ));
        let mut broken = session.clone();
        broken["amount_total"] = json!("100");
        assert!(matches!(
            event("checkout.session.completed", &broken),
            Err(MessageError::Malformed(_))
        ));
        let closed = ProviderMessage::Closed { order: "ord_x".into(), session: "cs_1".into() };
        assert_eq!(event("checkout.session.expired", &session), Ok(closed));
        let refund = json!({"id": "re_1", "payment_intent": "pi_1", "status": "succeeded"});
        let id = RefundId::for_payment(&PaymentId("pi_1".into()));
        let Ok(ProviderMessage::Refund {
            id: found,
            update: RefundUpdate::CheckAgain { lost: false },
            if_not_ours,
            ..
        }) = event("refund.updated", &refund)
        else {
            panic!("a refund that a person made")
        };
        assert_eq!((found, if_not_ours.expect("a reversal").money), (id, None));
        let mut ours = refund.clone();
        ours["metadata"] = json!({"refund": "ref_1"});
        let settled = |message| {
            let Ok(ProviderMessage::Refund { if_not_ours, update, .. }) = message else {
                return false;
            };
            if_not_ours.is_none() && update == RefundUpdate::Settled
        };
        assert!(settled(event("refund.updated", &ours)));
        ours["amount"] = json!(12);
        let Ok(ProviderMessage::Refund { update, .. }) = event("refund.updated", &ours) else {
            panic!("ours")
        };
        assert_eq!(update, RefundUpdate::Arrived(12));
        let charge = json!({"id": "ch_1", "payment_intent": "pi_1", "amount": 100, "amount_refunded": 40, "currency": "cny"});
        let Ok(ProviderMessage::Reversed { reversal: back, order: None }) =
            event("charge.refunded", &charge)
        else {
            panic!("a reversal")
        };
        assert_eq!(
            (back.payment.0.as_str(), back.money.map(|money| money.minor)),
            ("pi_1", Some(40))
        );
        for (status, stands) in [("needs_response", true), ("lost", true), ("won", false)] {
            let dispute = json!({"id": "dp_1", "payment_intent": "pi_1", "amount": 100, "currency": "cny", "status": status});
            let Ok(ProviderMessage::Reversed { reversal: back, .. }) =
                event("charge.dispute.closed", &dispute)
            else {
                panic!("{status}")
            };
            assert_eq!((back.kind, back.stands), (ReversalKind::Disputed, stands), "{status}");
        }
        assert_eq!(
            event("charge.dispute.created", &json!({"payment_intent": null})),
            Ok(ProviderMessage::Unused)
        );
        assert_eq!(event("customer.created", &json!({})), Ok(ProviderMessage::Unused));
        assert!(matches!(read(b"[]", "m1"), Err(MessageError::Malformed(_))));
    }

    #[test]
    fn a_session_of_another_installation_is_ignored_and_a_free_session_is_its_own_payment() {
        let event = |kind: &str, object: &Value| {
            read(
                json!({"id": "evt_1", "type": kind, "data": {"object": object}})
                    .to_string()
                    .as_bytes(),
                "m1",
            )
        };
        let mut session = json!({
            "id": "cs_1", "client_reference_id": "cart_1", "payment_intent": null, "amount_total": 0, "currency": "cny",
            "payment_status": "no_payment_required", "status": "complete", "metadata": {"doorbuster": "m2"},
        });
        let kinds = ["completed", "async_payment_succeeded", "async_payment_failed", "expired"];
        for (metadata, mode) in [
            (json!({"doorbuster": "m2"}), "payment"),
            (json!({}), "setup"),
            (Value::Null, "subscription"),
        ] {
            (session["metadata"], session["mode"]) = (metadata, json!(mode));
            for kind in kinds {
                assert_eq!(
                    event(&format!("checkout.session.{kind}"), &session),
                    Ok(ProviderMessage::Unused),
                    "{kind}: {session}"
                );
            }
        }
        session["metadata"] = json!({"doorbuster": "m1"});
        let Ok(ProviderMessage::Captured(paid)) = event("checkout.session.completed", &session)
        else {
            panic!("captured")
        };
        assert_eq!((paid.payment.0.as_str(), paid.money.minor), ("cs_1", 0));
        session["amount_total"] = json!(1);
        assert!(
            matches!(
                event("checkout.session.completed", &session),
                Err(MessageError::Malformed(_))
            ),
            "a session with a price must have a payment"
        );
        session["client_reference_id"] = json!("a\u{0}b");
        session["amount_total"] = json!(0);
        assert!(
            matches!(
                event("checkout.session.completed", &session),
                Err(MessageError::Malformed(_))
            ),
            "an order id must not contain a control character"
        );
        let failed = json!({"id": "re_1", "payment_intent": "pi_1", "status": "failed", "failure_reason": "lost\u{0}card", "metadata": {"refund": "ref_1"}});
        let Ok(ProviderMessage::Refund { update, .. }) = event("refund.failed", &failed) else {
            panic!("a refund")
        };
        assert_eq!(update, RefundUpdate::CameBack("Stripe's refund failed: lostcard".to_owned()));
    }
}
