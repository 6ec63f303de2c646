//! Scenarios and checks for payments that are reversed at the provider's console or by the buyer's
//! bank. The sandbox provider cannot report that the shop has won a dispute, so no scenario
//! contains this case.

use serde_json::{Value, json};

use super::receiver::Event;
use super::retrying_client::RetryingClient;
use super::scenarios::{PurchaseOutcome, id, message, paid_for, pressed_at, refund};
use crate::crash_windows::client::PurchaseSpec;

/// The buyer whose payment is disputed by messages that the test signs in place of the sandbox.
const DISPUTED_BUYER: &str = "argued";
const PRICE: i64 = 10;

/// Pays with the button `pay` of the sandbox, and reverses the payment with the button `take`. If
/// `is_refunded` is true, an operator then refunds the order.
pub async fn taken_back(
    retrying_client: RetryingClient,
    buyer: &str,
    [pay, take]: [&str; 2],
    is_refunded: bool,
) -> Vec<PurchaseOutcome> {
    let (mut outcomes, session) = pressed_at(&retrying_client, buyer, "watch", pay).await;
    let state = retrying_client.press(&session.expect("enough units"), take).await;
    assert!(matches!(&*state, "returned" | "disputed"), "{buyer}: {state}");
    if is_refunded {
        let (spec, order) = outcomes.last().expect("an outcome").clone();
        let is_known = |order: &Value| {
            let mut history = order["history"].as_array().expect("a history").iter();
            history.any(|entry| entry["event"] == "payment.reversed")
        };
        retrying_client.until(&format!("/v1/admin/orders/{}", id(&order)), is_known).await;
        let order = refund(&retrying_client, id(&order)).await;
        outcomes.push((spec, order));
    }
    outcomes
}

/// Sends four messages about one dispute. The first is about a part of the amount, and the second
/// is about the whole amount. The third message repeats the first. The fourth message repeats the
/// second under another message id.
pub async fn dispute_scenario(retrying_client: RetryingClient) -> Vec<PurchaseOutcome> {
    let (spec, order) =
        paid_for(&retrying_client, PurchaseSpec::new(DISPUTED_BUYER, "k", "spring", 1), &["pay"])
            .await;
    let dispute = |minor: i64| {
        let amount = json!({"amount_minor": minor, "currency": "CNY"});
        let data = json!({"payment": order["payments"][0]["payment"], "order": order["id"], "amount": amount});
        json!({"type": "payment.disputed", "data": data})
    };
    let part = PRICE - 6;
    for (event, minor) in
        [("msg_part", part), ("msg_all", PRICE), ("msg_part", part), ("msg_again", PRICE)]
    {
        message(&retrying_client, event, &dispute(minor)).await;
    }
    vec![(spec, order)]
}

/// Returns how the sandbox names the reversal of this payment, or `None` if the payment was not
/// reversed.
pub fn reversal_kind(payment: &Value) -> Option<&str> {
    payment["refund"][0].as_str().filter(|word| matches!(*word, "returned" | "disputed"))
}

/// A reversed payment.
pub struct Reversal<'a> {
    row: &'a Value,
    /// The kind of the reversal: `returned` or `disputed`.
    kind: &'a str,
    /// The amount in each event about the reversal, in sequence.
    outcomes: Vec<i64>,
}

/// Returns the reversals that must exist: those that the sandbox reports in `sessions`, and the one
/// dispute whose messages the test signed and sent.
pub fn all<'a>(
    sessions: &'a [Value],
    payments: &'a [Value],
    outcomes: &[PurchaseOutcome],
) -> Vec<Reversal<'a>> {
    let (_, argued) =
        outcomes.iter().find(|(spec, _)| spec.buyer == DISPUTED_BUYER).expect("the disputed order");
    let made: Vec<&Value> = sessions
        .iter()
        .flat_map(|session| session["payments"].as_array().expect("a list"))
        .collect();
    let mut all = Vec::new();
    for row in payments {
        let by_itself = made
            .iter()
            .copied()
            .find(|payment| payment["id"] == row["payment"])
            .and_then(reversal_kind);
        let (kind, outcomes) = match by_itself {
            Some(kind) => (kind, vec![PRICE]),
            None if row["order"] == argued["id"] => ("disputed", vec![PRICE - 6, PRICE]),
            None => continue,
        };
        all.push(Reversal { row, kind, outcomes });
    }
    assert_eq!(all.len(), 5, "there must be one payment for each scenario: {payments:?}");
    all
}

