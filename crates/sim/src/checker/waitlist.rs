//! Those in line, by a list of the judge's own: who came first is served first, with units that
//! nobody else got meanwhile.
use doorbuster_core::event::Attribution;
use doorbuster_core::model::Model;
use doorbuster_core::order::{ChangeOutcome, EndReason};
use doorbuster_core::waitlist::{
    JoinOutcome, JoinRequest, LeaveOutcome, WaitlistEnded, WaitlistServed,
};
use doorbuster_core::{
    ItemId, Millis, Order, OrderState, Phase, Stock, TicketId, Units, Verdict, WaitlistState,
};
use hashbrown::{HashMap, HashSet};

use super::money::RowsBefore;
use super::rows::number_in_name;
use super::{BuyerRequest, Checker, SeenTicket};
use crate::truth::{Done, Truth, Tx};

/// The window of an order out of a line, unless the item's own is shorter.
const WINDOW_MS: i64 = 300_000;
/// Places that are served, or end with their sale, at once.
const AT_ONCE: usize = 100;

/// Somebody in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WaitingBuyer {
    id: TicketId,
    item: ItemId,
    /// Buyer and key.
    who: (u8, u8),
}

/// What the judge knows of lines.
#[derive(Debug, Default)]
pub(super) struct Waitlists {
    /// Those who wait, in the order in which they came.
    waiting: Vec<WaitingBuyer>,
    /// How each place ended.
    ended: HashMap<TicketId, WaitlistState, foldhash::fast::FixedState>,
    /// Orders that their buyers did not cancel themselves.
    cancelled_by_others: HashSet<TicketId, foldhash::fast::FixedState>,
}

impl Waitlists {
    fn for_item(&self, item: ItemId) -> impl Iterator<Item = &WaitingBuyer> {
        self.waiting.iter().filter(move |s| s.item == item)
    }
}

fn is_active(order: &Order) -> bool {
    matches!(order.state, OrderState::Reserved | OrderState::Paid)
}

/// Units of an item that may come back: of orders that are not paid.
fn reserved(model: &Model, item: ItemId) -> u64 {
    let waits = |o: &&Order| o.item == item && o.state == OrderState::Reserved;
    model.orders.values().filter(waits).map(|o| o.units.to_u64()).sum()
}

/// Units of an item that a buyer holds.
fn units(model: &Model, item: ItemId, buyer: u8) -> u32 {
    let holds =
        |o: &&Order| o.item == item && is_active(o) && number_in_name(o.buyer.as_str()) == buyer;
    model.orders.values().filter(holds).map(|o| o.units.get()).sum()
}

impl Checker {
    /// Whether this is the id of somebody's place.
    pub(super) fn is_waitlist_id(&self, id: &TicketId) -> bool {
        self.waitlists.ended.contains_key(id) || self.waitlists.waiting.iter().any(|s| s.id == *id)
    }

    /// Whether anybody stands in the item's line.
    pub(crate) fn has_waiting(&self, item: ItemId) -> bool {
        self.waitlists.for_item(item).next().is_some()
    }

    /// Judges what a transaction did to a line.
    pub(super) fn waitlist(
        &mut self,
        truth: &Truth,
        tx: &Tx,
        done: &Done,
        before: &RowsBefore,
        now: Millis,
    ) {
        match (tx, done) {
            (Tx::Join(item, joiner, _), Done::JoinOutcome(joined)) => {
                self.joined(truth, *item, joiner, joined, before)
            }
            (Tx::Leave(id, _), Done::LeaveOutcome(left)) => self.left(id, left),
            (Tx::Serve(item, _), Done::Served(served)) => {
                self.served(truth, *item, served, before, now)
            }
            (Tx::EndWaitlist(item, _), Done::WaitlistEnded(ended)) => {
                self.ended_with_sale(truth, *item, ended)
            }
            (Tx::End(id, EndReason::Cancel, by, _), Done::Ended(ChangeOutcome::Done(_)))
                if by != Attribution::BUYER =>
            {
                self.waitlists.cancelled_by_others.insert(*id);
            }
            (Tx::Force(id, ..), Done::Forced(Some(_))) => {
                let waits = self.waitlists.waiting.iter().any(|s| s.id == *id);
                self.check(!waits, "waitlist", || format!("{id} was decided while it waits"));
            }
            (Tx::Open(slot, ..), Done::Opened(Some(_))) => self.kept_back(truth, slot.item, before),
            (Tx::Refill(..), Done::Moved(1..)) => {
                if let Some(item) = before.item.as_ref().map(|item| item.id) {
                    self.kept_back(truth, item, before);
                }
            }
            _ => {}
        }
        self.waitlist_rows(truth);
    }

