//! Checks each answer to a buyer against the store as it was when the node answered.
use doorbuster_core::slot::IssuedTicket;
use doorbuster_core::{Millis, OrderState, Phase, SlotKey, TicketId, TicketParts, Verdict};

use super::Checker;
use super::records::{CommitState, SeenTicket};
use crate::request::{BuyerAnswer, BuyerRequest};
use crate::store::SimStore;

/// The greatest age of a snapshot on which a node may base a refusal, in milliseconds.
const AGE_MAX_MS: i64 = 2_000;

/// The time of an answer, and what the answering node could know and reach at that time.
pub(crate) struct AnswerContext<'a> {
    /// The monotonic time.
    pub(crate) mono: Millis,
    /// The time on the clock of the answering node.
    pub(crate) node_now: Millis,
    /// The slots that the request can reach.
    pub(crate) slots: &'a [SlotKey],
    /// The number of the last commit before the request's last try. A parked request makes its last
    /// try at every reachable slot.
    pub(crate) last_try: u64,
}

impl Checker {
    pub(crate) fn ticket_issued(
        &mut self,
        store: &SimStore,
        purchase: &BuyerRequest,
        ticket: &IssuedTicket,
        limit: u32,
    ) {
        let id = purchase.ticket_id(ticket);
        let known = store.model.grants.get(&ticket.grant);
        let is_lost = self.lost_grants.contains(&ticket.grant);
        self.check(known.is_some() || is_lost, "fail closed", || {
            format!("ticket {id} was issued under a grant that the store does not have")
        });
        if !self.is_faulty(ticket.grant) && known.is_some_and(|g| g.open) {
            self.issued_by_sound_slot(store, purchase, ticket, limit);
        }
        self.issued.insert(
            id,
            SeenTicket {
                purchase: *purchase,
                units: ticket.units,
                grant: ticket.grant,
                version: store.version,
            },
        );
        self.tickets.entry(purchase.request()).or_default().push(id);
    }

    /// Checks that the slot's queue stays within its bound `tight` (I9), and that a stopped slot
    /// issues no ticket. The bound is small in some simulated sales, so that runs reach it. 0 means
    /// no such bound.
    pub(crate) fn ticket_queued(&mut self, stopped: bool, queue: usize, tight: u8) {
        self.check(!stopped, "stop", || "a stopped slot issued a ticket".into());
        self.check(tight == 0 || queue <= usize::from(tight), "I9", || {
            format!("a queue has {queue} tickets, but its bound is {tight}")
        });
    }

    /// Checks a ticket of a slot that has had no fault. Such a slot remembers all its requests, so
    /// it issues only one ticket for each request and keeps each buyer within the limit.
    fn issued_by_sound_slot(
        &mut self,
        store: &SimStore,
        purchase: &BuyerRequest,
        ticket: &IssuedTicket,
        limit: u32,
    ) {
        let mut held = ticket.units.get();
        let mut second = None;
        for (id, earlier) in self
            .issued
            .iter()
            .filter(|(_, c)| c.grant == ticket.grant && c.purchase.buyer == purchase.buyer)
        {
            let order = store.model.orders.get(id);
            let undecided = order.is_none() && !store.model.resolutions.contains_key(id);
            let active =
                order.is_some_and(|o| matches!(o.state, OrderState::Reserved | OrderState::Paid));
            // A revived order was paid after it had ended. If the slot lacks the feed row about
            // this payment, the slot does not count the order's units. So this sum leaves these
            // units out.
            let revived = self.orders.get(id).is_some_and(|held| held.revived);
            if undecided || (active && !revived) {
                held += earlier.units.get();
            }
            if (undecided || order.is_some()) && earlier.purchase.key == purchase.key {
                second = Some(*id);
            }
        }
        self.check(second.is_none(), "one ticket", || {
            format!(
                "a slot issued two tickets for one request under one grant; the earlier ticket is \
                 {second:?}"
            )
        });
        self.check(held <= limit, "slot limit", || {
            format!(
                "under one grant a slot issued {held} units to one buyer, but the limit is \
                 {limit}"
            )
        });
    }

