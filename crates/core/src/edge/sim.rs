//! Tests the edge's rules with random runs. In a run, another node takes over the feed, servers
//! lose data, replicas lag, reads arrive twice, and the store's clock is set back. The edge must
//! never refuse a request wrongly. Another test removes one rule at a time, and then a run must
//! fail.
use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::seeded_rng::SeededRng;

mod reader;

use reader::{Answer, Edge};

const ITEMS: u64 = 2;
const STEPS: usize = 400;
const SEEDS: u64 = 2_000;
const MUTANT_SEEDS: u64 = 5_000;
/// How far one step sets back the store's clock, in milliseconds.
const CLOCK_STEP: i64 = 3_600_000;

/// A commit in the store: the request that got an order, if any, and the item's free units after
/// the commit.
#[derive(Clone, Copy)]
struct Commit {
    at: i64,
    item: u64,
    request: Option<u64>,
    free: u64,
}

/// A node's memory. It contains the first `known` commits: all commits up to the time `as_of`.
#[derive(Clone, Copy, Default)]
struct Node {
    known: usize,
    as_of: i64,
    /// True while the node reads all requests again. During this time, its set of requests is not
    /// complete.
    is_rebuilding: bool,
}

#[derive(Clone, Default)]
struct Server {
    head: Option<FeedHead>,
    requests: Vec<u64>,
    /// For each item: the number of the item's last change in the feed, and its free units.
    entries: BTreeMap<u64, (u64, u64)>,
}

/// One node writes the feed. This is what this node remembers about the feed.
#[derive(Clone, Default)]
struct Writer {
    node: usize,
    head: Option<FeedHead>,
    listed: BTreeSet<u64>,
    entries: BTreeMap<u64, u64>,
}

