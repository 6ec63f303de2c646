//! Tests the JSON examples of `docs/api.md`. A comment above each example names a type. The tests
//! parse the example as this type, and check that the type writes the same JSON.

use doorbuster_api::admin::access_codes::{CodeCounts, CreatedCodes, NewCodes};
use doorbuster_api::admin::audit::Audit;
use doorbuster_api::admin::blocks::{Block, NewBlock};
use doorbuster_api::admin::console::{
    ActionList, Admissions, BuyerHistory, CheckReport, NewAdmissions, NodeList, RevokedCodes,
    Series, Session, SettingList,
};
use doorbuster_api::admin::dead_letters::{
    BulkDeadLetterResolution, DeadLetter, DeadLetterDetail, DeadLetterResolution, Discard,
};
use doorbuster_api::admin::erasures::{Erasure, NewErasure};
use doorbuster_api::admin::export::Reconciliation;
use doorbuster_api::admin::keys::{CreatedKey, NewKey};
use doorbuster_api::admin::new_sale::NewSale;
use doorbuster_api::admin::order::{AnyOrderDetail, OrderDetail};
use doorbuster_api::admin::payments::{Extension, Payment, Reason, Refund};
use doorbuster_api::admin::sale::AdminSale;
use doorbuster_api::admin::sale_patch::SalePatch;
use doorbuster_api::admin::spread::Spread;
use doorbuster_api::admin::stats::Stats;
use doorbuster_api::admin::stock::{Adjustment, SlotList, StockRow};
use doorbuster_api::admin::webhooks::{
    CreatedWebhookEndpoint, Delivery, NewWebhookEndpoint, Redelivery, SecretRotation,
    WebhookEndpoint,
};
use doorbuster_api::body::Purchase;
use doorbuster_api::buyer_session::BuyerSession;
use doorbuster_api::event::Event;
use doorbuster_api::gate::{
    Challenge, ChallengeRequest, Draw, NewPass, NewWaitingRoomPosition, Pass, WaitingRoomPosition,
};
use doorbuster_api::health::Health;
use doorbuster_api::order::{AnyOrder, History, Order, QueuedOrder, RefusedOrder, WaitingOrder};
use doorbuster_api::payment::{Checkout, OrderLink, PaymentEvent, PaymentEventResult};
use doorbuster_api::problem::{Problem, ProblemBody};
use doorbuster_api::push::NewPushSubscription;
use doorbuster_api::report::{AnswerLine, DemoReport};
use doorbuster_api::sale::{Sale, Status};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::page::page;

/// Returns the JSON examples, each with the type's name from the comment above it.
fn examples(page: &str) -> Vec<(String, String)> {
    let mut blocks = page.split("```json\n");
    let mut before = blocks.next().unwrap_or_default();
    let mut examples = Vec::new();
    for block in blocks {
        let (json, after) = block.split_once("```").expect("a block of code must have an end");
        let comment = before.trim_end().lines().last().unwrap_or_default();
        let shape =
            comment.strip_prefix("<!-- shape: ").and_then(|comment| comment.strip_suffix(" -->"));
        examples.push((shape.expect("every example needs a shape").to_owned(), json.to_owned()));
        before = after;
    }
    examples
}

/// Checks that the type writes the same JSON that it parsed.
fn check<T: Serialize + DeserializeOwned>(json: &str) {
    let read: T = serde_json::from_str(json).expect(json);
    same(&read, json);
}

fn check_request<'a, T: Serialize>(
    read: impl FnOnce(&'a [u8]) -> Result<T, Problem>,
    json: &'a str,
) {
    match read(json.as_bytes()) {
        Ok(request) => same(&request, json),
        Err(problem) => panic!("{json}\n{:?}", problem.faults()),
    }
}

fn same(value: &impl Serialize, json: &str) {
    let expected: Value = serde_json::from_str(json).expect("the example must be valid JSON");
    assert_eq!(serde_json::to_value(value).expect("plain data serialises"), expected);
}

