//! Kills the server while it processes payments. After every second round, a power cut discards
//! unsynced data. Each payment whose message was answered must either pay for one order or have one
//! refund.
//!
//! `DOORBUSTER_KILL_ROUNDS` sets the number of rounds [default: 4]. `DOORBUSTER_KILL_SEED` sets the
//! seed [default: a new seed each time]. A failed test prints its seed.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use doorbuster_base::signing::{SigningKey, format_secret};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{LONG, SHORT, number};
use crate::crash_windows::client::{self, HttpConnection, PurchaseSpec};
use crate::crash_windows::faults::MachineFaults;
use crate::crash_windows::fixture::ServerFixture;

const SECRET: [u8; 32] = [7; 32];
/// The first item has long holds. The holds of the second item end before some payments arrive. The
/// third item has few units, so that a late payment finds no free unit.
const ITEMS: [(&str, u64, u32, u32); 3] =
    [("phone", 1_000_000, 1, LONG), ("watch", 1_000_000, 1, SHORT), ("ring", 5, 1, SHORT)];
/// The ways to pay for an order. Each has the number of payments, the number of reports of each
/// payment, and the shortest delay of the first report.
const WAYS: [(u32, u32, Duration); 5] = [
    (0, 0, Duration::ZERO),
    (1, 1, Duration::ZERO),
    (1, 2, Duration::ZERO),
    (2, 1, Duration::ZERO),
    (1, 1, LATE),
];
/// The delay of a late first report. The delay is longer than a short hold.
const LATE: Duration = Duration::from_secs(2);
/// The longest random delay that is added to the delay of the first report, in milliseconds.
const HESITATES_MS: u64 = 1_200;
/// The time between the answer to a report and the repetition of the report.
const AGAIN: Duration = Duration::from_millis(300);
/// How long a provider waits if no report is due, or if the server answered 503.
const IDLE: Duration = Duration::from_millis(5);
const BUYERS: u64 = 3;
const PROVIDERS: u64 = 2;
/// The minimum number of answers in a round. It is large enough for every way to pay, with every
/// item.
const ANSWERS_A_ROUND: usize = 25;
const TIMEOUT: Duration = Duration::from_secs(120);
const NOT_POISONED: &str = "no task panics with the lock";

/// A provider's report of a captured payment.
#[derive(Clone, Debug)]
struct Message {
    payment: String,
    order: String,
    /// The time at which the provider next sends the report.
    due: Instant,
    /// How many more times the server must answer this report.
    times: u32,
}

impl Message {
    /// Sends the report. Returns the result of the payment, or `None` if the server answered 503
    /// and the report must be sent again. Returns an error if the server has ended.
    async fn tell(&self, connection: &mut HttpConnection) -> io::Result<Option<String>> {
        let amount = json!({"amount_minor": 10, "currency": "CNY"});
        let data = json!({"payment": self.payment, "order": self.order, "amount": amount});
        let body = json!({"type": "payment.captured", "data": data});
        let event = format!("msg_{}", self.payment);
        let reply =
            connection.ask(&client::message(&SigningKey::new(&SECRET), &event, &body)).await?;
        match reply.status {
            200 => Ok(Some(word(&reply.json(), "outcome").to_owned())),
            503 => Ok(None),
            _ => panic!("{reply}"),
        }
    }
}

/// The provider's records.
#[derive(Default)]
struct Book {
    specs: usize,
    /// Messages that still need answers.
    open: Vec<Message>,
    /// The reports that the server has answered, each with the result that the answer gave for the
    /// payment.
    taken: Vec<(Message, String)>,
}

impl Book {
    fn next_wish(&mut self) -> usize {
        self.specs += 1;
        self.specs - 1
    }

    /// Adds reports for this order, for one of the ways to pay in [`WAYS`].
    fn add(&mut self, spec: usize, order: &str, dice: &mut SmallRng) {
        let (payments, times, wait) = WAYS[spec / ITEMS.len() % WAYS.len()];
        for n in 0..payments {
            let due =
                Instant::now() + wait + Duration::from_millis(dice.random_range(0..HESITATES_MS));
            self.open.push(Message {
                payment: format!("pay_{spec}_{n}"),
                order: order.to_owned(),
                due,
                times,
            });
        }
    }

    /// Returns a report that is due. The report stays in `open` until the server has answered it.
    fn due(&self, dice: &mut SmallRng) -> Option<Message> {
        let now = Instant::now();
        let due: Vec<&Message> = self.open.iter().filter(|message| message.due <= now).collect();
        if due.is_empty() { None } else { Some(due[dice.random_range(0..due.len())].clone()) }
    }

