//! Decides, without IO, what a response means for a buyer. Most responses are refusals, so a fast
//! text search finds the refusal's `code`.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;

use super::response::Head;

/// A final answer as the buyer received it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct FinalAnswer<'a> {
    /// The status of the response to the purchase. If the verdict came later, this is `202`.
    pub status: u16,
    /// The refusal's code, or `None` for an order or for a response without a code.
    pub code: Option<Cow<'a, str>>,
    /// The order's id.
    pub id: Option<Cow<'a, str>>,
    /// The order's state.
    pub state: Option<Cow<'a, str>>,
}

impl FinalAnswer<'_> {
    /// Returns the name under which the report counts this answer: a refusal's code, an order's
    /// state, or `http_` and the status.
    pub fn kind(&self) -> Cow<'_, str> {
        match (&self.code, &self.state) {
            (Some(code), _) => Cow::Borrowed(code),
            (None, Some(state)) => Cow::Borrowed(state),
            (None, None) => Cow::Owned(format!("http_{}", self.status)),
        }
    }
}

/// The next step after an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AnswerDecision<'a> {
    /// The answer is final, so the buyer sends no further request.
    Final(FinalAnswer<'a>),
    /// The purchase is queued. The buyer polls for the verdict under this id.
    Queued {
        /// The id of the ticket. If the ticket becomes an order, the order has the same id.
        id: Cow<'a, str>,
        decide_by: Timestamp,
    },
    /// The server is overloaded or failed. Send the same request again later.
    Retry {
        /// The pause that the server asks for.
        after: Option<Duration>,
        status: u16,
    },
    /// The answer violates the contract.
    Malformed(&'static str),
}

#[derive(serde::Deserialize)]
struct OrderView<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    state: Cow<'a, str>,
    #[serde(borrow, default)]
    sale: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    item: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    buyer: Option<Cow<'a, str>>,
    #[serde(default)]
    units: Option<u32>,
    #[serde(borrow, default)]
    code: Option<Cow<'a, str>>,
    #[serde(default)]
    decide_by: Option<Timestamp>,
}

#[derive(serde::Deserialize)]
struct VerdictEvent<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow, default)]
    order: Option<OrderView<'a>>,
}

/// The values of one buyer's request. If the server returns an order with other values, the
/// response violates the contract.
#[derive(Clone, Copy)]
pub(super) struct ExpectedOrder<'a> {
    /// The sale.
    pub sale: &'a str,
    /// The item.
    pub item: &'a str,
    /// The number of units.
    pub units: u32,
    /// The buyer's name.
    pub buyer: &'a dyn Fn() -> String,
}

/// Decides what the response to `POST /v1/orders` means.
pub(super) fn decide<'a>(
    head: &Head,
    body: &'a [u8],
    expected: &ExpectedOrder<'_>,
) -> AnswerDecision<'a> {
    let status = head.status;
    match status {
        409 => match find_code(body) {
            Some(code) => AnswerDecision::Final(FinalAnswer {
                status,
                code: Some(Cow::Borrowed(code)),
                ..FinalAnswer::default()
            }),
            None => AnswerDecision::Malformed("a refusal without a code"),
        },
        429 | 500..=599 => retry_decision(head),
        200..=202 => decide_order(status, body, expected),
        400..=499 => AnswerDecision::Final(FinalAnswer {
            status,
            code: find_code(body).map(Cow::Borrowed),
            ..FinalAnswer::default()
        }),
        _ => AnswerDecision::Malformed("an unexpected status for a purchase"),
    }
}

fn decide_order<'a>(
    status: u16,
    body: &'a [u8],
    expected: &ExpectedOrder<'_>,
) -> AnswerDecision<'a> {
    let Ok(order) = serde_json::from_slice::<OrderView<'_>>(body) else {
        return AnswerDecision::Malformed("not an order");
    };
    if !is_generated_id(&order.id) {
        return AnswerDecision::Malformed("an order with an invalid id");
    }
    let same = order.sale.as_deref() == Some(expected.sale)
        && order.item.as_deref() == Some(expected.item)
        && order.units == Some(expected.units)
        && order.buyer.as_deref() == Some((expected.buyer)().as_str());
    if !same {
        return AnswerDecision::Malformed("an order that differs from the request");
    }
    match (status, &*order.state, order.decide_by) {
        (202, "queued", Some(decide_by)) => AnswerDecision::Queued { id: order.id, decide_by },
        (202, ..) => {
            AnswerDecision::Malformed("a 202 without decide_by, or with a state other than queued")
        }
        (201, "reserved", _)
        | (200, "reserved" | "paid" | "cancelled" | "expired" | "refunded", _) => {
            AnswerDecision::Final(FinalAnswer {
                status,
                code: None,
                id: Some(order.id),
                state: Some(order.state),
            })
        }
        _ => AnswerDecision::Malformed("an order in an impossible state"),
    }
}

