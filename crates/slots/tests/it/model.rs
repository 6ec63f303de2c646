//! Runs random lists of calls on the reference slot and on a slot in Redis. Compares each answer,
//! and the slot's state after each call.
use std::collections::HashSet;
use std::sync::OnceLock;
use std::time::Duration;

use doorbuster_core::rows::FeedCause;
use doorbuster_core::slot::{
    ApplyOutcome, GrantTerms, IssuedTicket, RecallOutcome, Slot, SlotBounds, TicketAnswer,
    TicketRequest,
};
use doorbuster_core::{
    Counter, Epoch, FeedRow, GrantId, IdKey, ItemId, QueuedTicket, RecallId, RequestKey, Seq,
    SlotKey, Ticket, Token,
};
use doorbuster_slots::conformance::{id_key, request};
use doorbuster_slots::{DeliveryRef, DequeuedTicket, RedisOptions, Slots};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::server::{Server, options};

const SLOT: SlotKey = SlotKey { item: ItemId(3), index: 1 };
/// The longest wait for the delivery of the issued tickets.
const TAKE_MAX: Duration = Duration::from_secs(30);

/// A request. The buyers and the keys come from a small range, so that they often repeat.
#[derive(Clone, Debug)]
struct Seed {
    buyer: u8,
    key: u8,
    units: u32,
    limit: u32,
    later_ms: i64,
}

#[derive(Clone, Debug)]
struct Row {
    what: What,
    counter: Counter,
    units: u64,
    /// The number of feed rows that are missing before this row.
    off: u64,
    foreign: bool,
}

#[derive(Clone, Debug)]
enum What {
    Refill,
    RecallOutcome,
    /// Credits one of the issued tickets. The flag says whether the feed row has the request's key.
    Returned(Index, bool),
    /// Ends one of the orders if the flag is true, and otherwise revives it. The feed row changes
    /// the quota of the order's buyer.
    Order(Index, bool),
}

#[derive(Clone, Debug)]
enum Op {
    Init {
        epoch: u64,
        counted: bool,
        available: u64,
        threshold: u64,
    },
    /// One call sends all of these tickets.
    Tickets(Vec<Seed>),
    Apply(Vec<Row>),
    Recall {
        id: u64,
        units: u64,
        foreign: bool,
    },
    Take(usize),
    Acknowledge {
        which: Index,
        wrong: bool,
    },
    Redeliver,
    Stop(bool),
    Forget,
}

fn seeds() -> impl Strategy<Value = Seed> {
    (0..4_u8, 0..4_u8, 1..5_u32, select(vec![3, 6, 1_000]), select(vec![0, 0, 0, 500, 3_500]))
        .prop_map(|(buyer, key, units, limit, later_ms)| Seed {
            buyer,
            key,
            units,
            limit,
            later_ms,
        })
}

fn rows() -> impl Strategy<Value = Row> {
    let what = prop_oneof![
        2 => Just(What::Refill),
        1 => Just(What::RecallOutcome),
        4 => (any::<Index>(), any::<bool>())
            .prop_map(|(at, with_key)| What::Returned(at, with_key)),
        2 => (any::<Index>(), any::<bool>()).prop_map(|(at, ended)| What::Order(at, ended)),
    ];
    let off = prop_oneof![8 => Just(0_u64), 1 => 1..3_u64];
    (what, select(&Counter::ALL), 0..9_u64, off, prop::bool::weighted(0.1))
        .prop_map(|(what, counter, units, off, foreign)| Row { what, counter, units, off, foreign })
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (1..9_u64, prop::bool::weighted(0.8), 0..20_u64, select(vec![0, 0, 3, 6]))
            .prop_map(|(epoch, counted, available, threshold)| {
                Op::Init { epoch, counted, available, threshold }
            }),
        9 => vec(seeds(), 1..7).prop_map(Op::Tickets),
        5 => vec(rows(), 1..4).prop_map(Op::Apply),
        2 => (1..6_u64, 0..9_u64, prop::bool::weighted(0.2))
            .prop_map(|(id, units, foreign)| Op::Recall { id, units, foreign }),
        4 => (1..6_usize).prop_map(Op::Take),
        6 => (any::<Index>(), prop::bool::weighted(0.2))
            .prop_map(|(which, wrong)| Op::Acknowledge { which, wrong }),
        1 => Just(Op::Redeliver),
        1 => any::<bool>().prop_map(Op::Stop),
        1 => prop::bool::weighted(0.2).prop_map(|all| if all { Op::Forget } else { Op::Take(9) }),
    ]
}