    /// Records the answer to a report. Two tasks may have sent the same report at the same time. In
    /// this case, the second answer does not change `open`.
    fn take(&mut self, message: Message, outcome: String) {
        let same = |open: &Message| open.payment == message.payment && open.times == message.times;
        if let Some(at) = self.open.iter().position(same) {
            if message.times > 1 {
                self.open[at].times -= 1;
                self.open[at].due = Instant::now() + AGAIN;
            } else {
                self.open.swap_remove(at);
            }
        }
        self.taken.push((message, outcome));
    }
}

type Shared = Arc<Mutex<Book>>;

/// Runs buyers, and providers that report the buyers' payments, until the server ends.
fn market(address: SocketAddr, seed: u64, buyers: u64, book: &Shared) -> JoinSet<()> {
    let mut people = JoinSet::new();
    for n in 0..buyers {
        people.spawn(buy(address, SmallRng::seed_from_u64(seed ^ n), book.clone()));
    }
    for n in buyers..buyers + PROVIDERS {
        people.spawn(tell(address, SmallRng::seed_from_u64(seed ^ n), book.clone()));
    }
    people
}

async fn buy(address: SocketAddr, mut dice: SmallRng, book: Shared) {
    while let Ok(mut connection) = HttpConnection::connect(address).await {
        let n = book.lock().expect(NOT_POISONED).next_wish();
        let spec =
            PurchaseSpec::new(&format!("b{n}"), "k", "spring", 1).item(ITEMS[n % ITEMS.len()].0);
        let Ok(bought) = connection.ask(&spec.bytes()).await else { return };
        assert!(matches!(bought.status, 201 | 202 | 409 | 503), "{bought}");
        if bought.status == 201 {
            book.lock().expect(NOT_POISONED).add(n, &bought.id(), &mut dice);
        }
        tokio::time::sleep(Duration::from_millis(dice.random_range(5..25))).await;
    }
}

async fn tell(address: SocketAddr, mut dice: SmallRng, book: Shared) {
    while let Ok(mut connection) = HttpConnection::connect(address).await {
        let due = book.lock().expect(NOT_POISONED).due(&mut dice);
        let Some(message) = due else {
            tokio::time::sleep(IDLE).await;
            continue;
        };
        let outcome = message.tell(&mut connection).await;
        match outcome {
            Ok(Some(outcome)) => book.lock().expect(NOT_POISONED).take(message, outcome),
            Ok(None) => tokio::time::sleep(IDLE).await,
            Err(_) => return,
        }
    }
}

