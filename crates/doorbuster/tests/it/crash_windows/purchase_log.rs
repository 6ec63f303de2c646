//! One purchase request and every answer to it. Two answers that contradict each other fail the
//! test immediately.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::client::{HttpConnection, PurchaseSpec, Reply};

const CLOCKS_DIFFER_MS: i64 = 100;

/// The possible events of a random load, in addition to purchases, cancellations and changes of the
/// total.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowedEvents {
    /// True if some requests do not wait for their verdict.
    pub queue: bool,
    /// True if the operator pauses and resumes the sale during the load.
    pub pause: bool,
    /// True if holds end during the load.
    pub expire: bool,
}

/// The progress of a cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelState {
    /// The cancellation was not requested.
    NotSent,
    /// The cancellation was requested, and the server has not answered yet.
    Sent,
    /// The cancellation was confirmed.
    Confirmed,
}

/// A request and all answers to it.
#[derive(Clone, Debug)]
pub struct PurchaseLog {
    /// The request.
    pub spec: PurchaseSpec,
    /// The order in the last answer.
    pub order: Option<Value>,
    /// The id of a queued request.
    pub queued: Option<Value>,
    /// The newest refusal.
    pub refused: Option<(u16, String)>,
    /// True if the server has not yet answered the newest `POST` of the purchase.
    pub open: bool,
    /// The progress of the cancellation.
    pub cancel: CancelState,
    /// The events that are possible during the load.
    pub allowed: AllowedEvents,
}

impl PurchaseLog {
    /// Creates the log of a purchase that was not sent yet.
    pub fn new(spec: PurchaseSpec, allowed: AllowedEvents) -> Self {
        Self {
            spec,
            order: None,
            queued: None,
            refused: None,
            open: false,
            cancel: CancelState::NotSent,
            allowed,
        }
    }

    /// Sends the purchase, for the first time or again. Fails if the connection ends before the
    /// answer.
    pub async fn buy(&mut self, connection: &mut HttpConnection, lines: &str) -> io::Result<Reply> {
        self.open = true;
        let reply = connection.ask(&self.spec.with(lines)).await?;
        self.open = false;
        match &*reply.verdict() {
            "201" => {
                assert!(
                    self.order.is_none(),
                    "one request got a second order: {self:?}, then {reply}"
                );
                assert_eq!(reply.json()["state"], "reserved", "{reply}");
                self.record_order(&reply);
            }
            "200" => {
                assert!(reply.is_replay(), "{reply}");
                self.record_order(&reply);
            }
            "202" => {
                assert!(
                    self.order.is_none(),
                    "a request with an order was queued: {self:?}, then {reply}"
                );
                self.queued = Some(reply.json());
            }
            verdict @ ("409 sold_out" | "409 limit_reached" | "409 paused") => {
                assert!(
                    self.allowed.pause || verdict != "409 paused",
                    "the answer says paused, but the sale was not paused: {reply}"
                );
                assert!(self.order.is_none(), "a replay was refused: {self:?}, then {reply}");
                self.refused = Some((409, verdict[4..].to_owned()));
            }
            // After these answers, the same request may succeed later.
            "503 unavailable" | "503 overloaded" => {}
            other => panic!("unexpected answer {other} to {self:?}: {reply}"),
        }
        Ok(reply)
    }

    /// Cancels the order. If there is no order, reads the request instead.
    pub async fn cancel(&mut self, connection: &mut HttpConnection) -> io::Result<Reply> {
        let Some(id) = self.id() else { return self.look(connection).await };
        self.cancel = self.cancel.max_of(CancelState::Sent);
        let reply = connection.ask(&self.spec.order("POST", &id, "/cancel")).await?;
        match &*reply.verdict() {
            "200" => {
                self.cancel = CancelState::Confirmed;
                self.record_order(&reply);
            }
            "409 wrong_state" if self.allowed.expire && self.cancel != CancelState::Confirmed => {
                assert_eq!(reply.json()["state"], "expired", "{reply}");
                self.cancel = CancelState::NotSent;
            }
            "503 unavailable" | "503 overloaded" => {}
            other => panic!("unexpected answer {other} to the cancellation of {self:?}: {reply}"),
        }
        Ok(reply)
    }

    /// Reads the order or the queued request. If there is neither, sends the purchase again.
    pub async fn look(&mut self, connection: &mut HttpConnection) -> io::Result<Reply> {
        let id = self.id().or_else(|| Some(self.queued.as_ref()?["id"].as_str()?.to_owned()));
        let Some(id) = id else { return self.buy(connection, "").await };
        let reply = connection.ask(&self.spec.order("GET", &id, "")).await?;
        match &*reply.verdict() {
            "200" => {
                let state = reply.json()["state"].clone();
                if !matches!(state.as_str(), Some("queued" | "refused")) {
                    self.record_order(&reply);
                } else {
                    assert!(
                        self.order.is_none(),
                        "a request with an order was refused: {self:?}, then {reply}"
                    );
                }
            }
            "503 unavailable" | "503 overloaded" => {}
            other => panic!("unexpected answer {other} to a read of {self:?}: {reply}"),
        }
        Ok(reply)
    }

    /// Returns the id of the order in the last answer.
    pub fn id(&self) -> Option<String> {
        Some(self.order.as_ref()?["id"].as_str().expect("an id").to_owned())
    }

    #[track_caller]
    fn record_order(&mut self, reply: &Reply) {
        let shown = reply.json();
        let PurchaseSpec { buyer, sale, item, units, .. } = &self.spec;
        assert_eq!(
            (&shown["buyer"], &shown["sale"], &shown["item"]),
            (&buyer[..].into(), &sale[..].into(), &item[..].into())
        );
        assert_eq!(shown["units"], *units, "{shown}");
        let fits = match shown["state"].as_str() {
            Some("reserved") => self.cancel != CancelState::Confirmed,
            Some("cancelled") => self.cancel != CancelState::NotSent,
            Some("expired") => {
                self.allowed.expire
                    && self.cancel != CancelState::Confirmed
                    && has_passed(&shown["pay_by"])
            }
            _ => false,
        };
        assert!(fits, "the order {shown} contradicts {self:?}");
        if let Some(before) = &self.order {
            assert!(
                before["state"] == "reserved" || before["state"] == shown["state"],
                "the state changed from a final state: {before}, then {shown}"
            );
            for member in ["id", "amount", "reserved_at", "pay_by", "paid_at"] {
                assert_eq!(
                    shown[member], before[member],
                    "{member} changed: {before}, then {shown}"
                );
            }
        }
        self.order = Some(shown);
    }
}

/// Returns whether this time, which the server gave, has passed. The server's clock may be
/// [`CLOCKS_DIFFER_MS`] ahead of the test's clock.
fn has_passed(instant: &Value) -> bool {
    let instant: jiff::Timestamp = instant.as_str().expect("a time").parse().expect("RFC 3339");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    i128::from(instant.as_millisecond() - CLOCKS_DIFFER_MS) <= now as i128
}

impl CancelState {
    fn max_of(self, other: Self) -> Self {
        if self == Self::NotSent { other } else { self }
    }
}
