//! Writes and reads the sandbox's messages. Another program with the sandbox's secret can send such
//! messages too. So this module checks strictly the JSON members that the server uses, and ignores
//! all other members.
use doorbuster_api::limits::ORDER_TEXT_CHARS_MAX;
use doorbuster_api::value::{Currency, Time};
use doorbuster_core::Millis;
use doorbuster_core::money::{
    Capture, Money, PaymentId, RefundId, RefundUpdate, ReversalKind, ReversalReport,
};
use serde_json::{Map, Value, json};

use super::NAME;
use crate::contract::{FailedPayment, MessageError, ProviderMessage};

/// The longest reason of a failed refund, in characters. The rest of a longer reason is cut off.
const REASON_CHARS_MAX: usize = 200;

pub(super) fn payment(kind: &str, at: Millis, payment: &str, order: &str, money: &Money) -> String {
    json!({
        "type": kind, "timestamp": time(at),
        "data": {"payment": payment, "order": order, "amount": amount(money)},
    })
    .to_string()
}

pub(super) fn refund_settled(
    at: Millis,
    payment: &str,
    order: &str,
    money: &Money,
    refund: &str,
) -> String {
    json!({
        "type": "refund.settled", "timestamp": time(at),
        "data": {"refund": refund, "payment": payment, "order": order, "amount": amount(money)},
    })
    .to_string()
}

fn time(at: Millis) -> String {
    Time::from_millis(at.0).to_string()
}

fn amount(money: &Money) -> Value {
    json!({"amount_minor": money.minor, "currency": money.currency})
}

/// Reads a message after its signature was verified.
pub(super) fn read(event: &str, body: &[u8]) -> Result<ProviderMessage, MessageError> {
    let root: Value = serde_json::from_slice(body)
        .map_err(|error| malformed(format!("the body is not JSON: {error}")))?;
    let root = root.as_object().ok_or_else(|| malformed("the body is not a JSON object"))?;
    let kind = root
        .get("type")
        .and_then(Value::as_str)
        .ok_or_else(|| malformed("type must be a string"))?;
    let kinds = [
        "payment.captured",
        "payment.failed",
        "payment.returned",
        "payment.disputed",
        "refund.settled",
        "refund.failed",
    ];
    if !kinds.contains(&kind) {
        return Ok(ProviderMessage::Unused);
    }
    let data = root
        .get("data")
        .and_then(Value::as_object)
        .ok_or_else(|| malformed("data must be an object"))?;
    let event = event.to_owned();
    match kind {
        "payment.captured" => Ok(ProviderMessage::Captured(Capture {
            event,
            provider: NAME.to_owned(),
            payment: PaymentId(required_text(data, "payment")?),
            order: required_text(data, "order")?,
            money: money(data)?.ok_or_else(|| malformed("data.amount is missing"))?,
        })),
        "payment.failed" => Ok(ProviderMessage::FailedPayment(FailedPayment {
            event,
            payment: required_text(data, "payment")?,
            order: required_text(data, "order")?,
            money: money(data)?,
            // The checkout stays open, because the buyer's next attempt may succeed.
            session: None,
        })),
        "payment.returned" => {
            let reversal = reversal(
                event,
                required_text(data, "payment")?,
                ReversalKind::Returned,
                money(data)?,
            );
            Ok(ProviderMessage::Reversed {
                reversal,
                order: optional_text(data, "order").ok().flatten(),
            })
        }
        "payment.disputed" => {
            let reversal = reversal(
                event,
                required_text(data, "payment")?,
                ReversalKind::Disputed,
                money(data)?,
            );
            Ok(ProviderMessage::Reversed {
                reversal,
                order: optional_text(data, "order").ok().flatten(),
            })
        }
        settled_or_failed => {
            let id = match optional_text(data, "refund")? {
                Some(id) => RefundId(id),
                None => RefundId::for_payment(&PaymentId(required_text(data, "payment")?)),
            };
            let update = match settled_or_failed {
                "refund.settled" => RefundUpdate::Settled,
                _ => {
                    let why = data
                        .get("reason")
                        .and_then(Value::as_str)
                        .unwrap_or("the provider reported that the refund failed");
                    RefundUpdate::Failed(
                        why.chars()
                            .filter(|char| !char.is_control())
                            .take(REASON_CHARS_MAX)
                            .collect(),
                    )
                }
            };
            let payment = optional_text(data, "payment")
                .ok()
                .flatten()
                .filter(|_| update == RefundUpdate::Settled);
            // These members are optional, so an invalid payment or amount counts as missing.
            let if_not_ours = payment.map(|payment| {
                reversal(event.clone(), payment, ReversalKind::Returned, money(data).ok().flatten())
            });
            Ok(ProviderMessage::Refund { event, id, update, if_not_ours })
        }
    }
}

fn reversal(
    event: String,
    payment: String,
    kind: ReversalKind,
    money: Option<Money>,
) -> ReversalReport {
    let (event, provider, payment) = (Some(event), NAME.to_owned(), PaymentId(payment));
    let (stands, reported_at, dispute) = (true, None, None);
    ReversalReport { event, provider, payment, kind, money, stands, reported_at, dispute }
}

fn malformed(why: impl Into<String>) -> MessageError {
    MessageError::Malformed(why.into())
}

fn required_text(data: &Map<String, Value>, name: &str) -> Result<String, MessageError> {
    optional_text(data, name)?.ok_or_else(|| malformed(format!("data.{name} is missing")))
}

