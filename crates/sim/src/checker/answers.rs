//! What buyers hear, held against what the truth was when it was said.
use doorbuster_core::slot::IssuedTicket;
use doorbuster_core::{Millis, OrderState, Phase, SlotKey, TicketId, TicketParts, Verdict};

use super::{BuyerAnswer, BuyerRequest, Checker, SeenTicket};
use crate::truth::Truth;
use crate::world::answer_id;

/// How old the snapshot may be that refuses somebody.
const AGE_MAX_MS: i64 = 1_000;

/// When, and on which grounds, something is said.
pub(crate) struct AnswerContext<'a> {
    /// In time that never steps.
    pub(crate) mono: Millis,
    /// The slots that the request can be put to.
    pub(crate) slots: &'a [SlotKey],
    /// The commit before which its last try began.
    pub(crate) last_try: u64,
}

impl Checker {
    /// A slot cut a ticket.
    pub(crate) fn cut(
        &mut self,
        truth: &Truth,
        asked: &BuyerRequest,
        cut: &IssuedTicket,
        limit: u32,
    ) {
        let id = answer_id(asked, cut);
        let known = truth.model.grants.get(&cut.grant);
        self.check(known.is_some(), "fail closed", || {
            format!("{id} cut under a grant that the truth does not know")
        });
        if !self.faulty && known.is_some_and(|g| g.open) {
            self.issued_by_sound_slot(truth, asked, cut, limit);
        }
        self.cuts.insert(
            id,
            SeenTicket {
                asked: *asked,
                units: cut.units,
                grant: cut.grant,
                version: truth.version,
            },
        );
        self.tickets.entry(asked.request()).or_default().push(id);
    }

    /// I9, where a slot's bounds are tight enough to be reached; and a stopped slot cuts nothing.
    pub(crate) fn bounds(&mut self, stopped: bool, queue: usize, tight: u8) {
        self.check(!stopped, "stop", || "a stopped slot cut a ticket".into());
        self.check(tight == 0 || queue <= usize::from(tight), "I9", || {
            format!("{queue} tickets in a queue of {tight}")
        });
    }

    /// A slot that lost nothing knows its own requests, and counts the limit of each buyer as far
    /// as they go.
    fn issued_by_sound_slot(
        &mut self,
        truth: &Truth,
        asked: &BuyerRequest,
        cut: &IssuedTicket,
        limit: u32,
    ) {
        let mut held = cut.units.get();
        let mut again = None;
        for (id, earlier) in
            self.cuts.iter().filter(|(_, c)| c.grant == cut.grant && c.asked.buyer == asked.buyer)
        {
            let order = truth.model.orders.get(id);
            let undecided = order.is_none() && !truth.model.resolutions.contains_key(id);
            let active =
                order.is_some_and(|o| matches!(o.state, OrderState::Reserved | OrderState::Paid));
            // The slot may not know yet that an order lives again.
            let revived = self.orders.get(id).is_some_and(|held| held.revived);
            if undecided || (active && !revived) {
                held += earlier.units.get();
            }
            if (undecided || order.is_some()) && earlier.asked.key == asked.key {
                again = Some(*id);
            }
        }
        self.check(again.is_none(), "one ticket", || {
            format!("a second ticket beside {again:?} under one grant")
        });
        self.check(held <= limit, "slot limit", || {
            format!("one grant's slot cut {held} for one buyer, limit {limit}")
        });
    }

    /// A buyer hears the answer to an attempt.
    pub(crate) fn told(
        &mut self,
        truth: &Truth,
        asked: &BuyerRequest,
        told: BuyerAnswer,
        at: &AnswerContext<'_>,
    ) {
        self.answers.insert(asked.attempt, told);
        self.count_case(told.name());
        match told {
            BuyerAnswer::Order(id) => self.answered_order(truth, asked, id),
            BuyerAnswer::Queued(id) => {
                self.refused_with_ticket(asked, id);
                self.handed.push((id, asked.buyer));
                self.handed_by.insert(asked.attempt, id);
            }
            BuyerAnswer::SoldOut { refusal, as_of, parked } => {
                self.check_snapshot_age(as_of, at.mono, "sold_out");
                if parked {
                    self.unknown_to_slots(truth, asked, at);
                }
                self.refused(asked, told, Some(as_of));
                let counts = self.state_at(as_of).items[asked.item.0 as usize - 1];
                let fits = counts.free.is_none_or(|free| asked.units.to_u64() <= free);
                self.check(parked || !fits, "sold_out", || {
                    format!("{asked:?} refused with {:?} free", counts.free)
                });
                let returns = counts.free.unwrap_or(0) + counts.reserved > 0;
                let wrong =
                    if parked { !refusal.may_return } else { refusal.may_return != returns };
                self.check(!wrong, "may_return", || {
                    format!("{refusal:?}, free {:?}, {}", counts.free, counts.reserved)
                });
            }
            BuyerAnswer::Phase { phase, as_of } => {
                self.check_snapshot_age(as_of, at.mono, "phase");
                self.refused(asked, told, Some(as_of));
                let was = self.state_at(as_of).phases[asked.item.0 as usize - 1];
                self.check(was == phase && phase != Phase::Open, "phase", || {
                    format!("told {phase:?}, was {was:?}")
                });
            }
            BuyerAnswer::LimitReached | BuyerAnswer::KeyReused => self.refused(asked, told, None),
            BuyerAnswer::Unavailable | BuyerAnswer::Retry => {}
        }
        if told == BuyerAnswer::KeyReused {
            let others = self.tickets.get(&asked.request());
            let other = |id: &TicketId| {
                self.cuts
                    .get(id)
                    .is_some_and(|c| c.asked.item != asked.item || c.units != asked.units)
            };
            let used = others.is_some_and(|ids| ids.iter().any(other));
            self.check(used, "key reused", || {
                format!("{asked:?}: no other content was ever asked")
            });
        }
    }