    /// As many units as places stay in the pool while the sale is on.
    fn kept_back(&mut self, truth: &Truth, item: ItemId, before: &RowsBefore) {
        let (Some(was), Some(is)) = (&before.item, truth.model.items.get(&item)) else { return };
        let kept = was.pool.min(self.waitlists.for_item(item).count() as u64);
        self.check(is.pool >= kept, "waitlist", || {
            format!(
                "{} of {} units are left in the pool, {kept} were kept for those in line",
                is.pool, was.pool
            )
        });
        if kept > 0 && is.pool < was.pool {
            self.count_case("refilled past a line");
        }
    }

    fn joined(
        &mut self,
        truth: &Truth,
        item: ItemId,
        joiner: &JoinRequest,
        joined: &JoinOutcome,
        before: &RowsBefore,
    ) {
        let who = (number_in_name(joiner.buyer.as_str()), number_in_name(joiner.key.as_str()));
        let (Some(row), places) = (&before.item, self.waitlists.for_item(item).count() as u64)
        else {
            return;
        };
        let stands = self.waitlists.for_item(item).find(|s| s.who.0 == who.0).map(|s| s.id);
        let order = self.requests.get(&who).copied();
        let free = row.pool - row.pool.min(places) + before.in_slots;
        let shown = truth.phases.get(&item).map(|p| p.shown);
        let wanted = match (stands, order) {
            (Some(id), _) => format!("already {id}"),
            (None, Some(id))
                if truth.model.orders[&id].item == item
                    && truth.model.orders[&id].units == Units::ONE =>
            {
                format!("order {id}")
            }
            (None, Some(_)) => "key reused".into(),
            _ if shown != Some(Phase::Open) => "not on sale".into(),
            _ if row.total == Stock::Unlimited || free > 0 => "not held out".into(),
            _ if row.total == Stock::Counted(row.paid) => "sold out".into(),
            _ if let Some(id) = self.served_in_vain(&truth.model, item, who.0) => {
                format!("lapsed {id}")
            }
            _ if units(&truth.model, item, who.0) >= row.limit => "limit reached".into(),
            _ if places
                >= joiner.entries_max.min(reserved(&truth.model, item) + row.pool.min(places)) =>
            {
                "full".into()
            }
            _ => "a place".into(),
        };
        let said = match joined {
            JoinOutcome::Done(_) => "a place".into(),
            JoinOutcome::Already(place) => format!("already {}", place.id),
            JoinOutcome::Order(order) => format!("order {}", order.id),
            JoinOutcome::KeyReused => "key reused".into(),
            JoinOutcome::NotOnSale => "not on sale".into(),
            JoinOutcome::UnitsFree => "not held out".into(),
            JoinOutcome::SoldOut => "sold out".into(),
            JoinOutcome::Lapsed(order) => format!("lapsed {}", order.id),
            JoinOutcome::LimitReached => "limit reached".into(),
            JoinOutcome::Full => "full".into(),
            JoinOutcome::NotFound => String::new(),
        };
        self.check(said == wanted, "waitlist", || {
            format!("{joiner:?} was told {said}, and was to be told {wanted}")
        });
        self.count_case(match joined {
            JoinOutcome::Done(_) if self.served_and_taken(item, who.0, &truth.model) => {
                "joined a line again"
            }
            JoinOutcome::Done(_) => "joined a line",
            JoinOutcome::Already(_) => "stood in line already",
            JoinOutcome::Full if places >= joiner.entries_max => "a line was full",
            JoinOutcome::Full => "a line was as long as what may come back",
            JoinOutcome::Lapsed(_) => "served in vain before",
            JoinOutcome::UnitsFree => "nothing to wait for",
            _ => "joined no line",
        });
        let JoinOutcome::Done(place) = joined else { return };
        self.waitlists.waiting.push(WaitingBuyer { id: place.id, item, who });
        // From now on the request is one for a unit, with the place as its ticket.
        let asked = BuyerRequest {
            node: 0,
            buyer: who.0,
            key: who.1,
            item,
            units: Units::ONE,
            began: truth.version,
            attempt: usize::MAX,
        };
        let (version, grant) =
            (truth.version, place.id.parts().map(|p| p.grant).unwrap_or_default());
        self.cuts.insert(place.id, SeenTicket { asked, units: Units::ONE, grant, version });
        self.tickets.entry(who).or_default().push(place.id);
    }