#[test]
fn every_example_is_read_and_written_unchanged_by_its_type() {
    for (shape, json) in examples(&page()) {
        let json = json.as_str();
        match shape.as_str() {
            "Problem" => check::<ProblemBody<'static>>(json),
            "Order" => {
                check::<Order>(json);
                check::<AnyOrder>(json);
            }
            "QueuedOrder" => check::<QueuedOrder>(json),
            "RefusedOrder" => check::<RefusedOrder>(json),
            "WaitingOrder" => {
                check::<WaitingOrder>(json);
                check::<AnyOrder>(json);
                check::<AnyOrderDetail>(json);
            }
            "OrderDetail" => {
                check::<OrderDetail>(json);
                check::<AnyOrderDetail>(json);
            }
            "Sale" => check::<Sale>(json),
            "Status" => check::<Status>(json),
            "Event" => check::<Event>(json),
            "WaitingRoomPosition" => check::<WaitingRoomPosition>(json),
            "Draw" => check::<Draw>(json),
            "AdminSale" => check::<AdminSale>(json),
            "StockRow" => check::<StockRow>(json),
            "SlotList" => check::<SlotList>(json),
            "Stats" => check::<Stats>(json),
            "Audit" => check::<Audit>(json),
            "Reconciliation" => check::<Reconciliation>(json),
            "CreatedKey" => check::<CreatedKey>(json),
            "Health" => check::<Health>(json),
            "DemoReport" => check::<DemoReport>(json),
            "AnswerLine" => check::<AnswerLine>(json),
            "Challenge" => check::<Challenge>(json),
            "NewWaitingRoomPosition" => check_request(NewWaitingRoomPosition::from_json, json),
            "ChallengeRequest" => check_request(ChallengeRequest::from_json, json),
            "NewPass" => check_request(NewPass::from_json, json),
            "Pass" => check::<Pass>(json),
            "NewCodes" => check_request(NewCodes::from_json, json),
            "CreatedCodes" => check::<CreatedCodes>(json),
            "CodeCounts" => check::<CodeCounts>(json),
            "Purchase" => check_request(Purchase::from_json, json),
            "NewSale" => check_request(NewSale::from_json, json),
            "Adjustment" => check_request(Adjustment::from_json, json),
            "Spread" => check_request(Spread::from_json, json),
            "Checkout" => check::<Checkout>(json),
            "OrderLink" => check::<OrderLink>(json),
            "NewPushSubscription" => check_request(NewPushSubscription::from_json, json),
            "History" => check::<History>(json),
            "Payment" => check::<Payment>(json),
            "Refund" => check::<Refund>(json),
            "PaymentEvent" => check::<PaymentEvent>(json),
            "PaymentEventResult" => check::<PaymentEventResult>(json),
            "Reason" => check_request(Reason::from_json, json),
            "Extension" => {
                check_request(|bytes| Extension::from_json(bytes).map(|read| read.1), json)
            }
            _ => operating(shape.as_str(), json),
        }
    }
}

fn operating(shape: &str, json: &str) {
    match shape {
        "NewWebhookEndpoint" => check_request(NewWebhookEndpoint::from_json, json),
        "CreatedWebhookEndpoint" => check::<CreatedWebhookEndpoint>(json),
        "WebhookEndpoint" => check::<WebhookEndpoint>(json),
        "SecretRotation" => check_request(SecretRotation::from_json, json),
        "Delivery" => check::<Delivery>(json),
        "Redelivery" => check_request(Redelivery::from_json, json),
        "DeadLetter" => check::<DeadLetter>(json),
        "DeadLetterDetail" => check::<DeadLetterDetail>(json),
        "Discard" => check_request(Discard::from_json, json),
        "BulkDeadLetterResolution" => check::<BulkDeadLetterResolution>(json),
        "DeadLetterResolution" => check::<DeadLetterResolution>(json),
        "NewBlock" => check_request(NewBlock::from_json, json),
        "Block" => check::<Block>(json),
        "NewErasure" => check_request(NewErasure::from_json, json),
        "Erasure" => check::<Erasure>(json),
        "Session" => check::<Session>(json),
        "BuyerSession" => check::<BuyerSession>(json),
        "ActionList" => check::<ActionList>(json),
        "NodeList" => check::<NodeList>(json),
        "Series" => check::<Series>(json),
        "BuyerHistory" => check::<BuyerHistory>(json),
        "CheckReport" => check::<CheckReport>(json),
        "NewAdmissions" => check_request(NewAdmissions::from_json, json),
        "Admissions" => check::<Admissions>(json),
        "SettingList" => check::<SettingList>(json),
        "RevokedCodes" => check::<RevokedCodes>(json),
        "NewKey" => check_request(NewKey::from_json, json),
        // `SalePatch` cannot be written as JSON, so this test only reads it.
        "SalePatch" => assert!(SalePatch::from_json(json.as_bytes()).is_ok(), "{json}"),
        other => panic!("no type is called {other}"),
    }
}
