//! A load of buyers and operators that act at random. The load records every answer, and fails the
//! test immediately if two answers contradict each other.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::client::{HttpConnection, PurchaseSpec};
use super::fixture::{Stock, adjustment, operator};
use super::purchase_log::{AllowedEvents, PurchaseLog};
use crate::watch::Stopwatch;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// The load gives a new name to a buyer after this number of purchases. The purchases of one buyer
/// usually ask for more units than the buyer's limit.
const PURCHASES_OF_A_BUYER: usize = 4;
/// Time between two reads of the stock. Even on a busy machine, the load reads the stock more than
/// twenty times a second.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// The longest wait until `is_enough` returns true, even on a slow machine.
const SHOWN_WITHIN: Duration = Duration::from_secs(120);

/// The parameters of a load.
pub struct RandomLoad {
    /// The server.
    pub address: SocketAddr,
    /// The sale, with the item `phone`.
    pub sale: String,
    /// The seed.
    pub seed: u64,
    /// The number of concurrent buyers. Each buyer has a connection.
    pub buyers: usize,
    /// The possible events.
    pub allowed: AllowedEvents,
    /// A test sets this flag to end the load. The load also ends when its server is gone.
    pub stop: AtomicBool,
    /// Answers so far.
    pub answered: AtomicUsize,
    /// How often the load read the stock and checked that the parts add up to the total.
    pub reads: AtomicUsize,
    /// The number of changes of the total that the server has confirmed so far.
    pub done: AtomicUsize,
    /// The number of changes of the total that the server has refused so far.
    pub refused: AtomicUsize,
    /// Pauses so far.
    pub pauses: AtomicUsize,
}

impl RandomLoad {
    /// Creates a load on a sale.
    pub fn new(
        address: SocketAddr,
        sale: &str,
        seed: u64,
        buyers: usize,
        allowed: AllowedEvents,
    ) -> Arc<Self> {
        let [answered, reads, done, refused, pauses] = [0; 5].map(AtomicUsize::new);
        let (stop, sale) = (AtomicBool::new(false), sale.into());
        Arc::new(Self {
            address,
            sale,
            seed,
            buyers,
            allowed,
            stop,
            answered,
            reads,
            done,
            refused,
            pauses,
        })
    }

