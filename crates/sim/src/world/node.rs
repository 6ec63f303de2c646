//! Simulates a node: its knowledge of the store, and its waiting requests.
use doorbuster_core::limits::{DECIDE_WITHIN_MS, PARK_MS, PARKED_MAX};
use doorbuster_core::rules::{Rule, enforces};
use doorbuster_core::slot::TicketRequest;
use doorbuster_core::sold_out::FreeUnits;
use doorbuster_core::{ItemId, Millis, NodeId, Phase, TicketId, Token, Units, Verdict};

use hashbrown::HashSet;

use super::in_flight::Message;
use super::{NAMES, World};
use crate::checker::{AnswerContext, BuyerAnswer, BuyerRequest};
use crate::store::PhaseRow;

/// From a snapshot that is older than this, a node refuses no request.
pub(crate) const SNAPSHOT_AGE_MS: i64 = 1_000;
/// How often one attempt is sent again under a new epoch.
const ASKS_MAX: u8 = 3;
const PICKED_ATTEMPT: &str = "an attempt that was picked from the list";

/// A node's knowledge of one item.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ItemSnapshot {
    pub(crate) pool: u64,
    pub(crate) free: FreeUnits,
    pub(crate) phase: PhaseRow,
}

/// The store at one commit, as sent to nodes.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) version: u64,
    pub(crate) at: Millis,
    /// Requests that hold an order. Together with those of earlier snapshots, these are all such
    /// requests up to this commit.
    pub(crate) holders: Vec<u64>,
    /// The first transaction that the next snapshot reads.
    pub(crate) since: u64,
    pub(crate) items: [ItemSnapshot; 2],
    /// The number of partitions of each item.
    pub(crate) partitions: Vec<usize>,
    /// The granted and unsettled units of each slot.
    pub(crate) levels: Vec<u64>,
}

/// A node that answers buyers.
#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) snapshot: Option<Snapshot>,
    /// The requests that hold an order, by half of their hash. The set is complete up to the
    /// snapshot.
    pub(crate) holders: HashSet<u64, foldhash::fast::FixedState>,
    /// The first transaction that the next snapshot reads.
    pub(crate) since: u64,
    /// Whether the node's process has ended.
    pub(crate) is_dead: bool,
    /// The end of the node's lease, by the store's clock.
    pub(crate) until: Millis,
    /// Requests that this node has answered with their orders.
    pub(crate) own: Vec<u64>,
    /// The distance of the node's clock from the store's clock.
    pub(crate) skew_ms: i64,
}

/// The state of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttemptState {
    /// The node waits for a slot's answer.
    Asking { slot: usize },
    /// A ticket is issued, and the node waits for its verdict.
    Waiting { id: TicketId },
    /// Every slot has too few units, so the request waits for units.
    Parked,
    /// A slot refused the request. The node answers after a newer snapshot shows no order of the
    /// request.
    Refused { answer: BuyerAnswer, version: u64 },
    /// The request was answered with `202`. The verdict follows as an event.
    Handed { id: TicketId },
    /// The request was answered, or its node ended.
    Over,
}

/// One request of a buyer at a node, from arrival to answer.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) purchase: BuyerRequest,
    pub(crate) state: AttemptState,
    pub(crate) half: u64,
    token: Token,
    /// The number that chooses the attempt's partitions.
    pub(crate) number: u64,
    /// How many slots were asked in this round.
    pub(crate) round: u8,
    /// The slot that was asked first in this round.
    pub(crate) first: Option<u32>,
    /// How often the request was repeated under a new epoch.
    again: u8,
    /// When the request was first parked, in monotonic time.
    pub(crate) parked: Option<Millis>,
    /// Whether this is the last round before the answer.
    pub(crate) last: bool,
    last_try: u64,
    /// A verdict that arrived before the slot's answer.
    early: Option<(TicketId, Verdict)>,
}

impl World {
    /// Handles a request that arrives at a node.
    pub(crate) fn arrive(&mut self, node: u8, buyer: u8, key: u8, item: ItemId, units: Units) {
        let node = self.living(node);
        let half = NAMES.low_64_bits(buyer, key);
        let purchase = BuyerRequest {
            node,
            buyer,
            key,
            item,
            units,
            began: self.store.version,
            attempt: self.attempts.len(),
        };
        self.checker.purchase_arrived(&purchase);
        let token = Token(0);
        let number = self.number_of(item, self.attempts.len());
        let state = AttemptState::Over;
        self.attempts.push(Attempt {
            purchase,
            state,
            half,
            token,
            number,
            round: 0,
            first: None,
            again: 0,
            parked: None,
            last: false,
            last_try: 0,
            early: None,
        });
        let i = self.attempts.len() - 1;
        if self.answer_from_order(i) || self.answer_from_snapshot(i) {
            return;
        }
        self.ask_next_slot(i);
    }

