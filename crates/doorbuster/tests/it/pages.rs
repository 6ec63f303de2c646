//! Tests the pages of the real server in a real browser.

mod axe;
mod buying;
mod cdn;
mod check;
mod driver;
mod flaky_proxy;
mod index;
mod layout_shift;
mod limit;
mod live;
mod order_reads;
mod other_origin;
mod paid;
mod passes;
mod paying;
mod polling;
mod product;
mod push;
mod remind;
mod room;
mod session;
mod slow_phone;
mod states;
mod tab;
mod visitors;
mod waitlist;

use std::net::SocketAddr;

use doorbuster_auth::{NewToken, token};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::crash_windows::client::SECRET;
use crate::crash_windows::fixture::ServerFixture;
use crate::test_server::TempDir;

const BUY: &str = "#buy";
/// The title under the button. It says in a few words in which state the sale or the buyer's order
/// is.
const STATE: &str = "#say-title";

/// Starts a server with `--demo`. Its visitors are guests, who need no sign-in.
fn demonstration() -> ServerFixture {
    ServerFixture::with_launcher(TempDir::new(), &[], r#"exec "$@" --demo"#)
}

/// Creates a draft of a sale, and returns the sale's id. The fields in `item` and `sale` replace or
/// extend the default fields.
async fn draft(fixture: &ServerFixture, name: &str, item: Value, sale: Value) -> String {
    let mut lamp = json!({"id": "lamp", "title": "Ora lamp", "price": {"amount_minor": 4900, "currency": "EUR"}, "stock": 100,
        "limit_per_buyer": 2, "description": "Oiled oak and linen.", "list_price": {"amount_minor": 8900, "currency": "EUR"}});
    merge(&mut lamp, item);
    let mut whole = json!({"id": name, "title": "Lamps of the small workshop", "items": [lamp]});
    merge(&mut whole, sale);
    let made = fixture.admin("POST", "/v1/admin/sales", Some(&whole)).await;
    assert_eq!(made.status, 201, "{made}");
    name.to_owned()
}

async fn sale(fixture: &ServerFixture, name: &str, item: Value) -> String {
    draft(fixture, name, item, json!({})).await;
    fixture.step(name, "open").await;
    name.to_owned()
}

fn merge(into: &mut Value, from: Value) {
    let Value::Object(from) = from else { panic!("{from} is not an object") };
    into.as_object_mut().expect("an object").extend(from);
}

/// Returns the shop's link to a page for a signed-in buyer.
fn link(address: SocketAddr, path: &str, buyer: &str) -> String {
    link_with_claims(address, path, buyer, false, None)
}

fn link_with_claims(
    address: SocketAddr,
    path: &str,
    buyer: &str,
    member: bool,
    level: Option<u8>,
) -> String {
    let soon = Timestamp::now().as_second();
    let claims = NewToken {
        member,
        level,
        ..NewToken::new(buyer, soon, std::time::Duration::from_secs(3600))
    };
    format!("http://{address}{path}#token={}", token(SECRET.as_bytes(), &claims))
}

/// Returns the address of a page, without a token.
fn plain(address: SocketAddr, path: &str) -> String {
    format!("http://{address}{path}")
}

/// Returns the time that is `secs` seconds from now, as a timestamp and in the API's format.
fn in_secs(secs: i64) -> (Timestamp, String) {
    let moment = Timestamp::now() + SignedDuration::from_secs(secs);
    (moment, format!("{moment:.3}"))
}

/// Calls `make_ready` with the name of a new sale that opens in `secs` seconds. If `make_ready`
/// takes so long that the sale may have opened, tries again with more time. Returns the name of the
/// sale, and the result of `make_ready`.
async fn prepared_before_opening<T>(
    secs: i64,
    make_ready: impl AsyncFn(String, i64) -> T,
) -> (String, T) {
    for secs in [secs, 3 * secs, 9 * secs] {
        let name = format!("soon-{:08x}", rand::random::<u32>());
        let ahead = std::time::Duration::from_secs(secs.unsigned_abs() - 1);
        if let Ok(done) = tokio::time::timeout(ahead, make_ready(name.clone(), secs)).await {
            return (name, done);
        }
    }
    panic!("in every attempt, the page was ready too late");
}

async fn streams(fixture: &ServerFixture, count: u64) {
    let opened =
        async || (fixture.metric("doorbuster_events_websockets").await == count).then_some(());
    fixture
        .until("the pages have their event streams", std::time::Duration::from_secs(30), opened)
        .await;
}

/// The newest order comes first.
async fn states(fixture: &ServerFixture, sale: &str) -> Vec<String> {
    let orders = fixture.orders(sale).await;
    orders.iter().map(|order| order["state"].as_str().expect("a state").to_owned()).collect()
}