    /// A request that was in a slot's hands all the time is not refused for having been parked too
    /// long.
    fn unknown_to_slots(&mut self, truth: &Truth, asked: &BuyerRequest, at: &AnswerContext<'_>) {
        let ids = self.tickets.get(&asked.request()).into_iter().flatten();
        let known = ids.copied().find(|id| {
            let cut =
                self.cuts.get(id).filter(|c| c.version < at.last_try && c.units == asked.units);
            let grant = cut.and_then(|c| truth.model.grants.get(&c.grant));
            grant.is_some_and(|g| g.open && at.slots.contains(&g.slot))
                && truth.verdict(id).is_none()
        });
        if let Some(id) = known.filter(|_| !self.faulty) {
            self.find("last try", || format!("{asked:?} refused though its slot holds {id}"));
        }
    }

    /// A buyer hears of this ticket. A refusal from before they asked is not their verdict: the
    /// same key is a new try.
    pub(crate) fn refused_with_ticket(&mut self, asked: &BuyerRequest, id: TicketId) {
        let Some((verdict, version)) = self.verdicts.get(&id).copied() else { return };
        let old =
            version <= asked.began && !matches!(verdict, Verdict::Reserved | Verdict::Order(_));
        self.check(!old, "new try", || {
            format!("{asked:?} told of {id}, which was {verdict:?} before")
        });
    }

    fn answered_order(&mut self, truth: &Truth, asked: &BuyerRequest, id: TicketId) {
        let order = truth.model.orders.get(&id);
        let own = |o: &doorbuster_core::Order| o.buyer == asked.buyer() && o.key == asked.key();
        self.check(order.is_some_and(own), "I3", || {
            format!("{asked:?} told of {id}, which is no order of theirs")
        });
        let same = order.is_some_and(|o| o.item == asked.item && o.units == asked.units);
        self.check(same, "key reused", || {
            format!("{asked:?} told of {id}, which has other content")
        });
        self.told_orders.insert((asked.node, id));
    }

    fn check_snapshot_age(&mut self, as_of: u64, mono: Millis, what: &'static str) {
        let age = mono.0 - self.until(as_of, mono).0;
        self.check(age <= AGE_MAX_MS, what, || format!("said from a snapshot {age} ms old"));
    }

    /// A request that holds an order is not refused. What a node says from a snapshot may be as old
    /// as that snapshot, unless the node has told of that order itself.
    fn refused(&mut self, asked: &BuyerRequest, told: BuyerAnswer, as_of: Option<u64>) {
        let Some(id) = self.requests.get(&asked.request()).copied() else { return };
        let Some(held) = self.orders.get(&id).copied() else { return };
        let before = as_of.unwrap_or(asked.began);
        let known = held.version <= before
            || (as_of.is_some() && self.told_orders.contains(&(asked.node, id)));
        let same = self
            .cuts
            .get(&id)
            .is_some_and(|c| c.asked.item == asked.item && c.units == asked.units);
        let fine = !known || (told == BuyerAnswer::KeyReused && !same);
        self.check(fine, "replay", || format!("{asked:?} told {told:?}, though it holds {id}"));
    }

    /// A buyer hears the verdict of an id, by event or by asking.
    pub(crate) fn verdict_reported(
        &mut self,
        truth: &Truth,
        id: TicketId,
        verdict: Verdict,
        _now: Millis,
    ) {
        let committed = truth.verdict(&id);
        self.check(committed == Some(verdict), "I8", || {
            format!("{id}: told {verdict:?}, committed {committed:?}")
        });
        if let Verdict::Order(order) = verdict {
            self.check(truth.model.orders.contains_key(&order), "I3", || {
                format!("{id} told of {order}, no order")
            });
        }
        let first = *self.told.entry(id).or_insert(verdict);
        self.check(first == verdict, "I8", || format!("{id}: told {first:?}, then {verdict:?}"));
    }

    /// A buyer asked for a verdict and was told that there is none yet.
    pub(crate) fn undecided_reported(&mut self, parts: &TicketParts, now: Millis) {
        let due = now > parts.decide_by;
        self.check(!due, "I8", || {
            format!("undecided {} ms after decide_by", now.0 - parts.decide_by.0)
        });
    }
}
