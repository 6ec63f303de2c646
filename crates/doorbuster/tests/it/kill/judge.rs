//! Compares the answers that the server gave under load with its state after the restart.

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::LIMIT;
use crate::crash_windows::client::{HttpConnection, PurchaseSpec};
use crate::crash_windows::fixture::{ServerFixture, Stock};
use crate::crash_windows::purchase_log::{AllowedEvents, PurchaseLog};
use crate::crash_windows::random_load::{ChangeState, LoadRecord, StockChange};

const ANSWERS_MIN: usize = 100;
/// All short holds end within this time. This includes the holds of the orders that the checks
/// create.
const HOLDS_END_WITHIN: Duration = Duration::from_secs(5);
/// The longest wait for the verdict of a queued request: the ten seconds until `decide_by`, and
/// some time for a busy machine.
const VERDICT_WITHIN: Duration = Duration::from_secs(13);

/// The answers of all rounds. After the last round, the store must agree with all of these answers.
pub struct Judge {
    /// Queued requests whose verdicts must still be read.
    queued: Vec<PurchaseLog>,
    /// Final answers, one JSON line each.
    answers: Vec<Value>,
}

impl Judge {
    /// Creates a judge without answers.
    pub fn new() -> Self {
        Self { queued: Vec::new(), answers: Vec::new() }
    }

    /// Returns whether there are enough answers for the final audit.
    pub fn has_enough_answers(&self) -> bool {
        self.answers.len() > ANSWERS_MIN
    }

    /// Checks the results of one round, and then buys the remaining units. `sale` is the sale of
    /// this round; each round has its own sale.
    pub async fn hear(
        &mut self,
        fixture: &ServerFixture,
        sale: &str,
        stock: u64,
        allowed: AllowedEvents,
        record: LoadRecord,
    ) {
        // This check comes first, because it needs the stock as the restarted server shows it
        // before any other request.
        fixture.stock(sale).await;
        fixture.audit(None).await;
        if allowed.pause {
            let phase = fixture.get_ok(&format!("/v1/admin/sales/{sale}")).await["phase"].clone();
            if phase == "paused" {
                fixture.step(sale, "resume").await;
            }
        }
        let mut connection = fixture.connect().await;
        total(fixture, &mut connection, sale, stock, record.changes).await;
        for mut purchase_log in record.purchase_logs {
            promise(&mut connection, &mut purchase_log).await;
            if purchase_log.queued.is_some() {
                self.queued.push(purchase_log);
            } else {
                self.answers.push(line(&purchase_log));
            }
        }
        if allowed.expire {
            let all_ended = async || (fixture.stock(sale).await.held == 0).then_some(());
            fixture.until("every hold has ended", HOLDS_END_WITHIN, all_ended).await;
        }
        sums(fixture, sale).await;
        self.sell_out(fixture, &mut connection, sale, allowed).await;
        fixture.audit(None).await;
        if !stock.is_multiple_of(4) {
            // Many open sales would slow down the last rounds. So most sales are closed after their
            // round.
            fixture.step(sale, "close").await;
        }
    }

    async fn sell_out(
        &mut self,
        fixture: &ServerFixture,
        connection: &mut HttpConnection,
        sale: &str,
        allowed: AllowedEvents,
    ) {
        let left = fixture.stock(sale).await;
        let (mut free, mut number) = (left.free(), 0);
        while free > 0 {
            let units = u32::try_from(free).unwrap_or(LIMIT).min(LIMIT);
            let mut purchase_log = PurchaseLog::new(
                PurchaseSpec::new(&format!("{sale}-last-{number}"), "k", sale, units),
                allowed,
            );
            let reply = purchase_log.buy(connection, "").await.expect("an answer");
            assert_eq!(
                reply.verdict(),
                "201",
                "the purchase of {units} of {free} free units failed: {reply}"
            );
            self.answers.push(line(&purchase_log));
            (free, number) = (free - u64::from(units), number + 1);
        }
        if allowed.expire {
            // Some of the short holds may have ended again, so the item need not be sold out.
            return;
        }
        let reply = fixture.buy(&PurchaseSpec::new(&format!("{sale}-late"), "k", sale, 1)).await;
        assert_eq!(reply.verdict(), "409 sold_out");
        let now = fixture.stock(sale).await;
        assert_eq!(
            now,
            Stock { pool: 0, in_slots: 0, held: left.total, ..left },
            "all units must be sold"
        );
    }

