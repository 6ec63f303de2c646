//! `docs/events.md`, written from the types.

use std::fmt::Write as _;

use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::{PartialSchema, ToSchema};

use super::{
    EventType, ItemData, Notification, NotificationData, OrderData, PaymentData, RefusedData,
    ReversalData, SaleData, event_id,
};
use crate::admin::payments::{Payment, PaymentState, Refund, RefundCause};
use crate::order::{Order, OrderState};
use crate::value::Time;

const PAGE_HEAD: &str = "\
# Events

What a shop is told of. [webhooks.md](webhooks.md) says how messages arrive and how they are verified, [brokers.md](brokers.md) how RabbitMQ and NATS are told the
same. This page is written from the code by `cargo xtask events`.

Every message has this body:

| member | what it is |
|---|---|
| `id` | the event's id, `evt_`, 16 digits, `_` and 10 hex digits; the same for each attempt and each endpoint, and the header `webhook-id`: whoever has seen it need not look again |
| `type` | what happened: one of those below |
| `timestamp` | when it happened, RFC 3339 in UTC with milliseconds |
| `data` | what it happened to, by type |

Events about the same order, item or sale are told in the order in which they happened. Between different ones there is no order. New types and new
members may come; what stands here stays.
";

/// When the examples happened.
const EXAMPLE_MS: i64 = 1_795_168_842_000;

/// What is said of a type, its data and an example of them.
struct EventDoc {
    what: EventType,
    when: &'static str,
    schema: fn() -> Vec<(String, Value)>,
    example: fn(EventType) -> NotificationData,
}

const EVENT_DOCS: [EventDoc; 12] = [
    order(
        EventType::OrderReserved,
        "A request became an order, or a place in line did (`from_waitlist`); its units are held \
         until `pay_by`.",
    ),
    order(EventType::OrderPaid, "The order was paid, in time or late."),
    order(
        EventType::OrderCancelled,
        "The buyer or an operator gave it up before it was paid; its units went back on sale.",
    ),
    order(EventType::OrderExpired, "It was not paid in time; its units went back on sale."),
    order(
        EventType::OrderRefunded,
        "An operator refunded it: the money goes back, its units went back on sale.",
    ),
    order(
        EventType::OrderExtended,
        "An operator gave it more time: `pay_by` is later than it was.",
    ),
    EventDoc {
        what: EventType::OrderRefused,
        when: "A request that had an id, or a place in line, ended without an order. Requests that were refused at once are not told of.",
        schema: members::<RefusedData>,
        example: |_| NotificationData::Refused(RefusedData { order: example() }),
    },
    EventDoc {
        what: EventType::PaymentRefunded,
        when: "Money came that pays for no order (too late, another amount, a second time, an unknown order), and goes back. A refund of an order \
            is `order.refunded`.",
        schema: members::<PaymentData>,
        example: example_payment_data,
    },
    EventDoc {
        what: EventType::PaymentReversed,
        when: "Money went back that nobody here asked for: at the provider's own console, or by the buyer's bank; or it is there after all (`stands` is \
            `false`). The payment and its order are as they were, and what becomes of them is yours to say.",
        schema: members::<ReversalData>,
        example: |_| NotificationData::Reversal(ReversalData { reversal: example() }),
    },
    sale(EventType::SaleOpened, "A sale began to sell."),
    sale(EventType::SaleClosed, "A sale ended. Orders that wait for payment go on."),
    EventDoc {
        what: EventType::ItemSoldOut,
        when: "Every unit of the item is paid for: nothing is left and nothing is held.",
        schema: members::<ItemData>,
        example: |_| {
            NotificationData::Item(ItemData { sale: "spring".to_owned(), item: "phone".to_owned() })
        },
    },
];

const fn order(what: EventType, when: &'static str) -> EventDoc {
    EventDoc { what, when, schema: members::<OrderData>, example: example_order_data }
}

const fn sale(what: EventType, when: &'static str) -> EventDoc {
    let example = |_| NotificationData::Sale(SaleData { sale: "spring".to_owned() });
    EventDoc { what, when, schema: members::<SaleData>, example }
}