/// Decides what the response to `GET /v1/orders/{id}` means for a queued purchase.
pub(super) fn decide_verdict<'a>(head: &Head, body: &'a [u8], id: &str) -> AnswerDecision<'a> {
    match head.status {
        200 => match serde_json::from_slice(body).ok().and_then(|order| verdict(order, id)) {
            Some(Some(answer)) => AnswerDecision::Final(answer),
            Some(None) => AnswerDecision::Retry { after: None, status: 200 },
            None => AnswerDecision::Malformed("not the verdict of the requested order"),
        },
        429 | 500..=599 => retry_decision(head),
        // The server gave this id to this buyer and must keep the verdict, so these statuses
        // violate the contract.
        401 | 403 | 404 => {
            AnswerDecision::Malformed("the server does not know an id that it issued")
        }
        _ => AnswerDecision::Malformed("an unexpected status for a poll of an order"),
    }
}

/// Returns the verdict that an event contains, or `None` if the event is about another order or has
/// no verdict.
pub(super) fn verdict_from_event<'a>(
    json: &'a [u8],
    id: &str,
) -> Result<Option<FinalAnswer<'a>>, &'static str> {
    let event = serde_json::from_slice::<VerdictEvent<'_>>(json).map_err(|_| "an invalid event")?;
    let order = event.order.filter(|order| event.r#type == "order" && order.id == id);
    Ok(order.and_then(|order| verdict(order, id)).flatten())
}

/// Reads the verdict of the ticket `id` from an order. Returns `Some(None)` if the purchase is
/// still queued, and `None` if the order violates the contract.
fn verdict<'a>(order: OrderView<'a>, id: &str) -> Option<Option<FinalAnswer<'a>>> {
    // If one request has two tickets, only one ticket becomes an order. The verdict for the other
    // ticket may name that order, whose id is not `id`. But a queued purchase or a refusal must
    // have the id `id`.
    let other_id = order.id != id;
    match &*order.state {
        "queued" if other_id => None,
        "queued" => Some(None),
        "refused" if other_id => None,
        "refused" => Some(Some(FinalAnswer {
            status: 202,
            code: Some(order.code?),
            id: Some(order.id),
            state: Some(order.state),
        })),
        "reserved" | "paid" | "cancelled" | "expired" | "refunded" => Some(Some(FinalAnswer {
            status: 202,
            code: None,
            id: Some(order.id),
            state: Some(order.state),
        })),
        _ => None,
    }
}

fn retry_decision<'a>(head: &Head) -> AnswerDecision<'a> {
    let after = head.retry_after_secs.map(|secs| Duration::from_secs(secs.into()));
    AnswerDecision::Retry { after, status: head.status }
}

/// Finds the value of `code` without parsing the JSON. The search does not match inside a text
/// value, because JSON puts a backslash before each quote there.
fn find_code(body: &[u8]) -> Option<&str> {
    const WORD: &[u8] = b"\"code\"";
    if body.first() != Some(&b'{') || body.last() != Some(&b'}') {
        return None;
    }
    let at = body.windows(WORD.len()).position(|window| window == WORD)? + WORD.len();
    let rest =
        body[at..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    let end = rest.iter().position(|&byte| byte == b'"')?;
    let code = &rest[..end];
    let plain =
        !code.is_empty() && code.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b'_');
    if plain { std::str::from_utf8(code).ok() } else { None }
}