/// The reference and the real slot, and their results.
struct Both {
    slot: Slot,
    slots: Slots,
    server: &'static Server,
    prefix: String,
    key: IdKey,
    bounds: SlotBounds,
    grant: GrantId,
    epoch: Epoch,
    applied: u64,
    stopped: bool,
    now_ms: i64,
    tokens: u64,
    issued: Vec<(TicketRequest, IssuedTicket)>,
    /// Each unacknowledged ticket, as the reference and as the real slot delivered it.
    delivered: Vec<(QueuedTicket, DequeuedTicket)>,
}

impl Both {
    async fn new(bounds: SlotBounds) -> Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        static LISTS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let server = SERVER.get_or_init(|| Server::start(&[]));
        let prefix = format!("list{}", LISTS.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let options = RedisOptions { bounds, ..options(vec![server.url()], &prefix) };
        let slots = Slots::redis(options).await.expect("the server can hold slots");
        slots.serve(&[SLOT]).expect("one slot");
        Self {
            slot: Slot::with_bounds(SLOT.item, bounds),
            slots,
            server,
            prefix,
            key: id_key(),
            bounds,
            grant: GrantId(0),
            epoch: Epoch(0),
            applied: 0,
            stopped: false,
            now_ms: 1_000_000,
            tokens: 0,
            issued: Vec::new(),
            delivered: Vec::new(),
        }
    }

    /// Returns whether the queue's bound is low. If so, the test always acknowledges the oldest
    /// ticket first. With another sequence, the two queues would be full at different times: only
    /// the reference counts an acknowledged ticket until all earlier tickets are acknowledged.
    fn is_tight(&self) -> bool {
        self.bounds.queue < 100
    }

    async fn run(&mut self, ops: &[Op]) {
        for (i, op) in ops.iter().enumerate() {
            let (here, there) = self.step(op).await;
            assert_eq!(here, there, "step {i}, {op:?}: Redis (left) differs from the reference");
            let here = self.slots.view(SLOT).await.expect("reachable");
            assert_eq!(here, self.slot.view(), "step {i}, {op:?}: view of Redis (left) differs");
        }
    }

    /// Makes the call on both slots. Returns the answers of the reference and of the real slot.
    async fn step(&mut self, op: &Op) -> (String, String) {
        match op {
            &Op::Init { epoch, counted, available, threshold } => {
                let terms = GrantTerms {
                    grant: GrantId(epoch << 53 | 1),
                    epoch: Epoch(epoch),
                    counted,
                    available,
                    threshold,
                };
                let is_first = self.slot.view().is_none();
                let there = self.slot.init(terms);
                let here = self.slots.init(SLOT, terms).await.expect("reachable");
                if is_first {
                    // If a slot is stopped before its first epoch, the reference remembers this,
                    // but Redis ignores the call. So the test calls `stop` again.
                    self.slots.stop(SLOT, self.stopped).await.expect("reachable");
                }
                let view = self.slot.view().expect("just given");
                (self.grant, self.epoch, self.applied) = (view.grant, view.epoch, view.applied.0);
                shown::<ApplyOutcome>(here, there)
            }
            Op::Tickets(seeds) => self.tickets(seeds).await,
            Op::Apply(rows) => self.apply(rows).await,
            &Op::Recall { id, units, foreign } => {
                let grant = if foreign { GrantId(9) } else { self.grant };
                let there = self.slot.recall(RecallId(id), grant, self.epoch, units);
                let here = self
                    .slots
                    .recall(SLOT, RecallId(id), grant, self.epoch, units)
                    .await
                    .expect("reachable");
                shown::<RecallOutcome>(here, there)
            }
            &Op::Take(at_most) => self.take(at_most).await,
            Op::Acknowledge { which, wrong } => {
                self.acknowledge(which, *wrong).await;
                shown((), ())
            }
            Op::Redeliver => {
                self.slot.redeliver();
                self.slots.redeliver(SLOT).await.expect("reachable");
                self.delivered.clear();
                shown((), ())
            }
            &Op::Stop(stopped) => {
                (self.stopped, _) = (stopped, self.slot.stop(stopped));
                self.slots.stop(SLOT, stopped).await.expect("reachable");
                shown((), ())
            }
            Op::Forget => {
                self.forget().await;
                shown((), ())
            }
        }
    }