    /// The first place of theirs that was served, and whose order lapsed or was given up by them.
    fn served_in_vain(&self, model: &Model, item: ItemId, buyer: u8) -> Option<TicketId> {
        let own = |o: &&Order| match o.state {
            OrderState::Expired => true,
            OrderState::Cancelled => !self.waitlists.cancelled_by_others.contains(&o.id),
            _ => false,
        };
        let theirs = |o: &&Order| o.item == item && number_in_name(o.buyer.as_str()) == buyer;
        let served = |o: &&Order| self.waitlists.ended.get(&o.id) == Some(&WaitlistState::Served);
        let lapsed = model.orders.values().filter(theirs).filter(own).filter(served);
        lapsed.min_by_key(|o| o.n).map(|o| o.id)
    }

    /// Whether an order of theirs out of the line was taken from them.
    fn served_and_taken(&self, item: ItemId, buyer: u8, model: &Model) -> bool {
        let taken = |id: &TicketId| {
            model
                .orders
                .get(id)
                .is_some_and(|o| o.item == item && number_in_name(o.buyer.as_str()) == buyer)
        };
        let mut away = self
            .waitlists
            .cancelled_by_others
            .iter()
            .filter(|id| self.waitlists.ended.get(*id) == Some(&WaitlistState::Served));
        away.any(taken)
    }

    fn end(&mut self, id: &TicketId, state: WaitlistState, how: &'static str) {
        let at = self.waitlists.waiting.iter().position(|s| s.id == *id);
        let Some(at) = at else {
            return self
                .find("waitlist", || format!("{id} is {} and did not wait", state.as_str()));
        };
        self.waitlists.waiting.remove(at);
        self.waitlists.ended.insert(*id, state);
        self.count_case(how);
    }

    fn left(&mut self, id: &TicketId, left: &LeaveOutcome) {
        let stands = self.waitlists.waiting.iter().any(|s| s.id == *id);
        match left {
            LeaveOutcome::Done(_) => self.end(id, WaitlistState::Left, "left"),
            LeaveOutcome::Already(place) => {
                let ended = self.waitlists.ended.get(id).copied();
                self.check(ended == Some(place.state), "waitlist", || {
                    format!("{id} is {place:?}, it was {ended:?}")
                });
            }
            LeaveOutcome::NotFound => self.check(!stands, "waitlist", || format!("{id} is gone")),
        }
    }

    /// First come, first served: whoever may have a unit of what the pool held, in the order in
    /// which they came.
    fn served(
        &mut self,
        truth: &Truth,
        item: ItemId,
        served: &WaitlistServed,
        before: &RowsBefore,
        now: Millis,
    ) {
        let Some(row) = &before.item else { return };
        let on = truth.phases.get(&item).is_some_and(|p| p.shown == Phase::Open);
        let mut pool = row.pool;
        let (mut orders, mut passed) = (Vec::new(), Vec::new());
        let first: Vec<_> =
            self.waitlists.for_item(item).take(AT_ONCE.min(pool as usize)).copied().collect();
        for place in first.into_iter().filter(|_| on) {
            // Orders of this transaction are among the rows: each of them is of somebody else.
            let new = |o: &&Order| o.id == place.id && is_active(o);
            let held = units(&truth.model, item, place.who.0)
                - truth.model.orders.values().find(new).map_or(0, |o| o.units.get());
            match held >= row.limit || self.requests.contains_key(&place.who) {
                true => passed.push(place.id),
                false => {
                    pool -= 1;
                    orders.push(place.id);
                }
            }
        }
        let ids: Vec<_> = served.orders.iter().map(|o| o.id).collect();
        let over: Vec<_> = served.passed_over.iter().map(|p| p.id).collect();
        self.check(ids == orders && over == passed, "waitlist", || {
            format!(
                "served {ids:?} and passed over {over:?}; by turn it was {orders:?} and {passed:?}"
            )
        });
        let left = truth.model.items.get(&item).map(|i| i.pool);
        self.check(left == Some(pool), "waitlist", || {
            format!("the pool held {}, now {left:?}", row.pool)
        });
        for order in &served.orders {
            let window = row.hold_ms.min(WINDOW_MS);
            let right = order.units == Units::ONE
                && order.reserved_at == now
                && order.pay_by == now.plus(window);
            self.check(right, "waitlist", || {
                format!("{order:?} out of a line, its window {window} ms")
            });
            self.end(&order.id, WaitlistState::Served, "served");
        }
        over.iter().for_each(|id| self.end(id, WaitlistState::PassedOver, "passed_over"));
    }

