//! A storm that remembers everything it was told: buyers who buy, ask again, look and cancel, an operator who raises and
//! lowers the stock, and somebody who adds it up all the time. What contradicts itself fails on the spot.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use super::client::{Reply, Wire, Wish};
use super::rig::{Stock, adjustment, operator};

/// Wishes of one buyer, who asks for more than the limit allows with them.
const WISHES_OF_A_BUYER: usize = 4;
/// Between two looks at the stock: more than twenty a second, also on a busy machine.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What shall happen.
pub struct Plan {
    /// Where.
    pub address: SocketAddr,
    /// In which sale, on its `phone`.
    pub sale: String,
    /// What it is drawn from.
    pub seed: u64,
    /// Buyers at work at once, each with a connection.
    pub buyers: usize,
    /// Whether some do not wait for their verdict.
    pub queues: bool,
    /// Set to end it; it ends with its server as well.
    pub stop: AtomicBool,
    /// Answers so far.
    pub answered: AtomicUsize,
}

impl Plan {
    /// A storm on a sale.
    pub fn new(address: SocketAddr, sale: &str, seed: u64, buyers: usize) -> Arc<Self> {
        Arc::new(Self::plain(address, sale, seed, buyers))
    }

    /// One in which some do not wait for their verdict.
    pub fn with_queue(address: SocketAddr, sale: &str, seed: u64, buyers: usize) -> Arc<Self> {
        Arc::new(Self { queues: true, ..Self::plain(address, sale, seed, buyers) })
    }

    fn plain(address: SocketAddr, sale: &str, seed: u64, buyers: usize) -> Self {
        let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
        Self { address, sale: sale.into(), seed, buyers, queues: false, stop, answered }
    }
}

/// How far the cancelling of an order came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// Not asked for.
    No,
    /// Asked for, no answer.
    Asked,
    /// Told.
    Told,
}

/// A wish and everything that was told about it.
#[derive(Clone, Debug)]
pub struct Deal {
    /// The wish.
    pub wish: Wish,
    /// The order, as it was told last.
    pub order: Option<Value>,
    /// A place in the queue that was told.
    pub queued: Option<Value>,
    /// The newest refusal.
    pub refused: Option<(u16, String)>,
    /// Whether the newest purchase was sent and not answered.
    pub open: bool,
    /// Whether it was to be cancelled.
    pub cancel: Cancel,
}

/// What became of a change of the total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    /// Sent, no answer.
    Open,
    /// Done.
    Done,
    /// Refused.
    Refused,
}

/// A change of the total.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its key.
    pub key: String,
    /// By how many.
    pub units: i64,
    /// What was told.
    pub became: Became,
}

/// Everything that was told.
#[derive(Debug, Default)]
pub struct Record {
    /// To buyers.
    pub deals: Vec<Deal>,
    /// To the operator.
    pub changes: Vec<Change>,
    /// How often the stock was added up.
    pub looks: usize,
    /// For how long.
    pub took: Duration,
}

/// Storms until it is stopped or its server is gone.
pub async fn run(plan: Arc<Plan>) -> Record {
    let begun = Instant::now();
    let buyers: Vec<_> = (0..plan.buyers).map(|index| tokio::spawn(buyer(plan.clone(), index))).collect();
    let (change, look) = (tokio::spawn(change(plan.clone())), tokio::spawn(look(plan.clone())));
    let mut record = Record::default();
    for buyer in buyers {
        record.deals.extend(buyer.await.expect("no contradiction"));
    }
    record.changes = change.await.expect("no contradiction");
    record.looks = look.await.expect("it always adds up");
    record.took = begun.elapsed();
    record
}