    /// Checks that each queued request has a verdict after its deadline, and that the verdict does
    /// not change.
    pub async fn verdicts(&mut self, fixture: &ServerFixture) {
        let mut connection = fixture.connect().await;
        for mut purchase_log in std::mem::take(&mut self.queued) {
            let id = purchase_log.queued.as_ref().expect("a queued request")["id"]
                .as_str()
                .expect("an id")
                .to_owned();
            let ask = purchase_log.spec.order("GET", &id, "");
            let decided = async || {
                let reply = fixture.ask(&ask).await;
                assert_eq!(reply.status, 200, "the server does not know the request: {reply}");
                (reply.json()["state"] != "queued").then_some(reply)
            };
            let verdict = fixture.until("a verdict", VERDICT_WITHIN, decided).await.json();
            assert_eq!(
                connection.ask(&ask).await.expect("an answer").json(),
                verdict,
                "the verdict must not change"
            );
            if verdict["state"] == "refused" {
                let code = verdict["code"].as_str().expect("a code");
                assert!(["unavailable", "sold_out", "limit_reached"].contains(&code), "{verdict}");
                assert_ne!(
                    purchase_log.id(),
                    Some(id.clone()),
                    "a refused request was answered as an order"
                );
                self.answers.push(spoken(
                    &purchase_log.spec,
                    200,
                    Some(code),
                    Some(&id),
                    Some("refused"),
                ));
            } else if let Some(order) = &purchase_log.order {
                assert_eq!(order["id"], verdict["id"], "one key must have one order");
            } else {
                purchase_log.order = Some(verdict);
            }
            if purchase_log.order.is_some() {
                self.answers.push(line(&purchase_log));
            }
        }
    }

    /// Runs the server's audit, and the `audit` command with all final answers.
    pub async fn audit(&self, fixture: &ServerFixture) {
        let path = fixture.temp_dir.join("answers.jsonl");
        let mut file = std::fs::File::create(&path).expect("a new file");
        for answer in &self.answers {
            writeln!(file, "{answer}").expect("the file is written");
        }
        assert!(self.has_enough_answers(), "too few answers: {}", self.answers.len());
        fixture.audit(Some(&path)).await;
    }
}

/// Checks that the total is the initial total plus every confirmed change. A change without an
/// answer may have taken effect. If such a change is sent again, it must not take effect twice.
async fn total(
    fixture: &ServerFixture,
    connection: &mut HttpConnection,
    sale: &str,
    stock: u64,
    changes: Vec<StockChange>,
) {
    let mut total = i128::from(stock);
    let lowest = total
        + changes
            .iter()
            .filter(|c| c.state == ChangeState::Done)
            .map(|c| i128::from(c.units))
            .sum::<i128>();
    let open: Vec<i128> = changes
        .iter()
        .filter(|c| c.state == ChangeState::Open)
        .map(|c| i128::from(c.units))
        .collect();
    let found = i128::from(fixture.stock(sale).await.total);
    assert!(
        open.len() <= 1 && (found == lowest || Some(&(found - lowest)) == open.first()),
        "the total is {found}; it must be {lowest} or {lowest} plus the unconfirmed change {open:?}"
    );
    for mut change in changes {
        if change.state != ChangeState::Refused {
            change.send(connection, sale).await.expect("an answer");
        }
        if change.state == ChangeState::Done {
            total += i128::from(change.units);
        }
    }
    assert_eq!(
        i128::from(fixture.stock(sale).await.total),
        total,
        "each change must take effect once"
    );
}

/// Checks one purchase after the restart. Its earlier answers must still be true. If its last try
/// had no answer, the same request must now get an answer other than 503.
async fn promise(connection: &mut HttpConnection, purchase_log: &mut PurchaseLog) {
    if purchase_log.order.is_some() {
        // `look` reads the order and compares it with the earlier answers.
        purchase_log.look(connection).await.expect("an answer");
        let again = purchase_log.buy(connection, "").await.expect("an answer");
        assert!(again.is_replay(), "{again}");
    } else if purchase_log.open {
        let again = purchase_log.buy(connection, "").await.expect("an answer");
        assert_ne!(again.status, 503, "{again}");
    } else if purchase_log.queued.is_some() {
        purchase_log.look(connection).await.expect("an answer");
    }
}

/// Checks that the units of the unpaid orders add up to the held units of the stock. Checks that no
/// buyer has more units than the limit.
async fn sums(fixture: &ServerFixture, sale: &str) {
    let (mut held, mut of) = (0, HashMap::<String, u64>::new());
    for order in fixture.orders(sale).await {
        if order["state"] == "reserved" {
            let units = order["units"].as_u64().expect("units");
            held += units;
            *of.entry(order["buyer"].as_str().expect("a buyer").to_owned()).or_default() += units;
        }
    }
    let stock = fixture.stock(sale).await;
    assert_eq!(stock.held, held, "{stock:?}");
    assert!(of.values().all(|&units| units <= u64::from(LIMIT)), "{of:?}");
}

/// Returns the final answer to this purchase, as a line of the file for `audit --answers`.
fn line(purchase_log: &PurchaseLog) -> Value {
    match (&purchase_log.order, &purchase_log.refused) {
        (Some(order), _) => {
            spoken(&purchase_log.spec, 201, None, order["id"].as_str(), order["state"].as_str())
        }
        (None, Some((status, code))) => spoken(&purchase_log.spec, *status, Some(code), None, None),
        (None, None) => spoken(&purchase_log.spec, 503, Some("unavailable"), None, None),
    }
}

fn spoken(
    spec: &PurchaseSpec,
    status: u16,
    code: Option<&str>,
    id: Option<&str>,
    state: Option<&str>,
) -> Value {
    let PurchaseSpec { buyer, key, sale, item, units, .. } = spec;
    json!({"buyer": buyer, "key": key, "sale": sale, "item": item, "units": units, "status": status, "code": code,
           "id": id, "state": state})
}
