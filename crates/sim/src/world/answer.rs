//! Performs the effects of a purchase on simulated slots and the simulated store.
use doorbuster_core::limits::{PARK_MS, PARKED_MAX};
use doorbuster_core::slot::{IssuedTicket, TicketAnswer, TicketRequest};
use doorbuster_core::{NodeId, SlotKey, TicketId, Verdict};
use doorbuster_steps::memory::{Queued, Refusal};
use doorbuster_steps::publication::{self, Part};
use doorbuster_steps::purchase::{self, Effect, Input, Outcome, Unserved, may_park};

use super::World;
use super::view::View;
use crate::names::NAMES;
use crate::request::{BuyerAnswer, BuyerRequest};
use crate::state::{Attempt, AttemptState, Message};

impl World {
    /// Begins the purchase of a request that the node did not refuse from its memory.
    pub(crate) fn begin(&mut self, i: usize) {
        self.renew_token(i);
        let purchase = self.attempts[i].purchase;
        let limit = u32::from(self.setup.items[purchase.item.0 as usize - 1].limit);
        let wanted = (purchase.item, purchase.units, limit);
        let (door, now) = (purchase.door, self.mono);
        let mut view = View { world: self, attempt: i };
        let (steps, effect) = purchase::Attempt::start(wanted, door, now, &mut view);
        self.perform_all(i, Box::new(steps), effect);
    }

    /// Gives this input to the purchase's steps, and performs their effects until the purchase
    /// waits for a message or ends.
    pub(crate) fn drive(&mut self, i: usize, input: Input) {
        let Some(mut steps) = self.attempts[i].steps.take() else { return };
        let effect = self.next_effect(i, &mut steps, input);
        self.perform_all(i, steps, effect);
    }

    fn perform_all(&mut self, i: usize, mut steps: Box<purchase::Attempt>, mut effect: Effect) {
        while let Some(input) = self.perform(i, effect) {
            effect = self.next_effect(i, &mut steps, input);
        }
        self.attempts[i].steps = Some(steps).filter(|steps| !steps.is_over());
    }

    fn next_effect(&mut self, i: usize, steps: &mut purchase::Attempt, input: Input) -> Effect {
        if !steps.is_last_try() {
            self.attempts[i].last_try = self.store.version;
        }
        let now = self.mono;
        let effect = steps.next(input, now, &mut View { world: self, attempt: i });
        let refuses = matches!(effect, Effect::Answer(Outcome::Refused(_)) | Effect::ReadQuota);
        if let (Input::Verdict(_), true, Some(id)) = (input, refuses, self.attempts[i].decided) {
            let purchase = self.attempts[i].purchase;
            self.checker.refused_with_ticket(&purchase, id);
        }
        effect
    }