async fn buyer(plan: Arc<Plan>, index: usize) -> Vec<Deal> {
    let mut rng = SmallRng::seed_from_u64(plan.seed.wrapping_mul(1_000).wrapping_add(index as u64));
    let mut deals: Vec<Deal> = Vec::new();
    let Ok(mut wire) = Wire::connect(plan.address).await else { return deals };
    while !plan.stop.load(Ordering::Relaxed) {
        let known = deals.len();
        let at = rng.random_range(0..known.max(1));
        let step = match rng.random_range(0..100) {
            _ if known == 0 => None,
            0..15 => Some(deals[at].buy(&mut wire, "").await),
            15..35 => Some(deals[at].cancel(&mut wire).await),
            35..45 => Some(deals[at].look(&mut wire).await),
            _ => None,
        };
        let step = match step {
            Some(step) => step,
            None => {
                let buyer = format!("{}-{index}-{}", plan.sale, known / WISHES_OF_A_BUYER);
                let wish = Wish::new(&buyer, &format!("k{known}"), &plan.sale, rng.random_range(1..=3));
                let prefer = if plan.queues && rng.random_ratio(1, 8) { "Prefer: respond-async\r\n" } else { "" };
                deals.push(Deal::new(wish));
                deals[known].buy(&mut wire, prefer).await
            }
        };
        if step.is_err() {
            break;
        }
        plan.answered.fetch_add(1, Ordering::Relaxed);
    }
    deals
}

impl Deal {
    fn new(wish: Wish) -> Self {
        Self { wish, order: None, queued: None, refused: None, open: false, cancel: Cancel::No }
    }

    /// Sends the purchase, for the first time or again. An error: the connection ended before an answer.
    pub async fn buy(&mut self, wire: &mut Wire, lines: &str) -> io::Result<Reply> {
        self.open = true;
        let reply = wire.ask(&self.wish.with(lines)).await?;
        self.open = false;
        match &*reply.verdict() {
            "201" => {
                assert!(self.order.is_none(), "a second order: {self:?} then {reply}");
                assert_eq!(reply.json()["state"], "reserved", "{reply}");
                self.see(&reply);
            }
            "200" => {
                assert!(reply.is_replay(), "{reply}");
                self.see(&reply);
            }
            "202" => {
                assert!(self.order.is_none(), "it was an order: {self:?} then {reply}");
                self.queued = Some(reply.json());
            }
            verdict @ ("409 sold_out" | "409 limit_reached") => {
                assert!(self.order.is_none(), "a replay was refused: {self:?} then {reply}");
                self.refused = Some((409, verdict[4..].to_owned()));
            }
            // Only said when it holds: the same again later.
            "503 unavailable" | "503 overloaded" => {}
            other => panic!("{other} for {self:?}: {reply}"),
        }
        Ok(reply)
    }

    async fn cancel(&mut self, wire: &mut Wire) -> io::Result<Reply> {
        let Some(id) = self.id() else { return self.look(wire).await };
        self.cancel = self.cancel.max_of(Cancel::Asked);
        let reply = wire.ask(&self.wish.order("POST", &id, "/cancel")).await?;
        match &*reply.verdict() {
            "200" => {
                self.cancel = Cancel::Told;
                self.see(&reply);
            }
            "503 unavailable" | "503 overloaded" => {}
            other => panic!("{other} for the cancelling of {self:?}: {reply}"),
        }
        Ok(reply)
    }

    /// Looks at the order or the place in the queue; without either, buys again.
    pub async fn look(&mut self, wire: &mut Wire) -> io::Result<Reply> {
        let id = self.id().or_else(|| Some(self.queued.as_ref()?["id"].as_str()?.to_owned()));
        let Some(id) = id else { return self.buy(wire, "").await };
        let reply = wire.ask(&self.wish.order("GET", &id, "")).await?;
        match &*reply.verdict() {
            "200" => {
                let state = reply.json()["state"].clone();
                if !matches!(state.as_str(), Some("queued" | "refused")) {
                    self.see(&reply);
                } else {
                    assert!(self.order.is_none(), "it was an order: {self:?} then {reply}");
                }
            }
            "503 unavailable" | "503 overloaded" => {}
            other => panic!("{other} for a look at {self:?}: {reply}"),
        }
        Ok(reply)
    }

