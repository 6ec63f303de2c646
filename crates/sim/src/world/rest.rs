//! The end of a simulated sale: no more faults, every message arrives, every loop runs until nothing changes. Then fresh buyers ask.
use doorbuster_core::ItemId;
use doorbuster_core::limits::{DECIDE_WITHIN_MS, SETTLE_BATCH_MAX, VERDICT_GRACE_MS};

use super::World;
use super::node::{Attempt, State};
use crate::judge::Told;

/// Rounds of all loops within which a sale comes to rest.
const ROUNDS_MAX: usize = 40;

/// What must stay the same for a round to have changed nothing.
#[derive(PartialEq, Eq)]
struct Signature {
    version: u64,
    attempts: usize,
    open: usize,
    slots: u64,
}

impl World {
    pub(super) fn rest(&mut self) {
        for node in &mut self.nodes {
            node.skew_ms = 0;
        }
        self.leases_at_rest();
        self.settle_down();
        while !self.late.is_empty() && !self.judge.found() {
            self.late(0);
        }
        self.settle_down();
        self.answer_rest();
        self.decide_rest();
        self.settle_down();
        self.payments_at_rest();
        self.settle_down();
        let living = (0..self.places.len()).filter(|&slot| !self.is_gone(slot));
        let slots: Vec<_> =
            living.map(|i| (self.places[i].at, self.places[i].slot.view())).collect();
        let gone = (0..self.places.len())
            .filter(|&slot| self.is_gone(slot))
            .map(|i| self.places[i].at)
            .collect::<Vec<_>>();
        self.judge.gone_at_rest(&self.truth, &gone);
        self.judge.slots_at_rest(&self.truth, &slots);
        self.judge.verdicts_at_rest(&self.truth);
        self.judge.lines_at_rest(&self.truth);
        for item in 0..self.setup.items.len() {
            if !self.judge.found() {
                self.ask_at_rest(ItemId(item as i64 + 1));
            }
        }
        if !self.judge.found() {
            self.windows_end();
        }
        if !self.judge.found() {
            self.telling_at_rest();
        }
    }

    fn signature(&self) -> Signature {
        let weight = |a: &super::Attempt| match a.state {
            State::Over => 0,
            State::Asking { .. } => 1,
            State::Waiting { .. } => 1_000,
            State::Parked => 1_000_000,
            State::Refused { .. } => 1_000_000_000,
            State::Handed { .. } => 1_000_000_000_000,
        };
        let open = self.attempts.iter().map(weight).sum();
        let slot = |p: &super::Place| {
            p.slot.view().map_or(0, |v| {
                v.available
                    + 1_000 * v.applied.0
                    + 1_000_000 * (v.n.0 + 100 * v.unacknowledged as u64)
            })
        };
        let slots = self.places.iter().map(slot).sum();
        Signature { version: self.truth.version, attempts: self.attempts.len(), open, slots }
    }

    /// Rounds until one changes nothing.
    pub(super) fn settle_down(&mut self) {
        self.deliver_all();
        for slot in 0..self.places.len() {
            self.redeliver(slot as u8);
        }
        for _ in 0..ROUNDS_MAX {
            let before = self.signature();
            self.round();
            if self.judge.found() || self.signature() == before {
                return;
            }
        }
        self.judge.find("rest", || "the loops never come to rest".into());
    }

    fn round(&mut self) {
        for slot in 0..self.places.len() {
            self.take(slot, SETTLE_BATCH_MAX);
        }
        self.deliver_all();
        for slot in 0..self.places.len() {
            let first = self.setup.slots[slot].first;
            self.open_slot(0, slot, u64::from(first));
            if self.places[slot].slot.view().is_some_and(|v| v.sealed) {
                self.roll(0, slot);
            } else {
                self.unstop_if_stopped(slot);
            }
            self.deliver_all();
            self.feed_all(slot);
            self.tend(0, slot);
            self.deliver_all();
            self.feed_all(slot);
            self.look(0, slot);
        }
        let seat = self.living(0);
        self.leases(seat);
        let pending: Vec<_> = self.truth.pending().map(|r| r.id).collect();
        for id in pending {
            self.send_recall(0, id);
        }
        for item in 0..self.setup.items.len() {
            self.drain(0, ItemId(item as i64 + 1));
            self.tend_line(0, ItemId(item as i64 + 1));
        }
        self.deliver_all();
        for node in 0..self.nodes.len() {
            self.boot_snapshot(node);
        }
        self.deliver_all();
        self.attempts_go_on();
    }

    fn unstop_if_stopped(&mut self, slot: usize) {
        if self.places[slot].slot.view().is_some_and(|v| v.stopped) {
            self.unstop(slot);
        }
    }

    fn feed_all(&mut self, slot: usize) {
        for _ in 0..ROUNDS_MAX {
            let before = self.flight.len();
            self.send_feed(0, slot);
            if self.flight.len() == before {
                return;
            }
            self.deliver_all();
        }
    }

    /// What the parked requests lack is asked for, for all of them before anything arrives: recalls cross, and units may change places to no avail. One
    /// after the other, as by nodes that wait for a while of their own, they are served.
    fn gather_at_once(&mut self) {
        for i in 0..self.attempts.len() {
            let Attempt { state: State::Parked, asked, .. } = self.attempts[i] else { continue };
            self.serve_parked(asked.node, asked.item);
        }
        self.deliver_all();
        for slot in 0..self.places.len() {
            self.feed_all(slot);
        }
    }

    fn attempts_go_on(&mut self) {
        self.rounds += 1;
        if self.rounds % 2 == 1 {
            self.gather_at_once();
        }
        for i in 0..self.attempts.len() {
            match self.attempts[i].state {
                State::Waiting { .. } | State::Handed { .. } => self.poll(i),
                // Nothing is in flight: the slot's answer was lost.
                State::Asking { .. } => self.tell(i, Told::Retry),
                State::Parked => {
                    let asked = self.attempts[i].asked;
                    self.serve_parked(asked.node, asked.item);
                    self.deliver_all();
                    for slot in 0..self.places.len() {
                        self.feed_all(slot);
                    }
                    if self.attempts[i].state == State::Parked {
                        self.retry(i);
                    }
                }
                State::Refused { .. } | State::Over => continue,
            }
            self.deliver_all();
        }
    }

    /// Nobody waits for ever: whose ticket died with its slot hears its id, and can ask for the verdict.
    fn answer_rest(&mut self) {
        for i in 0..self.attempts.len() {
            if let State::Waiting { id } = self.attempts[i].state {
                self.tell(i, Told::Queued(id));
            }
        }
        let waits = |a: &&super::Attempt| !matches!(a.state, State::Over | State::Handed { .. });
        let stuck = self.attempts.iter().find(waits).map(|a| (a.asked, a.state));
        if let Some((asked, state)) = stuck {
            self.judge.find("answer", || format!("{asked:?} is never answered: {state:?}"));
        }
    }

    /// Tickets that died with their slots get their verdicts from those who ask.
    fn decide_rest(&mut self) {
        let due = self.judge.handed().iter().filter_map(|(id, _)| id.parts()).map(|p| p.decide_by);
        let last = due.max().unwrap_or(self.now).max(self.now.plus(DECIDE_WITHIN_MS));
        self.now = last.plus(VERDICT_GRACE_MS);
        for (id, buyer) in self.judge.handed().to_vec() {
            self.get_id(id, buyer);
        }
    }
}