    /// Performs one effect. Returns its result, or `None` if the purchase must wait or is over.
    fn perform(&mut self, i: usize, effect: Effect) -> Option<Input> {
        let purchase = self.attempts[i].purchase;
        match effect {
            Effect::LookUpOrder => Some(Input::LookedUp(self.look_up(i))),
            Effect::AskSlot { slot, .. } => {
                let limit = u32::from(self.setup.items[purchase.item.0 as usize - 1].limit);
                self.ask(i, slot, limit)
            }
            Effect::FindTicket(slot) => self.ask(i, slot, 0),
            Effect::AwaitVerdict { ticket, is_mine, may_be_lost } => {
                self.await_verdict(i, &ticket, is_mine, may_be_lost)
            }
            Effect::ReadVerdict(ticket) => {
                let id = purchase.ticket_id(&ticket);
                let verdict = self.store.verdict(&id);
                Some(verdict.map_or(Input::NoVerdict, |verdict| self.read(i, id, verdict)))
            }
            Effect::ReadQuota => {
                let used = self.quota(&purchase);
                self.attempts[i].has_read_quota = true;
                self.learn_used(&purchase, used, self.known_ended_orders(&purchase));
                Some(Input::Quota(Some(used)))
            }
            Effect::ConfirmRefusal => {
                self.attempts[i].asked += 1;
                self.attempts[i].has_read_quota = true;
                self.attempts[i].state = AttemptState::Confirming;
                let (asked, used) = (self.attempts[i].asked, self.quota(&purchase));
                let ended_orders = self.known_ended_orders(&purchase);
                self.send(Message::Confirm { attempt: i, asked, used, ended_orders });
                None
            }
            Effect::Park { why, until, .. } => {
                self.park(i, why, AttemptState::Parked { until, is_short: why == Unserved::Short })
            }
            Effect::RenewToken => {
                self.checker.count_case("asked again");
                self.renew_token(i);
                Some(Input::Done)
            }
            Effect::Wake | Effect::SuspectLoss => Some(Input::Done),
            Effect::RememberOrder => {
                self.remember_order(i);
                Some(Input::Done)
            }
            Effect::RememberQueued(ticket) => {
                let queued = Queued { item: purchase.item, ticket };
                let half = self.attempts[i].half;
                self.nodes[usize::from(purchase.node)].queued.insert(half, queued);
                Some(Input::Done)
            }
            Effect::ForgetQueued(ticket) => {
                // The purchase begins again. Until the purchase reads the quota from the store
                // again, the node may refuse the request because of a count in its memory.
                self.attempts[i].has_read_quota = false;
                let half = self.attempts[i].half;
                let queued = &mut self.nodes[usize::from(purchase.node)].queued;
                if queued.get(&half).is_some_and(|it| it.ticket.token == ticket.token) {
                    queued.remove(&half);
                }
                Some(Input::Done)
            }
            Effect::Answer(outcome) => {
                let answer = self.outcome_answer(i, outcome);
                self.answer_buyer(i, answer);
                None
            }
        }
    }

    fn ask(&mut self, i: usize, slot: SlotKey, limit: u32) -> Option<Input> {
        let Some(slot) = self.places.iter().position(|p| p.at == slot) else {
            return Some(Input::Slot(TicketAnswer::NoEpoch));
        };
        let attempt = &mut self.attempts[i];
        attempt.asked += 1;
        attempt.state = AttemptState::Asking { slot };
        let purchase = attempt.purchase;
        let request = TicketRequest {
            token: attempt.token,
            buyer: purchase.buyer(),
            key: purchase.key(),
            buyer_hash: NAMES.buyer_hash(purchase.buyer),
            request: NAMES.request_hash(purchase.buyer, purchase.key),
            units: purchase.units,
            limit,
            decide_by: attempt.decide_by,
            node: NodeId(u32::from(purchase.node)),
        };
        let (asked, token) = (attempt.asked, attempt.token);
        let expected = &mut self.nodes[usize::from(purchase.node)].expected;
        if limit > 0 && !expected.contains(&token) {
            expected.push(token);
        }
        self.send(Message::Ticket { attempt: i, slot, asked, request: request.into() });
        None
    }

    /// Handles a slot's answer. The node ignores an answer to an earlier question of the attempt.
    /// If such an answer has a ticket, a settler settles this ticket anyway.
    pub(crate) fn answered(&mut self, i: usize, slot: usize, asked: u32, answer: TicketAnswer) {
        let attempt = &mut self.attempts[i];
        if attempt.state != (AttemptState::Asking { slot }) || attempt.asked != asked {
            return;
        }
        if matches!(answer, TicketAnswer::Issued(_) | TicketAnswer::Repeated(_)) {
            attempt.has_permit = false;
        }
        self.drive(i, Input::Slot(answer));
    }