    /// The id of the order that was told.
    pub fn id(&self) -> Option<String> {
        Some(self.order.as_ref()?["id"].as_str().expect("an id").to_owned())
    }

    /// Takes in an order that was told, and holds it to what was told before.
    #[track_caller]
    fn see(&mut self, reply: &Reply) {
        let told = reply.json();
        let Wish { buyer, sale, item, units, .. } = &self.wish;
        assert_eq!(
            (&told["buyer"], &told["sale"], &told["item"]),
            (&buyer[..].into(), &sale[..].into(), &item[..].into())
        );
        assert_eq!(told["units"], *units, "{told}");
        let allowed: &[&str] = match self.cancel {
            Cancel::No => &["reserved"],
            Cancel::Asked => &["reserved", "cancelled"],
            Cancel::Told => &["cancelled"],
        };
        assert!(told["state"].as_str().is_some_and(|state| allowed.contains(&state)), "{told} for {self:?}");
        if let Some(before) = &self.order {
            for member in ["id", "amount", "reserved_at", "pay_by", "paid_at"] {
                assert_eq!(told[member], before[member], "{member}: {before} then {told}");
            }
        }
        self.order = Some(told);
    }
}

impl Cancel {
    fn max_of(self, other: Self) -> Self {
        if self == Self::No { other } else { self }
    }
}

/// Raises and lowers the total, often twice with the same key.
async fn change(plan: Arc<Plan>) -> Vec<Change> {
    let mut rng = SmallRng::seed_from_u64(plan.seed ^ 0xad05);
    let mut changes: Vec<Change> = Vec::new();
    let Ok(mut wire) = Wire::connect(plan.address).await else { return changes };
    while !plan.stop.load(Ordering::Relaxed) {
        let by = rng.random_range(1..=12);
        let units = if rng.random_ratio(1, 2) { by } else { -by };
        changes.push(Change { key: format!("a{}", changes.len()), units, became: Became::Open });
        let newest = changes.len() - 1;
        for _ in 0..rng.random_range(1..=2) {
            if changes[newest].send(&mut wire, &plan.sale).await.is_err() {
                return changes;
            }
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..30))).await;
    }
    changes
}

impl Change {
    /// Sends it, for the first time or again. An error: the connection ended before an answer.
    pub async fn send(&mut self, wire: &mut Wire, sale: &str) -> io::Result<()> {
        if self.became != Became::Done {
            self.became = Became::Open;
        }
        let reply = wire.ask(&adjustment(sale, &self.key, self.units)).await?;
        match &*reply.verdict() {
            "200" => {
                Stock::read(&reply.json());
                self.became = Became::Done;
            }
            "409 wrong_state" => {
                let free = reply.json()["free"].as_u64().expect("how many are free");
                assert!(
                    self.became != Became::Done && self.units < 0 && free < self.units.unsigned_abs(),
                    "{self:?}: {reply}"
                );
                self.became = Became::Refused;
            }
            "503 unavailable" | "503 overloaded" => {}
            other => panic!("{other} for {self:?}: {reply}"),
        }
        Ok(())
    }
}

/// Adds the stock up all the time; how often it did.
async fn look(plan: Arc<Plan>) -> usize {
    let mut looks = 0;
    let Ok(mut wire) = Wire::connect(plan.address).await else { return looks };
    let look = operator("GET", &format!("/v1/admin/sales/{}/stock", plan.sale), "", None);
    let mut every = tokio::time::interval(LOOK_EVERY);
    while !plan.stop.load(Ordering::Relaxed) {
        every.tick().await;
        let Ok(reply) = wire.ask(&look).await else { break };
        match &*reply.verdict() {
            "200" => {
                Stock::read(&reply.json()["items"][0]);
                looks += 1;
            }
            // The store is gone for good, and the program with it in a moment.
            "503 unavailable" => {}
            other => panic!("{other}: {reply}"),
        }
    }
    looks
}