/// Returns whether the id looks like an id of the server. The id becomes part of a URL path, so any
/// other text is refused.
fn is_generated_id(id: &str) -> bool {
    id.len() <= 256
        && id.starts_with("ord_")
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::response;

    const ORDER: &str = r#"{
        "id": "ord_1", "sale": "spring", "item": "phone", "buyer": "ann", "units":10,
        "amount": {"amount_minor": 100, "currency": "CNY"}, "state": "STATE",
        "reserved_at": "2026-11-20T10:00:00.000Z", "pay_by": null, "paid_at": null,
        "ended_at": null}"#;

    fn ruling(status: u16, body: &str, rule_it: impl Fn(&Head, &[u8]) -> String) -> String {
        let mut bytes = format!(
            "HTTP/1.1 {status} X\r\nRetry-After: 2\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes();
        let reply = response::read(&mut bytes).expect("well-formed").expect("complete");
        rule_it(&reply.head, &bytes[reply.body.clone()])
    }

    #[track_caller]
    fn check(status: u16, body: &str, expected: &str) {
        let summary = ruling(status, body, |head, body| {
            let order =
                ExpectedOrder { sale: "spring", item: "phone", units: 10, buyer: &|| "ann".into() };
            summarize(&decide(head, body, &order))
        });
        assert_eq!(summary, expected);
    }

    #[track_caller]
    fn check_verdict(status: u16, body: &str, expected: &str) {
        assert_eq!(
            ruling(status, body, |head, body| summarize(&decide_verdict(head, body, "ord_1"))),
            expected
        );
    }

    fn summarize(ruling: &AnswerDecision<'_>) -> String {
        match ruling {
            AnswerDecision::Final(answer) => format!("final {} {}", answer.status, answer.kind()),
            AnswerDecision::Queued { id, .. } => format!("queued {id}"),
            AnswerDecision::Retry { after, status } => {
                format!("again {status} {:?}", after.map(|after| after.as_secs()))
            }
            AnswerDecision::Malformed(why) => format!("malformed: {why}"),
        }
    }

    #[test]
    fn refusals_are_final_under_their_code() {
        check(
            409,
            r#"{"type":"x","status":409,"code":"sold_out","may_return":true}"#,
            "final 409 sold_out",
        );
        check(409, r#"{"detail":"say \"code\":\"x\"","code" : "ended"}"#, "final 409 ended");
        check(409, r#"{"status":409}"#, "malformed: a refusal without a code");
        check(409, r#"{"code":"sold_out""#, "malformed: a refusal without a code");
        check(409, "", "malformed: a refusal without a code");
        check(422, r#"{"code":"invalid_request","errors":[]}"#, "final 422 invalid_request");
        check(401, r#"{"code":"unauthenticated"}"#, "final 401 unauthenticated");
        check(403, "nobody", "final 403 http_403");
        check(404, "", "final 404 http_404");
    }

    #[test]
    fn an_error_is_never_a_refusal() {
        check(429, r#"{"code":"rate_limited"}"#, "again 429 Some(2)");
        check(503, r#"{"code":"overloaded"}"#, "again 503 Some(2)");
        check(500, r#"{"code":"internal"}"#, "again 500 Some(2)");
        check(302, "", "malformed: an unexpected status for a purchase");
    }

    #[test]
    fn an_order_is_final_only_if_it_matches_the_request() {
        check(201, &ORDER.replace("STATE", "reserved"), "final 201 reserved");
        check(200, &ORDER.replace("STATE", "reserved"), "final 200 reserved");
        check(200, &ORDER.replace("STATE", "cancelled"), "final 200 cancelled");
        check(201, &ORDER.replace("STATE", "paid"), "malformed: an order in an impossible state");
        check(201, "{}", "malformed: not an order");
        for (from, to) in [("ann", "bob"), ("phone", "case"), ("spring", "autumn"), (":10,", ":1,")]
        {
            let body = ORDER.replace("STATE", "reserved").replacen(from, to, 1);
            check(201, &body, "malformed: an order that differs from the request");
        }
        check(
            201,
            &ORDER.replace("STATE", "reserved").replace("ord_1", "a/../b"),
            "malformed: an order with an invalid id",
        );
    }

    #[test]
    fn a_queued_purchase_is_followed_under_its_id() {
        let queued = r#"{
            "id": "ord_1", "sale": "spring", "item": "phone", "buyer": "ann", "units": 10,
            "state": "queued", "decide_by": "2026-11-20T10:00:10.000Z"}"#;
        check(202, queued, "queued ord_1");
        check(
            202,
            &ORDER.replace("STATE", "reserved"),
            "malformed: a 202 without decide_by, or with a state other than queued",
        );
        check_verdict(200, queued, "again 200 None");
        check_verdict(200, &ORDER.replace("STATE", "reserved"), "final 202 reserved");
        check_verdict(
            200,
            r#"{"id":"ord_1","state":"refused","code":"sold_out"}"#,
            "final 202 sold_out",
        );
        check_verdict(
            200,
            r#"{"id":"ord_1","state":"refused"}"#,
            "malformed: not the verdict of the requested order",
        );
        check_verdict(
            200,
            r#"{"id":"ord_2","state":"refused","code":"sold_out"}"#,
            "malformed: not the verdict of the requested order",
        );
        check_verdict(503, "", "again 503 Some(2)");
        check_verdict(
            404,
            r#"{"code":"not_found"}"#,
            "malformed: the server does not know an id that it issued",
        );
    }
}