    fn await_verdict(
        &mut self,
        i: usize,
        ticket: &IssuedTicket,
        is_mine: bool,
        may_be_lost: bool,
    ) -> Option<Input> {
        let purchase = self.attempts[i].purchase;
        let node = &self.nodes[usize::from(purchase.node)];
        if !is_mine && !node.expected.contains(&ticket.token) {
            return Some(Input::NotWaiting);
        }
        let id = purchase.ticket_id(ticket);
        self.attempts[i].state = AttemptState::Waiting { id, may_be_lost };
        let (early, verdict) = self.attempts[i].early.take().filter(|_| is_mine)?;
        Some(self.read(i, early, verdict))
    }

    fn park(&mut self, i: usize, why: Unserved, state: AttemptState) -> Option<Input> {
        let node = self.attempts[i].purchase.node;
        let bound = if self.setup.tight == 0 { PARKED_MAX } else { usize::from(self.setup.tight) };
        if !self.attempts[i].has_permit && !may_park(self.parked_at(node), bound) {
            return Some(Input::Full);
        }
        self.checker.count_case(if why == Unserved::Short {
            "parked"
        } else {
            "parked, not short"
        });
        let mono = self.mono;
        let attempt = &mut self.attempts[i];
        attempt.parked.get_or_insert(mono);
        attempt.has_permit = true;
        attempt.early = None;
        attempt.state = state;
        self.checker.parked(self.parked_at(node), self.setup.tight);
        None
    }

    /// Reads the order of the request. Returns `None` if the store has no order of the request.
    fn look_up(&mut self, i: usize) -> Option<Outcome> {
        let purchase = self.attempts[i].purchase;
        let order = self.store.order_of(&purchase.buyer(), &purchase.key())?;
        let is_same = order.item == purchase.item && order.units == purchase.units;
        self.attempts[i].order = Some(order.id);
        Some(Outcome::for_order(is_same))
    }

    fn quota(&self, purchase: &BuyerRequest) -> u32 {
        self.store.model.quotas.get(&(purchase.item, purchase.buyer())).copied().unwrap_or(0)
    }

    /// Confirms a refusal: reads whether the refused request has an order. `used` is the buyer's
    /// quota, which the node read in the previous step. Before that step, the node knew of
    /// `ended_orders` ended orders.
    pub(crate) fn confirmed(&mut self, i: usize, asked: u32, used: u32, ended_orders: u64) {
        if self.attempts[i].state == AttemptState::Confirming && self.attempts[i].asked == asked {
            let found = self.look_up(i);
            let purchase = self.attempts[i].purchase;
            let limit = self.setup.items[purchase.item.0 as usize - 1].limit;
            if found.is_none() && used + purchase.units.get() > u32::from(limit) {
                self.learn_used(&purchase, used, ended_orders);
            }
            self.drive(i, Input::Confirmed(used, found));
        }
    }

    fn read(&mut self, i: usize, id: TicketId, verdict: Verdict) -> Input {
        self.attempts[i].decided = Some(id);
        self.attempts[i].order = match verdict {
            Verdict::Reserved => Some(id),
            Verdict::Order(order) => Some(order),
            _ => None,
        };
        Input::Verdict(verdict)
    }

    fn verdict(&mut self, i: usize, id: TicketId, verdict: Verdict) {
        if let AttemptState::Handed { id: handed } = self.attempts[i].state {
            self.checker.verdict_reported(&self.store, handed, verdict, self.now);
            match self.read(i, id, verdict) {
                _ if self.attempts[i].order.is_some() => {
                    self.remember_order(i);
                    let answer = self.outcome_answer(i, Outcome::Created);
                    self.answer_buyer(i, answer);
                }
                input if self.attempts[i].steps.is_some() => self.drive(i, input),
                _ => self.attempts[i].state = AttemptState::Over,
            }
            return;
        }
        let input = self.read(i, id, verdict);
        self.drive(i, input);
    }

    pub(crate) fn poll(&mut self, i: usize) {
        let (AttemptState::Waiting { id, .. } | AttemptState::Handed { id }) =
            self.attempts[i].state
        else {
            return;
        };
        if let Some(verdict) = self.store.verdict(&id) {
            self.verdict(i, id, verdict);
        }
    }