struct World {
    rng: SeededRng,
    /// The true time.
    now: i64,
    set_back: i64,
    commits: Vec<Commit>,
    nodes: [Node; 2],
    writer: Writer,
    /// Every state of the primary server so far, newest last. A replica shows one of these states.
    servers: Vec<Server>,
    edge: Edge,
    generations: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = SeededRng::new(seed);
        let free: Vec<u64> = (0..ITEMS).map(|_| 1 + rng.below(3)).collect();
        let opening = |(item, free): (usize, &u64)| Commit {
            at: 0,
            item: item as u64,
            request: None,
            free: *free,
        };
        Self {
            commits: free.iter().enumerate().map(opening).collect(),
            rng,
            now: 1_000,
            set_back: 0,
            nodes: [Node { known: ITEMS as usize, as_of: 1_000, is_rebuilding: false }; 2],
            writer: Writer::default(),
            servers: vec![Server::default()],
            edge: Edge::default(),
            generations: 0,
        }
    }

    fn store_now(&self) -> i64 {
        self.now - self.set_back
    }

    fn free_now(&self, item: u64) -> u64 {
        self.commits.iter().rev().find(|commit| commit.item == item).map_or(0, |c| c.free)
    }

    fn order(&mut self, through_edge: bool) {
        let item = self.rng.below(ITEMS);
        let free = self.free_now(item);
        if free > 0 {
            let request = self.commits.len() as u64;
            self.now += 1;
            let commit = Commit { at: self.now, item, request: Some(request), free: free - 1 };
            self.commits.push(commit);
            if through_edge {
                self.edge.own.insert(request);
            }
        }
    }

    fn give_back(&mut self) {
        let item = self.rng.below(ITEMS);
        self.now += 1;
        let free = self.free_now(item) + 1;
        self.commits.push(Commit { at: self.now, item, request: None, free });
    }

    fn catch_up(&mut self, node: usize) {
        self.nodes[node].known = self.commits.len();
        self.nodes[node].as_of = self.store_now();
    }

    fn memory(&self) -> (BTreeMap<u64, u64>, BTreeSet<u64>, Node) {
        let node = self.nodes[self.writer.node];
        let known = &self.commits[..node.known];
        let free = known.iter().map(|commit| (commit.item, commit.free)).collect();
        let requests = known.iter().filter_map(|commit| commit.request);
        let requests = requests.filter(|request| !node.is_rebuilding || request % 2 == 0).collect();
        (free, requests, node)
    }

    /// Writes the memory of the writing node to the feed. Begins a new generation if `begin` is
    /// true, or if the feed is no longer as this node last wrote it.
    fn write(&mut self, begin: bool) {
        let (free, requests, node) = self.memory();
        let mut server = self.servers.last().cloned().expect("the feed has at least one server");
        let is_mine = self.writer.head.is_some() && server.head == self.writer.head;
        let is_whole = server.requests.len() == self.writer.listed.len();
        if begin || !(is_mine && is_whole) {
            self.generations += 1;
            self.writer = Writer { node: self.writer.node, ..Writer::default() };
            server = Server::default();
            let unfinished = FeedHead {
                generation: self.generations,
                seq: 0,
                requests: 0,
                as_of: Millis(node.as_of),
                is_complete: false,
                has_all_requests: true,
            };
            // An edge may read the new generation before the node has written all of it.
            let listed = requests.iter().copied().take(self.rng.pick(requests.len() + 1));
            let partial = FeedHead { requests: 0, ..unfinished };
            self.servers.push(Server {
                head: Some(FeedHead { requests: listed.len() as u64, ..partial }),
                requests: listed.collect(),
                entries: free.iter().map(|(item, free)| (*item, (1, *free))).collect(),
            });
            self.writer.head = Some(unfinished);
        }
        let mut head = self.writer.head.expect("begun");
        for request in &requests {
            if self.writer.listed.insert(*request) {
                server.requests.push(*request);
            }
        }
        for (item, free) in free {
            if self.writer.entries.insert(item, free) != Some(free) {
                head.seq += 1;
                server.entries.insert(item, (head.seq, free));
            }
        }
        head.as_of = Millis(node.as_of);
        head.requests = server.requests.len() as u64;
        head.is_complete = true;
        head.has_all_requests = !node.is_rebuilding;
        server.head = Some(head);
        self.writer.head = Some(head);
        self.servers.push(server);
    }

    /// Lets the edge read from a replica that lacks the last `behind` states. If `whole` is false,
    /// the edge reads only a part of the feed. If `again` is true, the edge does not read, but gets
    /// the result of its last read a second time.
    fn read(&mut self, behind: usize, again: bool, whole: bool) -> Result<(), String> {
        if !again {
            let at = self.servers.len() - 1 - behind.min(self.servers.len() - 1);
            let server = &self.servers[at];
            let Some(head) = server.head else { return Ok(()) };
            let position = self.edge.follower.position();
            let from = match position.generation == head.generation {
                true => position,
                false => FeedPosition { generation: head.generation, ..FeedPosition::default() },
            };
            let most = if whole { usize::MAX } else { 1 + self.rng.pick(3) };
            let requests: Vec<u64> =
                server.requests.iter().skip(from.requests as usize).take(most).copied().collect();
            let mut entries: Vec<_> =
                server.entries.iter().map(|(i, (s, f))| (*s, *i, *f)).collect();
            entries.retain(|(seq, ..)| *seq > from.seq);
            entries.sort_unstable();
            let has_more_entries = entries.len() > most;
            entries.truncate(most);
            let read = FeedRead {
                head,
                from,
                requests: requests.len() as u64,
                last_seq: entries.last().map(|(seq, ..)| *seq),
                has_more_entries,
            };
            let entries = entries.into_iter().map(|(_, item, free)| (item, free)).collect();
            self.edge.last_read = Some(Answer { read, requests, entries });
        }
        let Some(answer) = self.edge.last_read.clone() else { return Ok(()) };
        let (before, used_at) = (self.edge.used, self.edge.used_at);
        self.edge.take(answer, self.now);
        let after = self.edge.used;
        let went_back = before.zip(after).is_some_and(|(before, after)| after.as_of < before.as_of);
        match went_back && self.now - used_at <= FEED_AGE_MAX_MS {
            true => Err(format!("the copy went back from {before:?} to {after:?}")),
            false => Ok(()),
        }
    }

    fn read_clock(&mut self, trip: i64) {
        let asked_at = self.now;
        let time = Millis(self.store_now() + self.rng.below(trip as u64 + 1) as i64);
        self.now += trip;
        let reading = ClockReading { time, asked_at, answered_at: self.now };
        let is_better = self.edge.clock.is_none_or(|old| reading.is_better_than(&old, self.now));
        if is_better {
            self.edge.clock = Some(reading);
        }
    }

    /// Sends a request of a buyer to the edge. If the edge refuses the request, checks that the
    /// edge was right.
    fn ask(&mut self) -> Result<(), String> {
        let request = self.rng.below(self.commits.len() as u64 + 3);
        let known = self.commits.iter().find(|commit| commit.request == Some(request));
        let item = known.map_or(request % ITEMS, |commit| commit.item);
        if !self.edge.refuses(item, request, self.now) {
            return Ok(());
        }
        let since = self.now - FEED_AGE_MAX_MS;
        if let Some(order) = known
            && (order.at <= since || self.edge.own.contains(&request))
        {
            return Err(format!(
                "request {request} has held an order since {}, but is refused at {}",
                order.at, self.now
            ));
        }
        let of_item = || self.commits.iter().filter(|commit| commit.item == item);
        let before = of_item().rfind(|commit| commit.at <= since).map_or(0, |commit| commit.free);
        let was_gone = before == 0 || of_item().any(|c| c.at > since && c.free == 0);
        if !was_gone {
            return Err(format!(
                "item {item} has had free units since {since}, but is refused at {}",
                self.now
            ));
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), String> {
        match self.rng.below(20) {
            0 | 1 => self.now += self.rng.below(900) as i64,
            2 | 3 => self.order(false),
            4 => self.order(true),
            5 => self.give_back(),
            6 | 7 => {
                let node = self.rng.pick(2);
                self.catch_up(node);
            }
            8..=10 => self.write(false),
            11 => match self.rng.below(6) {
                0 => self.writer = Writer { node: 1 - self.writer.node, ..Writer::default() },
                1 => self.servers.push(Server::default()),
                2 => {
                    let old = self.servers[self.rng.pick(self.servers.len())].clone();
                    self.servers.push(old);
                }
                3 => {
                    let node = self.rng.pick(2);
                    self.nodes[node].is_rebuilding ^= true;
                    self.writer.head = None;
                }
                4 if self.rng.below(8) == 0 => self.set_back += CLOCK_STEP,
                _ => {}
            },
            12..=15 => {
                let behind = if self.rng.below(3) == 0 { self.rng.pick(12) } else { 0 };
                let again = self.rng.below(8) == 0;
                self.read(behind, again, false)?;
            }
            16 => {
                let trip = self.rng.below(300) as i64;
                self.read_clock(trip);
            }
            _ => self.ask()?,
        }
        Ok(())
    }

    /// Checks that soon after the last fault, the edge uses the newest commit. The edge must do so
    /// even if the store's clock was set back.
    fn rest(&mut self) -> Result<(), String> {
        self.nodes = [Node { is_rebuilding: false, ..self.nodes[0] }; 2];
        self.writer.head = None;
        // If the store's clock was set back, the edge starts over after this time.
        self.now += FEED_AGE_MAX_MS + 1;
        for _ in 0..20 {
            self.now += 10;
            self.catch_up(self.writer.node);
            self.write(false);
            self.read_clock(2);
            for _ in 0..3 {
                self.read(0, false, true)?;
            }
        }
        for item in 0..ITEMS {
            let refused = self.edge.refuses(item, u64::MAX - 1, self.now);
            if refused != (self.free_now(item) == 0) {
                return Err(format!(
                    "after the faults, item {item} is wrong: refused is {refused}"
                ));
            }
        }
        Ok(())
    }
}

fn run(seed: u64) -> Result<(), String> {
    let mut world = World::new(seed);
    (0..STEPS).try_for_each(|_| world.step())?;
    world.rest()
}

#[test]
fn an_edge_uses_no_old_copy_and_never_refuses_a_holder_of_an_order() {
    for seed in 1..=SEEDS {
        if let Err(why) = run(seed) {
            panic!("seed {seed}: {why}");
        }
    }
}

#[test]
fn the_removal_of_each_rule_is_noticed() {
    for &rule in FeedRule::ALL {
        REMOVED.set(Some(rule));
        let noticed = (1..=MUTANT_SEEDS).find(|seed| run(*seed).is_err());
        REMOVED.set(None);
        assert!(noticed.is_some(), "every run passed without the rule {rule:?}");
    }
}