    async fn tickets(&mut self, seeds: &[Seed]) -> (String, String) {
        let mut requests = Vec::new();
        for seed in seeds {
            self.now_ms += seed.later_ms;
            self.tokens += 1;
            let mut one = request(
                &format!("b{}", seed.buyer),
                &format!("k{}", seed.key),
                seed.units,
                seed.limit,
            );
            (one.token, one.decide_by.0) = (Token(self.tokens), self.now_ms);
            requests.push(one);
        }
        let mut tasks = JoinSet::new();
        for (i, one) in requests.iter().enumerate() {
            let (slots, one) = (self.slots.clone(), one.clone());
            tasks.spawn(async move { (i, slots.ticket(SLOT, &one).await.expect("reachable")) });
        }
        let mut here = tasks.join_all().await;
        here.sort_by_key(|(i, _)| *i);
        let here: Vec<TicketAnswer> = here.into_iter().map(|(_, answer)| answer).collect();
        let there: Vec<TicketAnswer> = requests.iter().map(|one| self.slot.ticket(one)).collect();
        for (one, answer) in requests.into_iter().zip(&there) {
            if let TicketAnswer::Issued(issued) = answer {
                self.issued.push((one, *issued));
            }
        }
        shown(here, there)
    }

    async fn apply(&mut self, rows: &[Row]) -> (String, String) {
        let mut next = self.applied;
        let mut feed = Vec::new();
        for row in rows {
            next += 1;
            feed.push(self.row(row, next));
        }
        let mut there = ApplyOutcome::Foreign;
        for row in &feed {
            there = self.slot.apply(self.epoch, row, &self.key);
        }
        let here = self.slots.apply(SLOT, self.epoch, &feed).await.expect("reachable");
        self.applied = self.slot.view().map_or(0, |v| v.applied.0);
        shown(here, there)
    }

    fn row(&self, row: &Row, seq: u64) -> FeedRow {
        let mut feed = FeedRow {
            grant: if row.foreign { GrantId(9) } else { self.grant },
            seq: Seq(seq + row.off),
            ticket: None,
            buyer: None,
            key: None,
            units: row.units,
            counter: row.counter,
            quota_delta: 0,
            cause: FeedCause::Refill,
        };
        let one = |at: &Index| self.issued.get(at.index(self.issued.len().max(1)));
        match &row.what {
            What::Refill => {}
            What::RecallOutcome => feed.cause = FeedCause::Recalled,
            What::Returned(at, with_key) => {
                let Some((request, issued)) = one(at) else { return feed };
                feed.cause = FeedCause::Returned;
                feed.ticket = Some(self.key.id_of(&ticket(request, issued)));
                feed.buyer = Some(request.buyer.clone());
                feed.key = with_key.then(|| RequestKey::clone(&request.key));
                feed.quota_delta = -i64::from(issued.units.get());
            }
            What::Order(at, ended) => {
                let Some((request, issued)) = one(at) else { return feed };
                let units = i64::from(issued.units.get());
                feed.buyer = Some(request.buyer.clone());
                (feed.cause, feed.units) = (FeedCause::OrderEnded, 0);
                feed.quota_delta = if *ended { -units } else { units };
            }
        }
        feed
    }