impl Reversal<'_> {
    fn text(&self, name: &str) -> String {
        text(self.row, name)
    }

    /// Returns whether an operator must handle the reversal: its payment still counts as captured,
    /// or a disputed payment was also refunded.
    fn is_open(&self) -> bool {
        self.row["state"] == "captured" || self.kind == "disputed"
    }
}

/// Checks that each reversal has one event for each change, and that there is no other event.
pub fn announced(all: &[Reversal<'_>], received: &[Event]) {
    let received: Vec<&Value> =
        received.iter().filter_map(|event| event.reversal.as_ref()).collect();
    for Reversal { row, kind, outcomes } in all {
        let reversal = |minor: &i64| {
            let amount = json!({"amount_minor": minor, "currency": "CNY"});
            json!({"payment": row["payment"], "order": row["order"], "amount": amount, "kind": kind, "dispute": null,
                   "stands": true, "provider": "sandbox"})
        };
        let expected: Vec<Value> = outcomes.iter().map(reversal).collect();
        let mine = received.iter().filter(|outcomes| outcomes["payment"] == row["payment"]);
        let mine: Vec<Value> = mine.map(|outcomes| (*outcomes).clone()).collect();
        assert_eq!(mine, expected, "the events of the reversal are wrong");
    }
    let outcomes: usize = all.iter().map(|back| back.outcomes.len()).sum();
    assert_eq!(received.len(), outcomes, "{received:?}");
}

/// Checks that the reconciliation lists each open reversal and no other difference.
pub fn reconciled(all: &[Reversal<'_>], report: &Value) {
    let differences = report["differences"].as_array().expect("a list").iter();
    let mut found: Vec<[String; 4]> = differences
        .map(|row| ["kind", "order", "payment", "detail"].map(|name| text(row, name)))
        .collect();
    let difference = |back: &Reversal<'_>| {
        let (kind, state) = (back.kind, back.text("state"));
        let detail = format!("{PRICE} CNY of {PRICE} CNY is {kind}, the payment is {state}");
        ["reversed".to_owned(), back.text("order"), back.text("payment"), detail]
    };
    let mut expected: Vec<[String; 4]> =
        all.iter().filter(|back| back.is_open()).map(difference).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "{report}");
    assert_eq!(
        (&report["ok"], &report["complete"]),
        (&json!(expected.is_empty()), &json!(true)),
        "{report}"
    );
}

/// Checks that the audit's notices name each open reversal once, and name no other reversal.
pub fn noticed(all: &[Reversal<'_>], audit: &Value) {
    let notices = audit["notices"].as_array().expect("a list").iter();
    let notices =
        notices.filter(|row| matches!(row["kind"].as_str(), Some("returned" | "disputed")));
    let notice = |row: &Value| {
        let detail = text(row, "detail");
        let (subject, _) = detail
            .split_once(" in minor units")
            .unwrap_or_else(|| panic!("there is no amount in {row}"));
        [text(row, "kind"), text(row, "order"), subject.to_owned()]
    };
    let mut found: Vec<[String; 3]> = notices.map(notice).collect();
    let open = all.iter().filter(|back| back.is_open());
    let mut expected: Vec<[String; 3]> = open
        .map(|back| {
            [
                back.kind.to_owned(),
                back.text("order"),
                format!("payment {}: {PRICE} CNY", back.text("payment")),
            ]
        })
        .collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "{audit}");
}

fn text(row: &Value, name: &str) -> String {
    row[name].as_str().unwrap_or_else(|| panic!("{name} of {row}")).to_owned()
}
