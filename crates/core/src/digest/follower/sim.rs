//! Tests the rules of digests with random runs: crashes, failovers, pauses, lost connections, and
//! digests that are deleted or unreadable. A node must never refuse a request that holds an order.
//! Another test removes one rule at a time, and then a run must fail.
use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::digest::{OrderDigest, decode, encode};
use crate::seeded_rng::SeededRng;
use crate::value::{GrantId, ItemId, TicketN};

const STEPS: usize = 300;
const SEEDS: u64 = 2_000;
const MUTANT_SEEDS: u64 = 20_000;
const UNITS: u64 = 4;
/// A crash can lose a transaction id only if the id was assigned less than this many milliseconds
/// before the crash.
const DURABLE_AFTER_MS: i64 = DIGEST_POLL_REWIND_MS / 2;
const BACKLOG_ROWS: usize = 2;

#[derive(Clone, Copy)]
struct Order {
    seq: i64,
    request: u64,
    transaction: u64,
}

#[derive(Clone)]
struct Row {
    transaction: u64,
    at: i64,
    orders: Vec<u8>,
}

struct Database {
    timeline: u32,
    next: u64,
    next_seq: i64,
    next_request: u64,
    /// One entry for each assigned transaction id: the time of the assignment, and the value of
    /// `next` after it.
    assigned: Vec<(i64, u64)>,
    running: BTreeMap<u64, Order>,
    orders: Vec<Order>,
    digests: Vec<Row>,
    free: u64,
}

impl Database {
    fn position(&self, now: i64) -> SnapshotPosition {
        let xmin = self.running.keys().next().copied().unwrap_or(self.next);
        let running: Vec<String> = self.running.keys().map(u64::to_string).collect();
        SnapshotPosition {
            snapshot: format!("{xmin}:{}:{}", self.next, running.join(",")),
            timeline: self.timeline.to_string(),
            fence: None,
            at: Millis(now),
        }
    }

    fn begin(&mut self, now: i64) {
        let transaction = self.next;
        let order = Order { seq: self.next_seq, request: self.next_request, transaction };
        self.running.insert(transaction, order);
        (self.next, self.next_seq, self.next_request) =
            (transaction + 1, self.next_seq + 1, self.next_request + 1);
        self.assigned.push((now, self.next));
    }

    /// Commits a transaction, or aborts it if no unit is free.
    fn commit(&mut self, transaction: u64, now: i64, is_readable: bool) {
        let Some(order) = self.running.remove(&transaction) else { return };
        if self.free == 0 {
            return;
        }
        self.free -= 1;
        self.orders.push(order);
        let mut orders = encode(&[OrderDigest {
            request: order.request,
            buyer: 0,
            item: ItemId(1),
            grant: GrantId(1),
            n: TicketN(order.request),
            created_for: None,
            ended: false,
        }]);
        if !is_readable {
            orders[0] += 1;
        }
        self.digests.push(Row { transaction, at: now, orders });
    }

    /// Ends every running transaction, because the database crashed or failed over. The next
    /// transaction gets the id `kept`, or the id after the highest committed id if that is higher.
    fn restart(&mut self, kept: u64) {
        self.running.clear();
        let committed = self.orders.iter().map(|order| order.transaction + 1).max();
        self.next = kept.max(committed.unwrap_or(1));
        self.assigned.retain(|(_, next)| *next <= self.next);
    }
}

struct Node {
    follower: DigestFollower,
    requests: BTreeSet<u64>,
    free: u64,
    /// The requests that held an order when the latest poll counted the free units.
    counted: BTreeSet<u64>,
    is_connected: bool,
}

struct World {
    rng: SeededRng,
    now: i64,
    database: Database,
    node: Node,
}

impl World {
    fn new(seed: u64) -> Self {
        let database = Database {
            timeline: 1,
            next: 10,
            next_seq: 0,
            next_request: 0,
            assigned: Vec::new(),
            running: BTreeMap::new(),
            orders: Vec::new(),
            digests: Vec::new(),
            free: UNITS,
        };
        let node = Node {
            follower: DigestFollower::new(SnapshotPosition::beginning("1".to_owned()), 0),
            requests: BTreeSet::new(),
            free: UNITS,
            counted: BTreeSet::new(),
            is_connected: true,
        };
        let rng = SeededRng::new(seed);
        Self { rng, now: 0, database, node }
    }

    fn poll(&mut self) {
        if !self.node.is_connected {
            self.node.is_connected = true;
            self.node.follower.rewind(self.now);
        }
        let (found, since) = (self.database.position(self.now), self.node.follower.since());
        let mut is_restart = since.is_beginning() || restart_cause(since, &found).is_some();
        if !is_restart {
            for row in &self.database.digests {
                let transaction = row.transaction.to_string();
                if since.includes(&transaction) || !found.includes(&transaction) {
                    continue;
                }
                match decode(&row.orders) {
                    Ok(orders) => self.node.requests.extend(orders.iter().map(|o| o.request)),
                    Err(_) => is_restart = true,
                }
            }
        }
        let backlog = is_restart.then(|| Backlog { snapshot: found.snapshot.clone(), after: -1 });
        self.node.follower.advance(found, backlog, self.now);
        self.node.free = self.database.free;
        self.node.counted = self.database.orders.iter().map(|order| order.request).collect();
    }