    /// Whoever stands there after the sale's end gets nothing any more, by turn; until then
    /// everybody stays.
    fn ended_with_sale(&mut self, truth: &Truth, item: ItemId, ended: &WaitlistEnded) {
        let is_over = truth.phases.get(&item).is_some_and(|p| p.shown == Phase::Closed);
        let waiting: Vec<_> =
            self.waitlists.for_item(item).map(|s| s.id).filter(|_| is_over).collect();
        let wanted: Vec<_> = waiting.iter().take(AT_ONCE).copied().collect();
        let ids: Vec<_> = ended.places.iter().map(|p| p.id).collect();
        let right = ids == wanted && ended.more == (waiting.len() > wanted.len());
        self.check(right, "waitlist", || {
            format!(
                "ended {ids:?}, more: {}, with the sale of item {item}; they were to be {wanted:?}",
                ended.more
            )
        });
        ids.iter().for_each(|id| self.end(id, WaitlistState::PassedOver, "ended with its sale"));
    }

    /// The rows say what the judge saw, and each place that ended has its order or its refusal.
    fn waitlist_rows(&mut self, truth: &Truth) {
        let model = &truth.model;
        for item in model.items.values() {
            let waiting = self.waitlists.for_item(item.id).count() as u64;
            self.check(item.waiting == waiting, "waitlist", || {
                format!("{} noted, {waiting} wait", item.waiting)
            });
        }
        self.check(
            model.places.len() == self.waitlists.waiting.len() + self.waitlists.ended.len(),
            "waitlist",
            || "a place is gone, or nobody asked for it".into(),
        );
        for place in model.places.values() {
            let state =
                self.waitlists.ended.get(&place.id).copied().unwrap_or(WaitlistState::Waiting);
            let (sold, refused) =
                (model.orders.contains_key(&place.id), model.resolutions.contains_key(&place.id));
            let right = match state {
                WaitlistState::Waiting => !sold && !refused && place.ended_at.is_none(),
                WaitlistState::Served => sold && !refused,
                WaitlistState::Left | WaitlistState::PassedOver => refused && !sold,
            };
            self.check(place.state == state && right, "waitlist", || {
                format!("{place:?} is {state:?}, an order {sold}, refused {refused}")
            });
        }
    }

    /// A buyer asked for a place, and heard that it waits.
    pub(crate) fn answered_waiting(&mut self, id: &TicketId) {
        let waits = self.waitlists.waiting.iter().any(|s| s.id == *id);
        self.check(waits, "waitlist", || format!("{id} is said to wait, and does not"));
        self.count_case("told to wait in line");
    }

    /// A buyer asked for a place whose sale has ended, and heard so: it never becomes an order.
    pub(crate) fn answered_sale_ended(&mut self, id: &TicketId) {
        let first = *self.told.entry(*id).or_insert(Verdict::Unavailable);
        self.check(first == Verdict::Unavailable, "I8", || {
            format!("{id}: told {first:?}, then that its sale is over")
        });
        self.count_case("told that its sale is over");
    }

    /// Nobody waits for what is there, nor for what is over.
    pub(crate) fn waitlists_at_rest(&mut self, truth: &Truth) {
        for item in truth.model.items.values() {
            let shown = truth.phases.get(&item.id).map(|p| p.shown);
            let on = shown == Some(Phase::Open);
            let waits = self.waitlists.for_item(item.id).count();
            self.check(shown != Some(Phase::Closed) || waits == 0, "waitlist", || {
                format!("{waits} wait at rest for item {}, whose sale has ended", item.id)
            });
            self.check(!on || waits == 0 || item.pool == 0, "waitlist", || {
                format!(
                    "{waits} wait at rest for item {}, and its pool holds {}",
                    item.id, item.pool
                )
            });
        }
    }
}