    /// Answers a request with its order, if the node knows the order. Returns whether the node
    /// answered.
    pub(crate) fn answer_from_order(&mut self, i: usize) -> bool {
        let Attempt { purchase, half, .. } = self.attempts[i];
        let node = &self.nodes[usize::from(purchase.node)];
        let own = node.own.contains(&half) && enforces(Rule::OwnOrders);
        let known = node.holders.contains(&half) || own;
        if !known || !enforces(Rule::WinnersInSnapshot) {
            return false;
        }
        let Some(order) = self.store.order_of(&purchase.buyer(), &purchase.key()) else {
            return false;
        };
        let same = order.item == purchase.item && order.units == purchase.units;
        let answer = if same { BuyerAnswer::Order(order.id) } else { BuyerAnswer::KeyReused };
        self.answer_buyer(i, answer);
        true
    }

    /// Refuses the request if the node's snapshot allows a refusal. Returns whether the node
    /// refused.
    pub(crate) fn answer_from_snapshot(&mut self, i: usize) -> bool {
        let purchase = self.attempts[i].purchase;
        let Some(snapshot) = &self.nodes[usize::from(purchase.node)].snapshot else { return false };
        if self.mono.0 - snapshot.at.0 > SNAPSHOT_AGE_MS && enforces(Rule::SnapshotAge) {
            return false;
        }
        let seen = snapshot.items[purchase.item.0 as usize - 1];
        let as_of = snapshot.version;
        let phase = seen.phase.shown;
        if phase != Phase::Open {
            self.answer_buyer(i, BuyerAnswer::Phase { phase, as_of });
            return true;
        }
        let Some(refusal) = seen.free.refuses(purchase.units) else { return false };
        self.answer_buyer(i, BuyerAnswer::SoldOut { refusal, as_of, parked: false });
        true
    }

    /// Sends the request to the next slot of its round.
    pub(crate) fn ask_next_slot(&mut self, i: usize) {
        let Some(slot) = self.next_slot(i) else { return self.short_everywhere(i) };
        let token = Token(self.draw() >> 16);
        let purchase = self.attempts[i].purchase;
        let skew = self.nodes[usize::from(purchase.node)].skew_ms;
        let attempt = &mut self.attempts[i];
        attempt.token = token;
        attempt.round += 1;
        attempt.early = None;
        attempt.state = AttemptState::Asking { slot };
        let limit = u32::from(self.setup.items[purchase.item.0 as usize - 1].limit);
        let request = TicketRequest {
            token,
            buyer: purchase.buyer(),
            key: purchase.key(),
            buyer_hash: NAMES.buyer_hash(purchase.buyer),
            request: NAMES.request_hash(purchase.buyer, purchase.key),
            units: purchase.units,
            limit,
            decide_by: self.now.plus(skew + DECIDE_WITHIN_MS),
            node: NodeId(u32::from(purchase.node)),
        };
        self.send(Message::Ticket { attempt: i, slot, request: request.into() });
    }

    /// Handles a request for which every slot has too few units. Parks it, or answers it after the
    /// longest parking time.
    pub(crate) fn short_everywhere(&mut self, i: usize) {
        let Attempt { purchase, last, .. } = self.attempts[i];
        if self.answer_from_order(i) || self.answer_from_snapshot(i) {
            return;
        }
        self.attempts[i].round = 0;
        if !last {
            if self.is_crowded(purchase.node) {
                return self.answer_buyer(i, BuyerAnswer::Retry);
            }
            self.checker.count_case("parked");
            self.attempts[i].parked.get_or_insert(self.mono);
            self.attempts[i].state = AttemptState::Parked;
            let parked = self.parked_at(purchase.node);
            return self.checker.parked(parked, self.setup.tight);
        }
        let answer = match &self.nodes[usize::from(purchase.node)].snapshot {
            Some(s) if s.version >= purchase.began && self.mono.0 - s.at.0 <= SNAPSHOT_AGE_MS => {
                let refusal =
                    s.items[purchase.item.0 as usize - 1].free.parked_too_long(purchase.units);
                BuyerAnswer::SoldOut { refusal, as_of: s.version, parked: true }
            }
            _ => BuyerAnswer::Retry,
        };
        self.answer_buyer(i, answer);
    }