    /// Makes the node remember that the request has an order. This happens before the node answers
    /// with the order, and when the node learns the verdict of a queued ticket.
    fn remember_order(&mut self, i: usize) {
        let Attempt { purchase, half, .. } = self.attempts[i];
        self.nodes[usize::from(purchase.node)].remember(half);
    }

    /// Makes a node publish the part of a commit that belongs to one verdict.
    pub(crate) fn verdict_notice(&mut self, node: u8, id: TicketId, verdict: Verdict) {
        for part in publication::parts() {
            match part {
                Part::Requests => {
                    let order = self.store.model.orders.get(&id);
                    if let Some(order) = order.filter(|_| verdict == Verdict::Reserved) {
                        let half = NAMES.key.request_hash(order.buyer.as_str(), order.key.as_str());
                        self.nodes[usize::from(node)].remember(half.low_64_bits());
                    }
                }
                // Nothing to do: in the simulation, nodes get the counts only with snapshots.
                Part::Counts => {}
                Part::Verdicts => self.deliver_verdict(node, id, verdict),
            }
        }
    }

    /// Delivers a verdict to every attempt of the node that waits for the ticket's token.
    fn deliver_verdict(&mut self, node: u8, id: TicketId, verdict: Verdict) {
        let token = id.parts().expect("an id of an issued ticket").token;
        self.nodes[usize::from(node)].expected.retain(|expected| *expected != token);
        for i in 0..self.attempts.len() {
            if self.attempts[i].purchase.node != node {
                continue;
            }
            match self.attempts[i].state {
                AttemptState::Waiting { id: mine, .. }
                    if mine.parts().is_some_and(|parts| parts.token == token) =>
                {
                    self.verdict(i, id, verdict)
                }
                AttemptState::Handed { id: mine } if mine == id => self.verdict(i, id, verdict),
                AttemptState::Asking { .. } if self.attempts[i].token == token => {
                    self.attempts[i].early = Some((id, verdict));
                }
                _ => {}
            }
        }
    }

    fn outcome_answer(&mut self, i: usize, outcome: Outcome) -> BuyerAnswer {
        match outcome {
            Outcome::Created | Outcome::Replayed => {
                self.attempts[i].order.map_or(BuyerAnswer::Retry, BuyerAnswer::Order)
            }
            Outcome::Queued(ticket) => {
                BuyerAnswer::Queued(self.attempts[i].purchase.ticket_id(&ticket))
            }
            Outcome::Refused(refusal) => self.refusal_answer(i, refusal),
        }
    }

    pub(crate) fn refusal_answer(&self, i: usize, refusal: Refusal) -> BuyerAnswer {
        let purchase = self.attempts[i].purchase;
        let Some(snapshot) = &self.nodes[usize::from(purchase.node)].snapshot else {
            return BuyerAnswer::Retry;
        };
        let seen = snapshot.items[purchase.item.0 as usize - 1];
        let as_of = snapshot.version;
        match refusal {
            Refusal::SoldOut(refusal) => {
                let was_parked = self.mono.0 - self.attempts[i].begun.0 >= PARK_MS;
                let parked = was_parked && seen.free.refuses(purchase.units).is_none();
                BuyerAnswer::SoldOut { refusal, as_of, parked }
            }
            Refusal::NotStarted { .. } | Refusal::Paused | Refusal::Ended => {
                BuyerAnswer::Phase { phase: seen.phase.shown, as_of }
            }
            Refusal::LimitReached { .. } => {
                let as_of = (!self.attempts[i].has_read_quota).then_some(as_of);
                BuyerAnswer::LimitReached { as_of }
            }
            Refusal::KeyReused => BuyerAnswer::KeyReused,
            Refusal::AtDoor(_) => BuyerAnswer::AtDoor { as_of },
            Refusal::Overloaded | Refusal::Unavailable => BuyerAnswer::Retry,
        }
    }
}
