//! Generates `docs/events.md` from the event types.

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

This page lists the events that Doorbuster sends to a shop. [webhooks.md](webhooks.md) says how
messages arrive and how to verify them. [brokers.md](brokers.md) says how RabbitMQ and NATS receive
the same events. `cargo xtask events` generates this page from the code.

Every message has this body:

| member | meaning |
|---|---|
| `id` | the event's id: `evt_`, 16 digits, `_` and 10 hexadecimal digits. The id is the same for each attempt and each endpoint, and equals the header `webhook-id`. Ignore a message whose id you have handled. |
| `type` | one of the types below |
| `timestamp` | the time of the event, RFC 3339 in UTC with milliseconds |
| `data` | depends on the type |

Events about the same order, item or sale arrive in the sequence of the changes. Events about
different orders may arrive in any sequence. New versions may add types and members, but do not
change or remove the types and members below.
";

/// The time of the examples, in milliseconds since 1970.
const EXAMPLE_MS: i64 = 1_795_168_842_000;

struct EventDoc {
    what: EventType,
    when: &'static str,
    schema: fn() -> Vec<(String, Value)>,
    example: fn(EventType) -> NotificationData,
}

const EVENT_DOCS: [EventDoc; 12] = [
    order(
        EventType::OrderReserved,
        "A request or a waitlist entry became an order. The order's units are held until `pay_by`. \
         `from_waitlist` is `true` if the order is from the waitlist.",
    ),
    order(EventType::OrderPaid, "The order was paid, in time or late."),
    order(
        EventType::OrderCancelled,
        "The buyer or an operator cancelled the order before it was paid. \
         The order's units are on sale again.",
    ),
    order(
        EventType::OrderExpired,
        "The order was not paid in time. The order's units are on sale again.",
    ),
    order(
        EventType::OrderRefunded,
        "An operator refunded the order. The money goes back, and the order's units are on sale again.",
    ),
    order(
        EventType::OrderExtended,
        "An operator gave the order more time. `pay_by` is later than before.",
    ),
    EventDoc {
        what: EventType::OrderRefused,
        when: "A queued request or a waitlist entry ended without an order. \
               Requests that are refused at once send no event.",
        schema: members::<RefusedData>,
        example: |_| NotificationData::Refused(RefusedData { order: example() }),
    },
    EventDoc {
        what: EventType::PaymentRefunded,
        when: "The server refunds a payment that does not pay for any order. The payment was too late, \
               had the wrong amount, was a second payment, or named an unknown order. \
               If an operator refunds an order, the event is `order.refunded`.",
        schema: members::<PaymentData>,
        example: example_payment_data,
    },
    EventDoc {
        what: EventType::PaymentReversed,
        when: "Money went back although the shop did not request it. Someone refunded the payment at the \
               provider's console, or the buyer's bank took the money back. \
               With `stands: false` the reversal was cancelled, and the shop has the money. \
               The payment and its order do not change. \
               The shop decides what happens to the payment and the order.",
        schema: members::<ReversalData>,
        example: |_| NotificationData::Reversal(ReversalData { reversal: example() }),
    },
    sale(EventType::SaleOpened, "The sale opened."),
    sale(EventType::SaleClosed, "The sale closed. Orders that wait for payment keep their holds."),
    EventDoc {
        what: EventType::ItemSoldOut,
        when: "Every unit of the item is paid. No unit is free or held.",
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
    // `extended` is not a state of an order: after `order.extended`, the order is still reserved.
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
    let key = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
    let link = (what == EventType::OrderReserved)
        .then(|| format!("https://shop.example/order/{}#key={key}", order.id));
    NotificationData::Order(OrderData { order, from_waitlist: None, link })
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
        schema.pointer("/examples/0").cloned().expect("each of these types must have an example");
    serde_json::from_value(example).expect("an example must parse as its own type")
}

/// Returns the name and the schema of `T`, and of every type in `T`.
fn members<T: ToSchema>() -> Vec<(String, Value)> {
    let mut schemas = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut schemas);
    let plain = |schema| serde_json::to_value(schema).expect("a schema is plain data");
    schemas.into_iter().map(|(name, schema)| (name, plain(schema))).collect()
}

/// The text of `docs/events.md`.
#[must_use]
pub fn document() -> String {
    let mut text = PAGE_HEAD.to_owned();
    let _ = writeln!(text, "\n| type | when | `data` |\n|---|---|---|");
    for event_doc in &EVENT_DOCS {
        let schemas = (event_doc.schema)();
        let names: Vec<String> =
            properties(&schemas[0].1).into_iter().map(|(name, _)| format!("`{name}`")).collect();
        let _ = writeln!(
            text,
            "| [`{0}`](#{1}) | {2} | {3} |",
            event_doc.what.as_str(),
            anchor(event_doc.what),
            event_doc.when,
            names.join(", ")
        );
    }
    for event_doc in &EVENT_DOCS {
        let what = event_doc.what.as_str();
        let timestamp = Time::parse("2026-11-20T10:00:42.000Z").expect("a time");
        let message = Notification {
            id: &event_id(42, what, EXAMPLE_MS, what),
            what,
            timestamp,
            data: (event_doc.example)(event_doc.what),
        };
        let pretty = serde_json::to_string_pretty(&message).expect("plain data serialises");
        let when = event_doc.when.replace(". ", ".\n");
        let _ = writeln!(text, "\n## {what}\n\n{when}\n\n```json\n{pretty}\n```");
    }
    let _ = writeln!(text, "\n## Members\n");
    let mut all: Vec<(String, Value)> = Vec::new();
    for (name, schema) in EVENT_DOCS.iter().flat_map(|event_doc| (event_doc.schema)()) {
        if schema.get("properties").is_some() && !all.iter().any(|(known, _)| *known == name) {
            all.push((name, schema));
        }
    }
    for (name, schema) in &all {
        let _ = writeln!(text, "### {name}\n\n| member | type | meaning |\n|---|---|---|");
        for (member, schema) in properties(schema) {
            let words = description(&schema);
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

/// Returns the description of a member. In the schema of an optional member, the description is
/// beside `oneOf`, or in an item of `oneOf`.
fn description(schema: &Value) -> &str {
    let own = schema.get("description").and_then(Value::as_str);
    let any = schema.get("oneOf").and_then(Value::as_array);
    own.or_else(|| {
        any.into_iter().flatten().find_map(|item| item.get("description").and_then(Value::as_str))
    })
    .unwrap_or_default()
}

/// Sorted by name.
fn properties(schema: &Value) -> Vec<(String, Value)> {
    let members = schema.get("properties").and_then(Value::as_object);
    members.into_iter().flatten().map(|(name, schema)| (name.clone(), schema.clone())).collect()
}

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

fn anchor(what: EventType) -> String {
    what.as_str().replace('.', "")
}