    pub(crate) fn buyer_answered(
        &mut self,
        store: &SimStore,
        purchase: &BuyerRequest,
        answer: BuyerAnswer,
        at: &AnswerContext<'_>,
    ) {
        self.answers.insert(purchase.attempt, answer);
        self.count_case(answer.name());
        match answer {
            BuyerAnswer::Order(id) => self.answered_order(store, purchase, id),
            BuyerAnswer::Queued(id) => {
                self.refused_with_ticket(purchase, id);
                self.handed.push((id, purchase.buyer));
                self.handed_by.insert(purchase.attempt, id);
                self.queued_at.insert((purchase.node, purchase.request()), id);
            }
            BuyerAnswer::SoldOut { refusal, as_of, parked } => {
                self.check_snapshot_age(as_of, at.mono, "sold_out");
                if parked {
                    self.unknown_to_slots(store, purchase, at);
                }
                self.refused(purchase, answer, Some(as_of));
                let counts = self.state_at(as_of).items[purchase.item.0 as usize - 1];
                let fits = counts.free.is_none_or(|free| purchase.units.to_u64() <= free);
                self.check(parked || !fits, "sold_out", || {
                    format!(
                        "{purchase:?} was refused as sold out, but {:?} units were free",
                        counts.free
                    )
                });
                let returns = counts.free.unwrap_or(0) + counts.reserved > 0;
                let wrong =
                    if parked { !refusal.may_return } else { refusal.may_return != returns };
                self.check(!wrong, "may_return", || {
                    format!(
                        "the answer was {refusal:?}, but {:?} units were free and {} were \
                         reserved",
                        counts.free, counts.reserved
                    )
                });
            }
            BuyerAnswer::Phase { phase, as_of } => {
                self.check_snapshot_age(as_of, at.mono, "phase");
                self.refused(purchase, answer, Some(as_of));
                let was = self.state_at(as_of).phases[purchase.item.0 as usize - 1];
                self.check(was == phase && phase != Phase::Open, "phase", || {
                    format!("the answer names the phase {phase:?}, but the phase was {was:?}")
                });
            }
            BuyerAnswer::LimitReached { as_of } => {
                if let Some(as_of) = as_of {
                    self.check_snapshot_age(as_of, at.mono, "limit_reached");
                }
                self.refused(purchase, answer, as_of);
                self.would_exceed_limit(store, purchase, as_of.unwrap_or(purchase.began));
            }
            BuyerAnswer::KeyReused => {
                self.refused(purchase, answer, None);
                self.has_other_content(purchase);
            }
            BuyerAnswer::AtDoor { as_of } => {
                self.refused(purchase, answer, Some(as_of));
                self.is_not_queued(purchase, at.node_now);
            }
            BuyerAnswer::Retry => {}
        }
    }

    /// Checks a refusal by the front door. The refusal is wrong if the node has already answered
    /// this request as queued, and the request's ticket may still become an order.
    fn is_not_queued(&mut self, purchase: &BuyerRequest, node_now: Millis) {
        let queued = self.queued_at.get(&(purchase.node, purchase.request())).copied();
        let undecided = queued.filter(|id| {
            let is_refused = self.verdicts.get(id).is_some_and(|(verdict, _)| {
                !matches!(verdict, Verdict::Reserved | Verdict::Order(_))
            });
            let is_in_time = id.parts().is_some_and(|parts| node_now <= parts.decide_by);
            !is_refused && is_in_time && !self.lacks_grant(id)
        });
        // If a failover lost an order of this request, the node's memory may still have this order
        // instead of the queued ticket. The checker then allows the refusal.
        let mut tickets = self.tickets.get(&purchase.request()).into_iter().flatten();
        let lost_an_order = tickets.any(|id| self.lost.contains(id));
        if let Some(id) = undecided.filter(|_| !lost_an_order) {
            self.record_finding("queued repeat", || {
                format!("{purchase:?} was refused at the front door, but {id} is still queued")
            });
        }
    }

    /// Checks a refusal because of a reused key: an earlier request with this key must have asked
    /// for another item or other units.
    fn has_other_content(&mut self, purchase: &BuyerRequest) {
        let others = self.tickets.get(&purchase.request());
        let other = |id: &TicketId| {
            self.issued
                .get(id)
                .is_some_and(|c| c.purchase.item != purchase.item || c.units != purchase.units)
        };
        let used = others.is_some_and(|ids| ids.iter().any(other));
        self.check(used, "key reused", || {
            format!(
                "{purchase:?} was refused because of its key, but no request with this key has \
                 other content"
            )
        });
    }

    /// Checks a refusal because of the limit. At the commit `since` or at a later commit, the
    /// requested units and the units of the buyer's other orders must together exceed the limit.
    /// The units of undecided tickets do not count, because these tickets may be returned.
    fn would_exceed_limit(&mut self, store: &SimStore, purchase: &BuyerRequest, since: u64) {
        let (item, buyer) = (purchase.item.0 as usize - 1, usize::from(purchase.buyer));
        let own = self.requests.get(&purchase.request()).and_then(|id| {
            let order = store.model.orders.get(id).filter(|order| order.item == purchase.item)?;
            Some((self.orders.get(id)?.version, order.units.get()))
        });
        let exceeds = |state: &CommitState| {
            let counts = &state.items[item];
            let own = own.filter(|(version, _)| *version <= state.version);
            let others = counts.held_by[buyer].saturating_sub(own.map_or(0, |(_, units)| units));
            others + purchase.units.get() > counts.limit
        };
        let from = self.history.partition_point(|state| state.version <= since);
        let exceeded = self.history[from.saturating_sub(1)..].iter().any(exceeds);
        self.check(exceeded, "limit_reached", || {
            format!(
                "{purchase:?} was refused because of the limit, but the request and the buyer's \
                 other orders never exceeded the limit"
            )
        });
    }