fn answers(book: &Mutex<Book>) -> usize {
    book.lock().expect(NOT_POISONED).taken.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_during_payments_records_each_payment_once() {
    let rounds = number("DOORBUSTER_KILL_ROUNDS").unwrap_or(4);
    let seed = number("DOORBUSTER_KILL_SEED").unwrap_or_else(|| rand::random_range(0..1_000_000));
    println!("DOORBUSTER_KILL_ROUNDS={rounds} DOORBUSTER_KILL_SEED={seed}");
    let mut dice = SmallRng::seed_from_u64(seed);
    let secret = format_secret(&SECRET);
    let (mut fixture, faults) =
        MachineFaults::fixture(&[("DOORBUSTER_PAYMENT__WEBHOOK_SECRET", secret.as_str())]);
    fixture.open_sale("spring", &ITEMS).await;
    let book = Shared::default();
    for round in 0..rounds {
        // The disk is slow in two out of three rounds. In these rounds, more accepted payments are
        // unanswered when the server is killed.
        faults.slow_disk(Duration::from_millis([0, 25, 5][(round % 3) as usize]));
        let people = market(fixture.address, seed + round, BUYERS, &book);
        let enough = answers(&book) + ANSWERS_A_ROUND;
        let is_enough = async || (answers(&book) >= enough).then_some(());
        fixture.until("enough payments are answered", TIMEOUT, is_enough).await;
        tokio::time::sleep(Duration::from_micros(dice.random_range(500..500_000))).await;
        fixture.kill();
        faults.slow_disk(Duration::ZERO);
        people.join_all().await;
        let lost = if round % 2 == 1 { faults.cut_power(fixture.data_dir()) } else { 0 };
        println!("round {round}: killed after {} answers, {lost} bytes lost", answers(&book));
        while dice.random_ratio(1, 3) {
            fixture.restart_and_kill_after(Duration::from_micros(dice.random_range(0..300_000)));
        }
        fixture.restart();
        fixture.audit(None).await;
    }
    let mut telling = market(fixture.address, seed, 0, &book);
    let all_told = async || book.lock().expect(NOT_POISONED).open.is_empty().then_some(());
    fixture.until("every message is answered", TIMEOUT, all_told).await;
    telling.shutdown().await;
    settle(&fixture).await;
    let taken = std::mem::take(&mut book.lock().expect(NOT_POISONED).taken);
    judge(&fixture, &taken).await;
    let report = fixture.get_ok("/v1/admin/exports/reconciliation").await;
    assert_eq!(
        (&report["ok"], &report["complete"], &report["differences"]),
        (&json!(true), &json!(true), &json!([]))
    );
    fixture.audit(None).await;
    fixture.ask_to_stop();
    assert_eq!(fixture.wait_for_end(Duration::from_secs(10)), Some(0), "{}", fixture.stderr_text());
}

/// Reports each refund as settled. The sandbox cannot do this, because it has no records of these
/// payments.
async fn settle(fixture: &ServerFixture) {
    let over = async || {
        let held = fixture.list("orders", "sale=spring&state=reserved&").await;
        held.iter().all(|order| order["item"] == "phone").then_some(())
    };
    fixture.until("every short hold has ended", TIMEOUT, over).await;
    for refund in fixture.list("refunds", "").await {
        let id = word(&refund, "refund");
        let body = json!({"type": "refund.settled", "data": {"refund": id}});
        let message =
            client::message(&SigningKey::new(&SECRET), &format!("msg_{id}_settled"), &body);
        let reply = fixture.ask(&message).await;
        assert_eq!(reply.status, 200, "{reply}");
    }
}

/// Checks that every reported payment is listed once, and either pays its order or has one refund.
async fn judge(fixture: &ServerFixture, taken: &[(Message, String)]) {
    let (orders, payments) = (fixture.orders("spring").await, fixture.list("payments", "").await);
    let refunds = fixture.list("refunds", "").await;
    let orders: HashMap<&str, &Value> =
        orders.iter().map(|order| (word(order, "id"), order)).collect();
    let mut back = HashMap::<&str, Vec<&Value>>::new();
    for refund in &refunds {
        back.entry(word(refund, "payment")).or_default().push(refund);
    }
    let (mut listed, mut stands, mut late) =
        (HashMap::<&str, &Value>::new(), HashMap::<&str, &str>::new(), 0);
    for row in &payments {
        let (payment, order) = (word(row, "payment"), word(row, "order"));
        assert!(listed.insert(payment, row).is_none(), "a payment is listed twice: {row}");
        let of =
            orders.get(order).unwrap_or_else(|| panic!("a payment names an unknown order: {row}"));
        let its = back.remove(payment).unwrap_or_default();
        if row["state"] == "captured" {
            assert_eq!((word(of, "state"), its.len()), ("paid", 0), "{row}: {of}, {its:?}");
            let other = stands.insert(order, payment);
            assert!(other.is_none(), "{payment} and {other:?} both pay for {order}");
        } else {
            assert_eq!((word(row, "state"), its.len()), ("refunded", 1), "{row}: {its:?}");
            assert_eq!(
                (word(its[0], "state"), &its[0]["amount"]),
                ("settled", &row["amount"]),
                "{its:?}"
            );
        }
        late += usize::from(word(row, "at") > word(of, "pay_by"));
    }
    assert!(back.is_empty(), "there are refunds without a payment: {back:?}");
    for (id, order) in &orders {
        assert_eq!(stands.contains_key(id), order["state"] == "paid", "{order}");
    }
    let repeated = promises(&listed, taken);
    let second = refunds.iter().filter(|refund| refund["cause"] == "second").count();
    println!(
        "{} payments, {} pay an order, {late} came late, {} were refunded, {second} were second \
         payments; {repeated} answers repeated",
        listed.len(),
        stands.len(),
        refunds.len()
    );
    assert!(
        late > 0 && second > 0 && repeated > 0,
        "the load must have a late payment, a second payment and a repeated answer"
    );
}

/// Checks that the list of payments agrees with the answers to the reports. Returns the number of
/// answers which said that the payment was recorded before.
fn promises(listed: &HashMap<&str, &Value>, taken: &[(Message, String)]) -> usize {
    let (mut reported, mut first, mut repeated) = (HashSet::new(), HashSet::new(), 0);
    for (message, outcome) in taken {
        let row = listed
            .get(&*message.payment)
            .unwrap_or_else(|| panic!("the list lacks the payment of {message:?}"));
        assert_eq!(word(row, "order"), message.order, "{row}");
        reported.insert(&*message.payment);
        let state = match &**outcome {
            "paid" => "captured",
            "refunded" => "refunded",
            "repeated" => {
                repeated += 1;
                continue;
            }
            _ => panic!("unexpected result {outcome} of {message:?}"),
        };
        assert_eq!(word(row, "state"), state, "{row}");
        assert!(first.insert(&*message.payment), "the payment was taken twice: {message:?}");
    }
    assert_eq!(reported.len(), listed.len(), "the list has payments that no message reported");
    repeated
}

fn word<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_else(|| panic!("{name} of {row}"))
}
