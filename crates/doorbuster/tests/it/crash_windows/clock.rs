//! Tests steps of the machine's clock, an hour forward and an hour back. No order expires early, no
//! sale opens early, and the server warns the operator.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::client::PurchaseSpec;
use super::faults::MachineFaults;
use super::fixture::ServerFixture;

const HOUR_MS: i64 = 3_600_000;
const NOTICED_WITHIN: Duration = Duration::from_secs(5);
const CLOCK_ERROR_MAX_MS: i64 = 2_000;
/// An unpaid order normally expires within this time after the end of its payment window.
const PAST_ITS_END_MS: i64 = 1_000;

/// Returns the true time: the test steps only the server's clock, and not the clock of this
/// process.
fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis())
        .expect("in range")
}

fn instant(object: &Value, member: &str) -> i64 {
    let text = object[member].as_str().unwrap_or_else(|| panic!("no {member}: {object}"));
    text.parse::<jiff::Timestamp>().expect("RFC 3339").as_millisecond()
}

/// Creates a sale, schedules its start, and returns the start. If the start passes before the
/// server has scheduled the sale, tries again with a later start.
async fn scheduled(fixture: &ServerFixture, sale: &str, from_now_ms: i64) -> i64 {
    let item = json!({"id": "phone", "title": "Phone", "price": {"amount_minor": 10, "currency": "CNY"}, "stock": 9});
    let body = json!({"id": sale, "title": "T", "items": [item]});
    let made = fixture.admin("POST", "/v1/admin/sales", Some(&body)).await;
    assert_eq!(made.status, 201, "{made}");
    loop {
        let begins = now_ms() + from_now_ms;
        let starts_at = jiff::Timestamp::from_millisecond(begins).expect("in range");
        let patch = json!({"starts_at": format!("{starts_at:.3}")});
        let patched =
            fixture.admin("PATCH", &format!("/v1/admin/sales/{sale}"), Some(&patch)).await;
        assert_eq!(patched.status, 200, "{patched}");
        let stepped =
            fixture.admin("POST", &format!("/v1/admin/sales/{sale}/schedule"), None).await;
        if stepped.status == 200 {
            return begins;
        }
        assert!(
            now_ms() > begins,
            "the server refused to schedule a start in the future: {stepped}"
        );
    }
}

async fn phase(fixture: &ServerFixture, sale: &str) -> String {
    fixture.get_ok(&format!("/v1/admin/sales/{sale}")).await["phase"]
        .as_str()
        .expect("a phase")
        .to_owned()
}

async fn alarm(fixture: &ServerFixture, wanted: u64) {
    let seen = async || (fixture.metric("doorbuster_clock_alarm").await == wanted).then_some(());
    fixture.until("the alarm changes", NOTICED_WITHIN, seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_of_the_clock_expires_and_opens_nothing_early() {
    let (fixture, faults) = MachineFaults::fixture(&[]);
    fixture.open_sale("spring", &[("phone", 10, 10, 600)]).await;
    fixture.open_sale("short", &[("phone", 10, 10, 1)]).await;
    scheduled(&fixture, "in-half-an-hour", HOUR_MS / 2).await;
    let (long, short) =
        (PurchaseSpec::new("anna", "k", "spring", 1), PurchaseSpec::new("anna", "k2", "short", 1));
    let order = fixture.buy(&long).await;
    assert_eq!(order.verdict(), "201");
    let state = async |spec: &PurchaseSpec, id: &str| {
        fixture.ask(&spec.order("GET", id, "")).await.json()["state"].clone()
    };
    for (step, hours) in [("forward", 1), ("back", -1)] {
        let soon = scheduled(&fixture, &format!("soon-{step}"), 2_000).await;
        faults.wall_ahead_ms(hours * HOUR_MS);
        alarm(&fixture, 1).await;
        // The payment window of this order begins and ends while the server does not trust the
        // clock.
        let held = fixture.buy(&PurchaseSpec { key: step.into(), ..short.clone() }).await;
        assert_eq!(held.verdict(), "201");
        let ends = instant(&held.json(), "pay_by");
        let ready = fixture.ask(&super::client::request("GET", "/readyz", "", None)).await;
        assert_eq!(ready.status, 200, "the server must be ready: {ready}");
        assert_eq!(phase(&fixture, "in-half-an-hour").await, "scheduled", "{step}");
        assert_eq!(state(&long, &order.id()).await, "reserved", "{step}");
        // The times in the order must be true although the clock is wrong.
        let (spec, before) = (PurchaseSpec::new("bert", step, "spring", 1), now_ms());
        let bought = fixture.buy(&spec).await;
        assert_eq!(bought.verdict(), "201", "{bought}");
        let while_it_bought = before - CLOCK_ERROR_MAX_MS..now_ms() + CLOCK_ERROR_MAX_MS;
        for (member, after) in [("reserved_at", 0), ("pay_by", 600_000)] {
            let at = instant(&bought.json(), member) - after;
            assert!(
                while_it_bought.contains(&at),
                "{step}: {member} is not in {while_it_bought:?}: {bought}"
            );
        }
        // While the server does not trust the clock, a sale opens at the true time of its start.
        // Orders do not expire until the server trusts the clock again.
        let opened =
            async || (phase(&fixture, &format!("soon-{step}")).await == "open").then_some(());
        fixture.until("a sale opens at its time", Duration::from_secs(5), opened).await;
        let early = soon - now_ms();
        assert!(early < 200, "{step}: the sale opened {early} ms early");
        let past = async || (now_ms() > ends + PAST_ITS_END_MS).then_some(());
        fixture.until("the hold's time is over", Duration::from_secs(5), past).await;
        assert_eq!(
            state(&short, &held.id()).await,
            "reserved",
            "{step}: the hold expired while the clock was not trusted"
        );
        faults.wall_ahead_ms(0);
        alarm(&fixture, 0).await;
        let over = async || (state(&short, &held.id()).await == "expired").then_some(());
        fixture.until("expiry resumes", Duration::from_secs(4), over).await;
        assert_eq!(state(&long, &order.id()).await, "reserved", "{step}");
    }
    assert!(fixture.stderr_text().contains("clock was stepped"), "{}", fixture.stderr_text());
    fixture.audit(None).await;
}