    /// Waits until the load has run for at least this time and `is_enough` returns true.
    pub async fn run_for(&self, least: Duration, is_enough: impl Fn(&Self) -> bool) {
        let timer = Stopwatch::start();
        while timer.elapsed() < least || !is_enough(self) {
            assert!(
                timer.elapsed() < SHOWN_WITHIN,
                "the load did not meet all requirements in time"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The result of a change of the total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeState {
    /// The change was sent, and the server has not answered.
    Open,
    /// The change was confirmed.
    Done,
    /// The change was refused.
    Refused,
}

/// A change of the total.
#[derive(Clone, Debug)]
pub struct StockChange {
    /// The key of the change.
    pub key: String,
    /// The number of added units; negative if units are removed.
    pub units: i64,
    /// The answer to the change.
    pub state: ChangeState,
}

/// Everything that the load recorded.
#[derive(Debug, Default)]
pub struct LoadRecord {
    /// The buyers' requests and answers.
    pub purchase_logs: Vec<PurchaseLog>,
    /// The operator's changes.
    pub changes: Vec<StockChange>,
    /// The length of the load.
    pub took: Duration,
}

/// Runs the load until the test sets `stop` or the server ends.
pub async fn run(plan: Arc<RandomLoad>) -> LoadRecord {
    let timer = Instant::now();
    let buyers: Vec<_> =
        (0..plan.buyers).map(|index| tokio::spawn(buyer(plan.clone(), index))).collect();
    let (change, look) = (tokio::spawn(change(plan.clone())), tokio::spawn(look(plan.clone())));
    let pause = tokio::spawn(pause(plan.clone()));
    let mut record = LoadRecord::default();
    for buyer in buyers {
        record.purchase_logs.extend(buyer.await.expect("a load without contradictions"));
    }
    record.changes = change.await.expect("a load without contradictions");
    look.await.expect("the stock adds up");
    pause.await.expect("no panic");
    record.took = timer.elapsed();
    record
}

async fn buyer(plan: Arc<RandomLoad>, index: usize) -> Vec<PurchaseLog> {
    let mut rng = SmallRng::seed_from_u64(plan.seed.wrapping_mul(1_000).wrapping_add(index as u64));
    let mut purchase_logs: Vec<PurchaseLog> = Vec::new();
    let Ok(mut connection) = HttpConnection::connect(plan.address).await else {
        return purchase_logs;
    };
    while !plan.stop.load(Ordering::Relaxed) {
        let known = purchase_logs.len();
        let at = rng.random_range(0..known.max(1));
        let step = match rng.random_range(0..100) {
            _ if known == 0 => None,
            0..15 => Some(purchase_logs[at].buy(&mut connection, "").await),
            15..35 => Some(purchase_logs[at].cancel(&mut connection).await),
            35..45 => Some(purchase_logs[at].look(&mut connection).await),
            _ => None,
        };
        let step = match step {
            Some(step) => step,
            None => {
                let buyer = format!("{}-{index}-{}", plan.sale, known / PURCHASES_OF_A_BUYER);
                let spec = PurchaseSpec::new(
                    &buyer,
                    &format!("k{known}"),
                    &plan.sale,
                    rng.random_range(1..=3),
                );
                let prefer = if plan.allowed.queue && rng.random_ratio(1, 8) {
                    "Prefer: respond-async\r\n"
                } else {
                    ""
                };
                purchase_logs.push(PurchaseLog::new(spec, plan.allowed));
                purchase_logs[known].buy(&mut connection, prefer).await
            }
        };
        if step.is_err() {
            break;
        }
        plan.answered.fetch_add(1, Ordering::Relaxed);
    }
    purchase_logs
}

async fn change(plan: Arc<RandomLoad>) -> Vec<StockChange> {
    let mut rng = SmallRng::seed_from_u64(plan.seed ^ 0xad05);
    let mut changes: Vec<StockChange> = Vec::new();
    let Ok(mut connection) = HttpConnection::connect(plan.address).await else { return changes };
    while !plan.stop.load(Ordering::Relaxed) {
        let by = rng.random_range(1..=12);
        let units = if rng.random_ratio(1, 2) { by } else { -by };
        changes.push(StockChange {
            key: format!("a{}", changes.len()),
            units,
            state: ChangeState::Open,
        });
        let newest = changes.len() - 1;
        for _ in 0..rng.random_range(1..=2) {
            if changes[newest].send(&mut connection, &plan.sale).await.is_err() {
                return changes;
            }
        }
        match changes[newest].state {
            ChangeState::Done => drop(plan.done.fetch_add(1, Ordering::Relaxed)),
            ChangeState::Refused => drop(plan.refused.fetch_add(1, Ordering::Relaxed)),
            ChangeState::Open => {}
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..30))).await;
    }
    changes
}

impl StockChange {
    /// Sends the change, for the first time or again. Fails if the connection ends before the
    /// answer.
    pub async fn send(&mut self, connection: &mut HttpConnection, sale: &str) -> io::Result<()> {
        if self.state != ChangeState::Done {
            self.state = ChangeState::Open;
        }
        let reply = connection.ask(&adjustment(sale, &self.key, self.units)).await?;
        match &*reply.verdict() {
            "200" => {
                Stock::read(&reply.json());
                self.state = ChangeState::Done;
            }
            "409 wrong_state" => {
                let free = reply.json()["free"].as_u64().expect("the free units");
                assert!(
                    self.state != ChangeState::Done
                        && self.units < 0
                        && free < self.units.unsigned_abs(),
                    "the refusal is wrong: {self:?}: {reply}"
                );
                self.state = ChangeState::Refused;
            }
            "503 unavailable" | "503 overloaded" => {}
            other => panic!("unexpected answer {other} to {self:?}: {reply}"),
        }
        Ok(())
    }
}

async fn look(plan: Arc<RandomLoad>) {
    let Ok(mut connection) = HttpConnection::connect(plan.address).await else { return };
    let look = operator("GET", &format!("/v1/admin/sales/{}/stock", plan.sale), "", None);
    let mut every = tokio::time::interval(CHECK_INTERVAL);
    while !plan.stop.load(Ordering::Relaxed) {
        every.tick().await;
        let Ok(reply) = connection.ask(&look).await else { break };
        match &*reply.verdict() {
            "200" => {
                Stock::read(&reply.json()["items"][0]);
                plan.reads.fetch_add(1, Ordering::Relaxed);
            }
            // The store has failed, so the program ends soon.
            "503 unavailable" => {}
            other => panic!("{other}: {reply}"),
        }
    }
}

/// Pauses and resumes the sale repeatedly. During a pause, the server must sell nothing, and no
/// slot may have a unit.
async fn pause(plan: Arc<RandomLoad>) {
    let mut rng = SmallRng::seed_from_u64(plan.seed ^ 0x9a05e);
    let Ok(mut connection) = HttpConnection::connect(plan.address).await else { return };
    let step =
        |step: &str| operator("POST", &format!("/v1/admin/sales/{}/{step}", plan.sale), "", None);
    let look = operator("GET", &format!("/v1/admin/sales/{}/stock", plan.sale), "", None);
    while plan.allowed.pause && !plan.stop.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(rng.random_range(20..120))).await;
        let Ok(paused) = connection.ask(&step("pause")).await else { break };
        assert_eq!(paused.status, 200, "{paused}");
        let Ok(first) = connection.ask(&look).await else { break };
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..30))).await;
        let Ok(second) = connection.ask(&look).await else { break };
        let (first, second) =
            (Stock::read(&first.json()["items"][0]), Stock::read(&second.json()["items"][0]));
        assert!(
            first.in_slots == 0 && second.in_slots == 0,
            "slots have units in a pause: {first:?}, {second:?}"
        );
        assert!(second.held <= first.held, "units were sold in a pause: {first:?}, {second:?}");
        let Ok(resumed) = connection.ask(&step("resume")).await else { break };
        assert_eq!(resumed.status, 200, "{resumed}");
        plan.pauses.fetch_add(1, Ordering::Relaxed);
    }
}
