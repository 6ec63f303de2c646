//! A client for buyers and operators. If the server is killed or busy, the client repeats a request
//! at the server's current address until it gets an answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::crash_windows::client::{HttpConnection, PurchaseSpec, Reply, request};
use crate::crash_windows::fixture::operator;

const PAUSE: Duration = Duration::from_millis(20);

/// A client that knows the address of the current server. Clones share this address.
#[derive(Clone)]
pub struct RetryingClient {
    address: Arc<Mutex<SocketAddr>>,
    /// For each task that waits: a text about what it waits for, and the state that it saw last.
    waits: Arc<Mutex<BTreeMap<String, String>>>,
}

impl RetryingClient {
    /// Creates a client of this server.
    pub fn new(address: SocketAddr) -> Self {
        Self { address: Arc::new(Mutex::new(address)), waits: Arc::default() }
    }

    /// Sends requests to this address from now on.
    pub fn moves_to(&self, address: SocketAddr) {
        *self.address.lock().expect("no thread panics with the lock") = address;
    }

    /// Records what a task waits for and the state that it saw last. `None` means that the wait has
    /// ended. The test prints the records if a sale takes too long.
    pub fn waits(&self, what: &str, seen: Option<String>) {
        let mut waits = self.waits.lock().expect("no thread panics with the lock");
        match seen {
            Some(seen) => drop(waits.insert(what.to_owned(), seen)),
            None => drop(waits.remove(what)),
        }
    }

    /// Returns a text that lists the recorded waits.
    pub fn waiting(&self) -> String {
        format!("{:#?}", self.waits.lock().expect("no thread panics with the lock"))
    }

    /// Repeats the request until the server answers with another status than `503`. Returns this
    /// answer.
    pub async fn ask(&self, request: &[u8]) -> Reply {
        let what = String::from_utf8_lossy(
            request.split(|byte| *byte == b'\r').next().unwrap_or_default(),
        );
        loop {
            let address = *self.address.lock().expect("no thread panics with the lock");
            let attempt = async { HttpConnection::connect(address).await?.ask(request).await };
            let seen = match attempt.await {
                Ok(reply) if reply.status != 503 => {
                    self.waits(&what, None);
                    return reply;
                }
                Ok(reply) => reply.to_string(),
                Err(error) => error.to_string(),
            };
            self.waits(&what, Some(seen));
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Sends a request of the operator.
    pub async fn operate(&self, method: &str, path: &str, body: Option<&Value>) -> Reply {
        self.ask(&operator(method, path, "", body)).await
    }

    /// Sends a request of the operator. The answer must be `200`.
    pub async fn get_ok(&self, path: &str) -> Value {
        let reply = self.operate("GET", path, None).await;
        assert_eq!(reply.status, 200, "{path}: {reply}");
        reply.json()
    }

    /// Returns all rows of a list. The list must fit on one page.
    pub async fn list(&self, path: &str, of: &str) -> Vec<Value> {
        let page = self.get_ok(path).await;
        assert!(page["next_cursor"].is_null(), "{path} is longer than a page");
        page[of].as_array().unwrap_or_else(|| panic!("no {of} in {page}")).clone()
    }

    /// Reads this path until the answer meets the condition. Returns the answer.
    pub async fn until(&self, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
        loop {
            let shown = self.get_ok(path).await;
            if holds(&shown) {
                self.waits(&format!("until {path}"), None);
                return shown;
            }
            self.waits(&format!("until {path}"), Some(shown.to_string()));
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Buys, and retries while other buyers hold all units. Returns the order, or `None` if no unit
    /// can become free any more.
    pub async fn try_to_buy(&self, spec: &PurchaseSpec) -> Option<Value> {
        loop {
            let reply = self.ask(&spec.bytes()).await;
            match reply.status {
                200 | 201 => {
                    self.waits(&format!("{} buys", spec.buyer), None);
                    return Some(reply.json());
                }
                409 if reply.json()["may_return"] == false => {
                    self.waits(&format!("{} buys", spec.buyer), None);
                    return None;
                }
                202 | 409 => {
                    self.waits(&format!("{} buys", spec.buyer), Some(reply.to_string()));
                    tokio::time::sleep(PAUSE).await;
                }
                _ => panic!("{reply}"),
            }
        }
    }

    /// Buys from an item with enough units; returns the order.
    pub async fn buy(&self, spec: &PurchaseSpec) -> Value {
        self.try_to_buy(spec).await.expect("enough units")
    }

    /// Joins the waitlist of an item without free units. Returns the waitlist entry, or the order
    /// that the entry has become.
    pub async fn join(&self, spec: &PurchaseSpec) -> Value {
        let lines = format!("{}Idempotency-Key: {}\r\n", spec.signed, spec.key);
        let (request, what) =
            (request("POST", &line(spec), &lines, None), format!("{} joins", spec.buyer));
        loop {
            let reply = self.ask(&request).await;
            match reply.status {
                200 | 201 => {
                    self.waits(&what, None);
                    return reply.json();
                }
                // While a unit is being returned, it counts as free, so the server may refuse to
                // put the buyer on the waitlist.
                409 if matches!(
                    reply.json()["code"].as_str(),
                    Some("not_held_out" | "waitlist_full")
                ) =>
                {
                    self.waits(&what, Some(reply.to_string()));
                    tokio::time::sleep(PAUSE).await;
                }
                _ => panic!("{reply}"),
            }
        }
    }

    /// Leaves the waitlist.
    pub async fn leave(&self, spec: &PurchaseSpec) {
        let reply = self.ask(&request("DELETE", &line(spec), &spec.signed, None)).await;
        assert_eq!(reply.status, 204, "{reply}");
    }

    /// Requests a checkout of the order at the sandbox provider, and returns the checkout's id.
    /// Returns `None` if the order can no longer be paid.
    pub async fn checkout(&self, spec: &PurchaseSpec, id: &str) -> Option<String> {
        let reply = self.ask(&spec.order("POST", id, "/checkout")).await;
        if reply.status == 409 {
            return None;
        }
        assert_eq!(reply.status, 200, "{reply}");
        let shown = reply.json();
        let url = shown["checkout_url"].as_str().expect("an address");
        Some(url.rsplit_once('/').expect("a path").1.to_owned())
    }

    /// Presses a button of the sandbox's checkout, and returns the checkout's state.
    pub async fn press(&self, session: &str, action: &str) -> String {
        let reply = self
            .ask(&request("POST", &format!("/sandbox/checkout/{session}/{action}"), "", None))
            .await;
        assert!(matches!(reply.status, 200 | 409), "{reply}");
        reply.json()["state"].as_str().expect("a state").to_owned()
    }

    /// Waits until the sandbox reports a checkout as expired.
    pub async fn until_expired(&self, session: &str) {
        let ask = request("GET", &format!("/sandbox/checkout/{session}/state"), "", None);
        while self.ask(&ask).await.json()["state"] == "open" {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn line(spec: &PurchaseSpec) -> String {
    format!("/v1/sales/{}/items/{}/waitlist", spec.sale, spec.item)
}