    async fn take(&mut self, at_most: usize) -> (String, String) {
        let mut there = Vec::new();
        self.slot.take(at_most, &mut there);
        let mut here: Vec<DequeuedTicket> = Vec::new();
        // The same ticket may be delivered twice.
        let mut known: HashSet<(GrantId, Token)> =
            self.delivered.iter().map(|(d, _)| name(d)).collect();
        while here.len() < there.len() {
            let taken =
                tokio::time::timeout(TAKE_MAX, self.slots.take(there.len() - here.len())).await;
            let taken = taken.expect("tickets are waiting").expect("reachable");
            here.extend(taken.into_iter().filter(|t| known.insert(name(&t.delivery))));
        }
        let tickets = |all: Vec<&QueuedTicket>| {
            all.into_iter().map(|d| Ticket::clone(&d.ticket)).collect::<Vec<_>>()
        };
        let shown = shown(
            tickets(here.iter().map(|t| &t.delivery).collect()),
            tickets(there.iter().collect()),
        );
        self.delivered.extend(there.into_iter().zip(here));
        shown
    }

    async fn acknowledge(&mut self, which: &Index, wrong: bool) {
        if self.delivered.is_empty() {
            return;
        }
        let at = if self.is_tight() { 0 } else { which.index(self.delivered.len()) };
        let (there, here) = &self.delivered[at];
        let token = if wrong { Token(u64::MAX >> 16) } else { there.ticket.token };
        self.slot.acknowledge(there.at, token);
        let done = DeliveryRef { slot: SLOT, at: here.delivery.at, token };
        self.slots.acknowledge(&[done]).await.expect("reachable");
        if !wrong {
            self.delivered.remove(at);
        }
    }

    /// Deletes all keys in Redis and starts new readers, which deliver none of the earlier tickets.
    async fn forget(&mut self) {
        let keys: Vec<String> = self.server.ask(&["KEYS", &format!("{}:*", self.prefix)]);
        if !keys.is_empty() {
            let words: Vec<&str> =
                ["DEL"].into_iter().chain(keys.iter().map(String::as_str)).collect();
            let _: u64 = self.server.ask(&words);
        }
        let fresh = Self::new(self.bounds).await;
        *self = Self { now_ms: self.now_ms, tokens: self.tokens, ..fresh };
    }
}

fn name(delivery: &QueuedTicket) -> (GrantId, Token) {
    (delivery.ticket.grant, delivery.ticket.token)
}

fn shown<T: std::fmt::Debug>(here: T, there: T) -> (String, String) {
    (format!("{here:?}"), format!("{there:?}"))
}

fn ticket(request: &TicketRequest, issued: &IssuedTicket) -> Ticket {
    Ticket {
        token: issued.token,
        grant: issued.grant,
        n: issued.n,
        item: SLOT.item,
        buyer: request.buyer.clone(),
        key: request.key.clone(),
        units: issued.units,
        decide_by: issued.decide_by,
        node: request.node,
    }
}

fn follow(bounds: SlotBounds, ops: &[Op]) {
    let runtime: Runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { Both::new(bounds).await.run(ops).await });
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn redis_answers_like_the_reference(ops in vec(ops(), 1..60)) {
        follow(SlotBounds { queue: 1_000, requests: 1_000, recalls: 1_000 }, &ops);
    }

    #[test]
    fn redis_answers_like_the_reference_at_narrow_bounds(
        (queue, requests, recalls) in (2..6_usize, 2..8_usize, 1..3_usize),
        ops in vec(ops(), 1..60),
    ) {
        follow(SlotBounds { queue, requests, recalls }, &ops);
    }
}