    /// Checks a refusal after parking. The refusal is wrong if a reachable slot had a ticket for
    /// the request before the last try.
    fn unknown_to_slots(
        &mut self,
        store: &SimStore,
        purchase: &BuyerRequest,
        at: &AnswerContext<'_>,
    ) {
        let ids = self.tickets.get(&purchase.request()).into_iter().flatten();
        let known = ids.copied().find(|id| {
            let ticket = self
                .issued
                .get(id)
                .filter(|c| c.version < at.last_try && c.units == purchase.units);
            let grant = ticket.and_then(|c| store.model.grants.get(&c.grant));
            grant.is_some_and(|g| g.open && !self.is_faulty(g.id) && at.slots.contains(&g.slot))
                && store.verdict(id).is_none()
        });
        if let Some(id) = known {
            self.record_finding("last try", || {
                format!("{purchase:?} was refused, although a slot still has its ticket {id}")
            });
        }
    }

    /// Checks that the id in an answer is not the id of a ticket that was refused before the
    /// request arrived. Instead of such an answer, the node must make a new try.
    pub(crate) fn refused_with_ticket(&mut self, purchase: &BuyerRequest, id: TicketId) {
        let Some((verdict, version)) = self.verdicts.get(&id).copied() else { return };
        let old =
            version <= purchase.began && !matches!(verdict, Verdict::Reserved | Verdict::Order(_));
        self.check(!old || self.lacks_grant(&id), "new try", || {
            format!(
                "{purchase:?} received the ticket {id}, which already had the verdict \
                 {verdict:?}"
            )
        });
    }

    fn answered_order(&mut self, store: &SimStore, purchase: &BuyerRequest, id: TicketId) {
        let order = store.model.orders.get(&id);
        // The verdict may have been in flight to the node while a failover lost the commit.
        if order.is_none() && self.lost.contains(&id) {
            return;
        }
        let own =
            |o: &doorbuster_core::Order| o.buyer == purchase.buyer() && o.key == purchase.key();
        self.check(order.is_some_and(own), "I3", || {
            format!(
                "{purchase:?} received the order {id}, but no order of this buyer and key has \
                 this id"
            )
        });
        let same = order.is_some_and(|o| o.item == purchase.item && o.units == purchase.units);
        self.check(same, "key reused", || {
            format!("{purchase:?} received the order {id}, which has another item or other units")
        });
        self.answered_orders.insert((purchase.node, id));
    }

    fn check_snapshot_age(&mut self, as_of: u64, mono: Millis, what: &'static str) {
        let age = mono.0 - self.until(as_of, mono).0;
        self.check(age <= AGE_MAX_MS, what, || {
            format!("the answer comes from a snapshot that is {age} ms old")
        });
    }

    /// Checks that a node does not refuse a request that has an order. There is one exception: a
    /// node whose snapshot is older than the order may refuse the request, unless the node has
    /// already named the order in an answer.
    fn refused(&mut self, purchase: &BuyerRequest, answer: BuyerAnswer, as_of: Option<u64>) {
        let Some(id) = self.requests.get(&purchase.request()).copied() else { return };
        let Some(held) = self.orders.get(&id).copied() else { return };
        let before = as_of.unwrap_or(purchase.began);
        let known = held.version <= before
            || (as_of.is_some() && self.answered_orders.contains(&(purchase.node, id)));
        let same = self
            .issued
            .get(&id)
            .is_some_and(|c| c.purchase.item == purchase.item && c.units == purchase.units);
        let fine = !known || (answer == BuyerAnswer::KeyReused && !same);
        self.check(fine, "replay", || {
            format!("{purchase:?} received {answer:?}, although the request holds the order {id}")
        });
    }

    /// Checks a verdict that a buyer received in an event or in an answer.
    pub(crate) fn verdict_reported(
        &mut self,
        store: &SimStore,
        id: TicketId,
        verdict: Verdict,
        _now: Millis,
    ) {
        let committed = store.verdict(&id);
        let is_lost = self.lost.contains(&id) || self.lacks_grant(&id);
        if committed != Some(verdict) && is_lost {
            return;
        }
        self.check(committed == Some(verdict), "I8", || {
            format!(
                "ticket {id} was reported as {verdict:?}, but the store committed {committed:?}"
            )
        });
        if let Verdict::Order(order) = verdict {
            self.check(store.model.orders.contains_key(&order), "I3", || {
                format!("the verdict of ticket {id} names the order {order}, which does not exist")
            });
        }
        let first = *self.reported.entry(id).or_insert(verdict);
        self.check(first == verdict, "I8", || {
            format!("ticket {id} was reported first as {first:?} and later as {verdict:?}")
        });
    }

    /// Returns whether a failover lost the grant of this ticket. The server refuses such a ticket,
    /// but the store has no row with this verdict.
    pub(super) fn lacks_grant(&self, id: &TicketId) -> bool {
        id.parts().is_some_and(|parts| self.lost_grants.contains(&parts.grant))
    }

    /// Checks an answer which says that the ticket has no verdict. A ticket may lack a verdict only
    /// until its `decide_by`.
    pub(crate) fn undecided_reported(&mut self, parts: &TicketParts, now: Millis) {
        let due = now > parts.decide_by;
        self.check(!due, "I8", || {
            format!(
                "the ticket has no verdict {} ms after its decide_by",
                now.0 - parts.decide_by.0
            )
        });
    }
}