    fn parked_at(&self, node: u8) -> usize {
        self.attempts
            .iter()
            .filter(|a| a.purchase.node == node && a.state == AttemptState::Parked)
            .count()
    }

    /// Returns whether the node cannot park one more request.
    fn is_crowded(&self, node: u8) -> bool {
        let bound = if self.setup.tight == 0 { PARKED_MAX } else { usize::from(self.setup.tight) };
        self.parked_at(node) >= bound && enforces(Rule::ParkedBound)
    }

    /// Sends a parked request to the slots again. After the longest parking time, this is the
    /// request's last try.
    pub(crate) fn retry(&mut self, i: usize) {
        let since = self.attempts[i].parked.unwrap_or(self.mono);
        self.attempts[i].last = self.mono.0 - since.0 >= PARK_MS;
        self.attempts[i].round = 0;
        self.attempts[i].last_try = self.store.version;
        if self.attempts[i].last && !enforces(Rule::LastTry) {
            return self.short_everywhere(i);
        }
        self.ask_next_slot(i);
    }

    /// Sends the request to the slots again, because the epoch of its ticket is closed.
    pub(crate) fn ask_under_new_epoch(&mut self, i: usize) -> bool {
        let attempt = &mut self.attempts[i];
        if attempt.again >= ASKS_MAX {
            return false;
        }
        attempt.again += 1;
        self.checker.count_case("asked again");
        let attempt = &mut self.attempts[i];
        attempt.round = 0;
        self.ask_next_slot(i);
        true
    }

    /// Stores a snapshot. Requests that wait for a snapshot continue.
    pub(crate) fn take_snapshot(&mut self, node: usize, snapshot: Snapshot) {
        let Node { snapshot: current, holders, since, .. } = &mut self.nodes[node];
        holders.extend(&snapshot.holders);
        *since = snapshot.since.max(*since);
        if current.as_ref().is_some_and(|c| c.version > snapshot.version) {
            return;
        }
        let version = snapshot.version;
        *current = Some(snapshot);
        for i in 0..self.attempts.len() {
            if usize::from(self.attempts[i].purchase.node) != node {
                continue;
            }
            match self.attempts[i].state {
                AttemptState::Parked => {
                    _ = self.answer_from_order(i) || self.answer_from_snapshot(i);
                }
                AttemptState::Refused { answer, version: asked_after }
                    if version >= asked_after =>
                {
                    self.confirm_refusal(i, answer)
                }
                AttemptState::Waiting { id } => self.retry_if_epoch_closed(i, id, version),
                AttemptState::Handed { id } if !enforces(Rule::AskAgainOnlyWithoutId) => {
                    self.retry_if_epoch_closed(i, id, version)
                }
                _ => {}
            }
        }
    }

    /// Answers with a slot's refusal if the request holds no order.
    fn confirm_refusal(&mut self, i: usize, answer: BuyerAnswer) {
        if !self.answer_from_order(i) {
            self.answer_buyer(i, answer);
        }
    }

    /// Sends the request again if the ticket's grant is closed as of this commit.
    fn retry_if_epoch_closed(&mut self, i: usize, id: TicketId, version: u64) {
        let grant = id.parts().expect("the id of an issued ticket").grant;
        if self.store.closed_by(grant, version) {
            self.ask_under_new_epoch(i);
        }
    }

    pub(crate) fn answer_buyer(&mut self, i: usize, answer: BuyerAnswer) {
        let purchase = self.attempts[i].purchase;
        let known = self.reachable(&purchase).into_iter().chain(self.leaving_at(&purchase));
        let slots: Vec<_> = known.map(|s| self.places[s].at).collect();
        let at =
            AnswerContext { mono: self.mono, slots: &slots, last_try: self.attempts[i].last_try };
        self.checker.buyer_answered(&self.store, &purchase, answer, &at);
        self.attempts[i].state = match answer {
            BuyerAnswer::Queued(id) => AttemptState::Handed { id },
            _ => AttemptState::Over,
        };
        if let BuyerAnswer::Order(_) = answer {
            let half = self.attempts[i].half;
            self.nodes[usize::from(purchase.node)].own.push(half);
        }
    }

    pub(crate) fn token_of(&self, i: usize) -> Token {
        self.attempts[i].token
    }

    pub(crate) fn keep_early_verdict(&mut self, i: usize, id: TicketId, verdict: Verdict) {
        self.attempts[i].early = Some((id, verdict));
    }

    pub(crate) fn early_verdict(&self, i: usize) -> Option<(TicketId, Verdict)> {
        self.attempts.get(i).expect(PICKED_ATTEMPT).early
    }
}