    fn read_backlog(&mut self) {
        let Some(Backlog { snapshot, after }) = self.node.follower.backlog().cloned() else {
            return;
        };
        let within = SnapshotPosition { snapshot, ..SnapshotPosition::beginning(String::new()) };
        let mut rows = self.database.orders.clone();
        rows.retain(|o| o.seq > after && within.includes(&o.transaction.to_string()));
        rows.sort_unstable_by_key(|order| order.seq);
        rows.truncate(BACKLOG_ROWS);
        self.node.requests.extend(rows.iter().map(|order| order.request));
        let last = rows.last().map(|order| order.seq).filter(|_| rows.len() == BACKLOG_ROWS);
        self.node.follower.advance_backlog(last);
    }

    fn refuses(&self, request: u64) -> bool {
        let Node { follower, requests, free, .. } = &self.node;
        follower.is_complete() && *free == 0 && !requests.contains(&request)
    }

    /// Checks that the node refuses no request that held an order at the latest poll.
    fn check(&self) -> Result<(), String> {
        match self.node.counted.iter().find(|request| self.refuses(**request)) {
            Some(request) => {
                Err(format!("request {request} holds an order, but is refused at {}", self.now))
            }
            None => Ok(()),
        }
    }

    fn step(&mut self) -> Result<(), String> {
        let now = self.now;
        match self.rng.below(32) {
            0..=5 => self.database.begin(now),
            6..=11 => {
                let running: Vec<u64> = self.database.running.keys().copied().collect();
                if !running.is_empty() {
                    let transaction = running[self.rng.pick(running.len())];
                    let is_readable = self.rng.below(20) > 0;
                    match self.rng.below(4) {
                        0 => drop(self.database.running.remove(&transaction)),
                        _ => self.database.commit(transaction, now, is_readable),
                    }
                }
            }
            12 => self.database.free += 1,
            13..=18 => self.poll(),
            19..=21 if self.node.is_connected => self.read_backlog(),
            22 => self.node.is_connected = false,
            23 if self.rng.below(4) == 0 => {
                let durable = now - DURABLE_AFTER_MS;
                let assigned = &self.database.assigned;
                let kept = assigned.iter().rev().find(|(at, _)| *at <= durable);
                let kept = kept.map_or(10, |(_, next)| *next);
                self.database.restart(kept);
                self.node.is_connected = false;
            }
            24 if self.rng.below(4) == 0 => {
                self.database.timeline += 1;
                self.database.restart(10);
                self.node.is_connected = false;
            }
            25 if self.rng.below(8) == 0 => {
                self.now += 2 * DIGESTS_READ_WITHIN_MS + 1;
                let kept = self.now - 2 * DIGESTS_READ_WITHIN_MS;
                self.database.digests.retain(|row| row.at >= kept);
            }
            26 => self.now += DIGEST_POLL_REWIND_MS / 3,
            _ => self.now += 500,
        }
        self.check()
    }

    /// Lets the node poll for a while without faults. Then it must know all orders.
    fn rest(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            self.now += 10;
            self.poll();
            self.read_backlog();
            self.check()?;
        }
        let unknown =
            self.database.orders.iter().find(|o| !self.node.requests.contains(&o.request));
        match (unknown, self.node.follower.is_complete()) {
            (None, true) => Ok(()),
            (unknown, is_complete) => Err(format!(
                "after the faults, the node is behind: lacks order {:?}, is_complete {is_complete}",
                unknown.map(|order| order.seq)
            )),
        }
    }
}

fn run(seed: u64) -> Result<(), String> {
    let mut world = World::new(seed);
    (0..STEPS).try_for_each(|_| world.step())?;
    world.rest()
}

#[test]
fn a_node_refuses_no_request_that_holds_an_order() {
    for seed in 1..=SEEDS {
        if let Err(why) = run(seed) {
            panic!("seed {seed}: {why}");
        }
    }
}

#[test]
fn the_removal_of_each_rule_is_noticed() {
    for &rule in DigestRule::ALL {
        REMOVED.set(Some(rule));
        let noticed = (1..=MUTANT_SEEDS).find(|seed| run(*seed).is_err());
        REMOVED.set(None);
        assert!(noticed.is_some(), "every run passed without the rule {rule:?}");
    }
}

#[cfg(feature = "mutants")]
#[test]
fn the_removal_of_the_rule_about_running_transactions_is_noticed() {
    crate::rules::remove(Some(crate::rules::Rule::RefreshFromXmin));
    let noticed = (1..=MUTANT_SEEDS).find(|seed| run(*seed).is_err());
    crate::rules::remove(None);
    assert!(noticed.is_some());
}