fn optional_text(data: &Map<String, Value>, name: &str) -> Result<Option<String>, MessageError> {
    let Some(value) = data.get(name) else { return Ok(None) };
    let text = value.as_str().ok_or_else(|| malformed(format!("data.{name} must be a string")))?;
    let fits = (1..=ORDER_TEXT_CHARS_MAX).contains(&text.chars().count())
        && !text.chars().any(char::is_control);
    fits.then(|| Some(text.to_owned())).ok_or_else(|| {
        malformed(format!(
            "data.{name} must have 1 to {ORDER_TEXT_CHARS_MAX} characters and no control character"
        ))
    })
}

fn money(data: &Map<String, Value>) -> Result<Option<Money>, MessageError> {
    let Some(amount) = data.get("amount") else { return Ok(None) };
    let minor = amount.get("amount_minor").and_then(Value::as_i64).filter(|minor| *minor >= 0);
    let minor = minor.ok_or_else(|| {
        malformed("data.amount.amount_minor must be a whole number of minor units")
    })?;
    let currency = amount.get("currency").and_then(Value::as_str).and_then(Currency::parse);
    let currency =
        currency.ok_or_else(|| malformed("data.amount.currency must be three capital letters"))?;
    Ok(Some(Money { minor, currency: currency.as_str().to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yuan(minor: i64) -> Money {
        Money { minor, currency: "CNY".into() }
    }

    #[test]
    fn messages_that_the_sandbox_writes_can_be_read() {
        let at = Millis(1_795_000_000_123);
        let body = payment("payment.captured", at, "pay_1", "ord_x", &yuan(100));
        let Ok(ProviderMessage::Captured(capture)) = read("msg_1", body.as_bytes()) else {
            panic!("{body}")
        };
        assert_eq!(
            (capture.payment.0.as_str(), capture.order.as_str(), capture.money),
            ("pay_1", "ord_x", yuan(100))
        );
        let body = refund_settled(at, "pay_1", "ord_x", &yuan(100), "ref_1");
        let returned = |money| ReversalReport {
            event: Some("m".into()),
            provider: NAME.to_owned(),
            payment: PaymentId("pay_1".into()),
            kind: ReversalKind::Returned,
            money,
            stands: true,
            reported_at: None,
            dispute: None,
        };
        let settled = |id, money| ProviderMessage::Refund {
            event: "m".into(),
            id,
            update: RefundUpdate::Settled,
            if_not_ours: Some(returned(money)),
        };
        let expected = settled(RefundId("ref_1".into()), Some(yuan(100)));
        assert_eq!(read("m", body.as_bytes()), Ok(expected));
        let body = payment("payment.returned", at, "pay_1", "ord_x", &yuan(7));
        assert_eq!(
            read("m", body.as_bytes()),
            Ok(ProviderMessage::Reversed {
                reversal: returned(Some(yuan(7))),
                order: Some("ord_x".into())
            })
        );
        let by_payment = br#"{"type":"refund.settled","data":{"payment":"pay_1"}}"#;
        let id = RefundId::for_payment(&PaymentId("pay_1".into()));
        assert_eq!(read("m", by_payment), Ok(settled(id, None)));
        let failed =
            br#"{"type":"refund.failed","data":{"refund":"r","reason":"no\u0000t\n now"}}"#;
        let Ok(ProviderMessage::Refund { update, .. }) = read("m", failed) else {
            panic!("a refund")
        };
        assert_eq!(
            update,
            RefundUpdate::Failed("not now".to_owned()),
            "the reason must contain no NUL character, because PostgreSQL cannot store it"
        );
    }

    #[test]
    fn an_invalid_message_is_malformed_and_an_unknown_type_is_unused() {
        for wrong in [
            "",
            "[]",
            "7",
            "{",
            r#"{"type":7}"#,
            r#"{"data":{}}"#,
            r#"{"type":"payment.captured"}"#,
            r#"{"type":"payment.captured","data":[]}"#,
            r#"{"type":"payment.captured","data":{"order":"o","amount":{"amount_minor":1,"currency":"CNY"}}}"#,
            r#"{"type":"payment.captured","data":{"payment":"p","amount":{"amount_minor":1,"currency":"CNY"}}}"#,
            r#"{"type":"payment.captured","data":{"payment":"p","order":"o"}}"#,
            r#"{"type":"payment.captured","data":{"payment":"","order":"o","amount":{"amount_minor":1,"currency":"CNY"}}}"#,
            r#"{"type":"payment.captured","data":{"payment":7,"order":"o","amount":{"amount_minor":1,"currency":"CNY"}}}"#,
            r#"{"type":"payment.captured","data":{"payment":"p","order":"o","amount":{"amount_minor":1.5,"currency":"CNY"}}}"#,
            r#"{"type":"payment.captured","data":{"payment":"p","order":"o","amount":{"amount_minor":-1,"currency":"CNY"}}}"#,
            r#"{"type":"payment.captured","data":{"payment":"p","order":"o","amount":{"amount_minor":"1","currency":"CNY"}}}"#,
            r#"{"type":"payment.captured","data":{"payment":"p","order":"o","amount":{"amount_minor":1,"currency":"yuan"}}}"#,
            r#"{"type":"payment.captured","data":{"payment":"p","order":"o","amount":10}}"#,
            r#"{"type":"payment.captured","data":{"payment":"p","order":"o","amount":{"amount_minor":99999999999999999999,"currency":"CNY"}}}"#,
            r#"{"type":"refund.settled","data":{}}"#,
        ] {
            assert!(
                matches!(read("m", wrong.as_bytes()), Err(MessageError::Malformed(_))),
                "{wrong}"
            );
        }
        for unused in [r#"{"type":"customer.created"}"#, r#"{"type":"","data":7}"#] {
            assert_eq!(read("m", unused.as_bytes()), Ok(ProviderMessage::Unused), "{unused}");
        }
    }
}