fn example_order_data(what: EventType) -> NotificationData {
    let at = |text: &str| Time::parse(text);
    let mut order: Order = example();
    let state = what.as_str().trim_start_matches("order.");
    // More time leaves it as it was.
    order.state = OrderState::parse(state).unwrap_or(OrderState::Reserved);
    match what {
        EventType::OrderPaid => order.paid_at = at("2026-11-20T10:00:42.000Z"),
        EventType::OrderCancelled => order.ended_at = at("2026-11-20T10:05:00.000Z"),
        EventType::OrderExpired => order.ended_at = at("2026-11-20T10:15:01.000Z"),
        EventType::OrderExtended => {
            order.pay_by = at("2026-11-20T10:25:00.123Z").unwrap_or(order.pay_by)
        }
        EventType::OrderRefunded => {
            order.paid_at = at("2026-11-20T10:00:42.000Z");
            order.ended_at = at("2026-11-20T12:00:00.000Z");
        }
        _ => {}
    }
    NotificationData::Order(OrderData { order, from_waitlist: None })
}

fn example_payment_data(_: EventType) -> NotificationData {
    let payment = Payment { state: PaymentState::Refunded, ..example() };
    let refund = Refund { cause: RefundCause::Late, ..example() };
    NotificationData::Payment(PaymentData { payment, refund })
}

/// The type's own example.
fn example<T: PartialSchema + DeserializeOwned>() -> T {
    let schema = serde_json::to_value(T::schema()).expect("a schema is plain data");
    let example =
        schema.pointer("/examples/0").cloned().expect("each of these types has an example");
    serde_json::from_value(example).expect("an example of it is one of it")
}

/// The schemas of `T` and of every type in it, by name.
fn members<T: ToSchema>() -> Vec<(String, Value)> {
    let mut schemas = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut schemas);
    let plain = |schema| serde_json::to_value(schema).expect("a schema is plain data");
    schemas.into_iter().map(|(name, schema)| (name, plain(schema))).collect()
}

/// The whole document.
#[must_use]
pub fn document() -> String {
    let mut text = PAGE_HEAD.to_owned();
    // Writing into a string cannot fail.
    let _ = writeln!(text, "\n| type | when | `data` |\n|---|---|---|");
    for told in &EVENT_DOCS {
        let schemas = (told.schema)();
        let names: Vec<String> =
            properties(&schemas[0].1).into_iter().map(|(name, _)| format!("`{name}`")).collect();
        let _ = writeln!(
            text,
            "| [`{0}`](#{1}) | {2} | {3} |",
            told.what.as_str(),
            anchor(told.what),
            told.when,
            names.join(", ")
        );
    }
    for told in &EVENT_DOCS {
        let what = told.what.as_str();
        let timestamp = Time::parse("2026-11-20T10:00:42.000Z").expect("a time");
        let message = Notification {
            id: &event_id(42, what, EXAMPLE_MS, what),
            what,
            timestamp,
            data: (told.example)(told.what),
        };
        let pretty = serde_json::to_string_pretty(&message).expect("plain data serialises");
        let _ = writeln!(text, "\n## {what}\n\n{}\n\n```json\n{pretty}\n```", told.when);
    }
    let _ = writeln!(text, "\n## Members\n");
    let mut all: Vec<(String, Value)> = Vec::new();
    for (name, schema) in EVENT_DOCS.iter().flat_map(|told| (told.schema)()) {
        if schema.get("properties").is_some() && !all.iter().any(|(known, _)| *known == name) {
            all.push((name, schema));
        }
    }
    for (name, schema) in &all {
        let _ = writeln!(text, "### {name}\n\n| member | type | what it is |\n|---|---|---|");
        for (member, schema) in properties(schema) {
            let words = schema.get("description").and_then(Value::as_str).unwrap_or_default();
            let _ = writeln!(
                text,
                "| `{member}` | {} | {} |",
                type_text(&schema),
                words.replace('\n', " ")
            );
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// Members in the order in which the type has them.
fn properties(schema: &Value) -> Vec<(String, Value)> {
    let members = schema.get("properties").and_then(Value::as_object);
    members.into_iter().flatten().map(|(name, schema)| (name.clone(), schema.clone())).collect()
}

/// What a member's value is, in a word or two.
fn type_text(schema: &Value) -> String {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        return format!("`{}`", name.rsplit('/').next().unwrap_or(name));
    }
    if let Some(any) = schema.get("oneOf").or_else(|| schema.get("allOf")).and_then(Value::as_array)
    {
        return any.iter().map(type_text).collect::<Vec<_>>().join(" or ");
    }
    match schema.get("type") {
        Some(Value::String(word)) => word.clone(),
        Some(Value::Array(words)) => {
            words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or ")
        }
        _ => "any".to_owned(),
    }
}

/// How a heading is linked to.
fn anchor(what: EventType) -> String {
    what.as_str().replace('.', "")
}
