//! Those in line, by a list of the judge's own: who came first is served first, with units that nobody else got meanwhile.
use doorbuster_core::event::By;
use doorbuster_core::line::{Joined, Joiner, Left, LineEnded, LineServed};
use doorbuster_core::model::Model;
use doorbuster_core::order::{Changed, Ending};
use doorbuster_core::{
    ItemId, Millis, Order, OrderState, Phase, PlaceState, Stock, TicketId, Units, Verdict,
};
use hashbrown::{HashMap, HashSet};

use super::money::Before;
use super::rows::number;
use super::{Asked, Cutting, Judge};
use crate::truth::{Done, Truth, Tx};

/// The window of an order out of a line, unless the item's own is shorter.
const WINDOW_MS: i64 = 300_000;
/// Places that are served, or end with their sale, at once.
const AT_ONCE: usize = 100;

/// Somebody in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    id: TicketId,
    item: ItemId,
    /// Buyer and key.
    who: (u8, u8),
}

/// What the judge knows of lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Those who wait, in the order in which they came.
    standing: Vec<Standing>,
    /// How each place ended.
    ended: HashMap<TicketId, PlaceState, foldhash::fast::FixedState>,
    /// Orders that their buyers did not cancel themselves.
    taken_away: HashSet<TicketId, foldhash::fast::FixedState>,
}

impl Lines {
    fn of(&self, item: ItemId) -> impl Iterator<Item = &Standing> {
        self.standing.iter().filter(move |s| s.item == item)
    }
}

fn is_active(order: &Order) -> bool {
    matches!(order.state, OrderState::Reserved | OrderState::Paid)
}

/// Units of an item that may come back: of orders that are not paid.
fn reserved(model: &Model, item: ItemId) -> u64 {
    let waits = |o: &&Order| o.item == item && o.state == OrderState::Reserved;
    model.orders.values().filter(waits).map(|o| o.units.wide()).sum()
}

/// Units of an item that a buyer holds.
fn units(model: &Model, item: ItemId, buyer: u8) -> u32 {
    let holds = |o: &&Order| o.item == item && is_active(o) && number(o.buyer.as_str()) == buyer;
    model.orders.values().filter(holds).map(|o| o.units.get()).sum()
}

impl Judge {
    /// Whether this is the id of somebody's place.
    pub(super) fn is_place(&self, id: &TicketId) -> bool {
        self.lines.ended.contains_key(id) || self.lines.standing.iter().any(|s| s.id == *id)
    }

    /// Whether anybody stands in the item's line.
    pub(crate) fn waits(&self, item: ItemId) -> bool {
        self.lines.of(item).next().is_some()
    }

    /// Judges what a transaction did to a line.
    pub(super) fn line(
        &mut self,
        truth: &Truth,
        tx: &Tx,
        done: &Done,
        before: &Before,
        now: Millis,
    ) {
        match (tx, done) {
            (Tx::Join(item, joiner, _), Done::Joined(joined)) => {
                self.joined(truth, *item, joiner, joined, before)
            }
            (Tx::Leave(id, _), Done::Left(left)) => self.left(id, left),
            (Tx::Serve(item, _), Done::Served(served)) => {
                self.served(truth, *item, served, before, now)
            }
            (Tx::EndLine(item, _), Done::LineEnded(ended)) => {
                self.ended_with_sale(truth, *item, ended)
            }
            (Tx::End(id, Ending::Cancel, by, _), Done::Ended(Changed::Done(_)))
                if by != By::BUYER =>
            {
                self.lines.taken_away.insert(*id);
            }
            (Tx::Force(id, ..), Done::Forced(Some(_))) => {
                let waits = self.lines.standing.iter().any(|s| s.id == *id);
                self.check(!waits, "line", || format!("{id} was decided while it waits"));
            }
            (Tx::Open(slot, ..), Done::Opened(Some(_))) => self.kept_back(truth, slot.item, before),
            (Tx::Refill(..), Done::Moved(1..)) => {
                if let Some(item) = before.item.as_ref().map(|item| item.id) {
                    self.kept_back(truth, item, before);
                }
            }
            _ => {}
        }
        self.rows_of_lines(truth);
    }

    /// As many units as places stay in the pool while the sale is on.
    fn kept_back(&mut self, truth: &Truth, item: ItemId, before: &Before) {
        let (Some(was), Some(is)) = (&before.item, truth.model.items.get(&item)) else { return };
        let kept = was.pool.min(self.lines.of(item).count() as u64);
        self.check(is.pool >= kept, "line", || {
            format!(
                "{} of {} units are left in the pool, {kept} were kept for those in line",
                is.pool, was.pool
            )
        });
        if kept > 0 && is.pool < was.pool {
            self.reach("refilled past a line");
        }
    }

    fn joined(
        &mut self,
        truth: &Truth,
        item: ItemId,
        joiner: &Joiner,
        joined: &Joined,
        before: &Before,
    ) {
        let who = (number(joiner.buyer.as_str()), number(joiner.key.as_str()));
        let (Some(row), places) = (&before.item, self.lines.of(item).count() as u64) else {
            return;
        };
        let stands = self.lines.of(item).find(|s| s.who.0 == who.0).map(|s| s.id);
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
                >= joiner.places_max.min(reserved(&truth.model, item) + row.pool.min(places)) =>
            {
                "full".into()
            }
            _ => "a place".into(),
        };
        let said = match joined {
            Joined::Done(_) => "a place".into(),
            Joined::Already(place) => format!("already {}", place.id),
            Joined::Order(order) => format!("order {}", order.id),
            Joined::KeyReused => "key reused".into(),
            Joined::NotOnSale => "not on sale".into(),
            Joined::NotHeldOut => "not held out".into(),
            Joined::SoldOut => "sold out".into(),
            Joined::Lapsed(order) => format!("lapsed {}", order.id),
            Joined::LimitReached => "limit reached".into(),
            Joined::Full => "full".into(),
            Joined::NotFound => String::new(),
        };
        self.check(said == wanted, "line", || {
            format!("{joiner:?} was told {said}, and was to be told {wanted}")
        });
        self.reach(match joined {
            Joined::Done(_) if self.served_and_taken(item, who.0, &truth.model) => {
                "joined a line again"
            }
            Joined::Done(_) => "joined a line",
            Joined::Already(_) => "stood in line already",
            Joined::Full if places >= joiner.places_max => "a line was full",
            Joined::Full => "a line was as long as what may come back",
            Joined::Lapsed(_) => "served in vain before",
            Joined::NotHeldOut => "nothing to wait for",
            _ => "joined no line",
        });
        let Joined::Done(place) = joined else { return };
        self.lines.standing.push(Standing { id: place.id, item, who });
        // From now on the request is one for a unit, with the place as its ticket.
        let asked = Asked {
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
        self.cuts.insert(place.id, Cutting { asked, units: Units::ONE, grant, version });
        self.tickets.entry(who).or_default().push(place.id);
    }

    /// The first place of theirs that was served, and whose order lapsed or was given up by them.
    fn served_in_vain(&self, model: &Model, item: ItemId, buyer: u8) -> Option<TicketId> {
        let own = |o: &&Order| match o.state {
            OrderState::Expired => true,
            OrderState::Cancelled => !self.lines.taken_away.contains(&o.id),
            _ => false,
        };
        let theirs = |o: &&Order| o.item == item && number(o.buyer.as_str()) == buyer;
        let served = |o: &&Order| self.lines.ended.get(&o.id) == Some(&PlaceState::Served);
        let lapsed = model.orders.values().filter(theirs).filter(own).filter(served);
        lapsed.min_by_key(|o| o.n).map(|o| o.id)
    }

    /// Whether an order of theirs out of the line was taken from them.
    fn served_and_taken(&self, item: ItemId, buyer: u8, model: &Model) -> bool {
        let taken = |id: &TicketId| {
            model
                .orders
                .get(id)
                .is_some_and(|o| o.item == item && number(o.buyer.as_str()) == buyer)
        };
        let mut away = self
            .lines
            .taken_away
            .iter()
            .filter(|id| self.lines.ended.get(*id) == Some(&PlaceState::Served));
        away.any(taken)
    }

    fn end(&mut self, id: &TicketId, state: PlaceState, how: &'static str) {
        let at = self.lines.standing.iter().position(|s| s.id == *id);
        let Some(at) = at else {
            return self.find("line", || format!("{id} is {} and did not wait", state.as_str()));
        };
        self.lines.standing.remove(at);
        self.lines.ended.insert(*id, state);
        self.reach(how);
    }

    fn left(&mut self, id: &TicketId, left: &Left) {
        let stands = self.lines.standing.iter().any(|s| s.id == *id);
        match left {
            Left::Done(_) => self.end(id, PlaceState::Left, "left"),
            Left::Already(place) => {
                let ended = self.lines.ended.get(id).copied();
                self.check(ended == Some(place.state), "line", || {
                    format!("{id} is {place:?}, it was {ended:?}")
                });
            }
            Left::NotFound => self.check(!stands, "line", || format!("{id} is gone")),
        }
    }

    /// First come, first served: whoever may have a unit of what the pool held, in the order in which they came.
    fn served(
        &mut self,
        truth: &Truth,
        item: ItemId,
        served: &LineServed,
        before: &Before,
        now: Millis,
    ) {
        let Some(row) = &before.item else { return };
        let on = truth.phases.get(&item).is_some_and(|p| p.shown == Phase::Open);
        let mut pool = row.pool;
        let (mut orders, mut passed) = (Vec::new(), Vec::new());
        let first: Vec<_> = self.lines.of(item).take(AT_ONCE.min(pool as usize)).copied().collect();
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
        self.check(ids == orders && over == passed, "line", || {
            format!(
                "served {ids:?} and passed over {over:?}; by turn it was {orders:?} and {passed:?}"
            )
        });
        let left = truth.model.items.get(&item).map(|i| i.pool);
        self.check(left == Some(pool), "line", || {
            format!("the pool held {}, now {left:?}", row.pool)
        });
        for order in &served.orders {
            let window = row.hold_ms.min(WINDOW_MS);
            let right = order.units == Units::ONE
                && order.reserved_at == now
                && order.pay_by == now.plus(window);
            self.check(right, "line", || {
                format!("{order:?} out of a line, its window {window} ms")
            });
            self.end(&order.id, PlaceState::Served, "served");
        }
        over.iter().for_each(|id| self.end(id, PlaceState::PassedOver, "passed_over"));
    }

    /// Whoever stands there after the sale's end gets nothing any more, by turn; until then everybody stays.
    fn ended_with_sale(&mut self, truth: &Truth, item: ItemId, ended: &LineEnded) {
        let is_over = truth.phases.get(&item).is_some_and(|p| p.shown == Phase::Closed);
        let standing: Vec<_> = self.lines.of(item).map(|s| s.id).filter(|_| is_over).collect();
        let wanted: Vec<_> = standing.iter().take(AT_ONCE).copied().collect();
        let ids: Vec<_> = ended.places.iter().map(|p| p.id).collect();
        let right = ids == wanted && ended.more == (standing.len() > wanted.len());
        self.check(right, "line", || {
            format!(
                "ended {ids:?}, more: {}, with the sale of item {item}; they were to be {wanted:?}",
                ended.more
            )
        });
        ids.iter().for_each(|id| self.end(id, PlaceState::PassedOver, "ended with its sale"));
    }

    /// The rows say what the judge saw, and each place that ended has its order or its refusal.
    fn rows_of_lines(&mut self, truth: &Truth) {
        let model = &truth.model;
        for item in model.items.values() {
            let standing = self.lines.of(item.id).count() as u64;
            self.check(item.waiting == standing, "line", || {
                format!("{} noted, {standing} wait", item.waiting)
            });
        }
        self.check(
            model.places.len() == self.lines.standing.len() + self.lines.ended.len(),
            "line",
            || "a place is gone, or nobody asked for it".into(),
        );
        for place in model.places.values() {
            let state = self.lines.ended.get(&place.id).copied().unwrap_or(PlaceState::Waiting);
            let (sold, refused) =
                (model.orders.contains_key(&place.id), model.resolutions.contains_key(&place.id));
            let right = match state {
                PlaceState::Waiting => !sold && !refused && place.ended_at.is_none(),
                PlaceState::Served => sold && !refused,
                PlaceState::Left | PlaceState::PassedOver => refused && !sold,
            };
            self.check(place.state == state && right, "line", || {
                format!("{place:?} is {state:?}, an order {sold}, refused {refused}")
            });
        }
    }

    /// A buyer asked for a place, and heard that it waits.
    pub(crate) fn told_to_wait(&mut self, id: &TicketId) {
        let waits = self.lines.standing.iter().any(|s| s.id == *id);
        self.check(waits, "line", || format!("{id} is said to wait, and does not"));
        self.reach("told to wait in line");
    }

    /// A buyer asked for a place whose sale has ended, and heard so: it never becomes an order.
    pub(crate) fn told_over(&mut self, id: &TicketId) {
        let first = *self.told.entry(*id).or_insert(Verdict::Unavailable);
        self.check(first == Verdict::Unavailable, "I8", || {
            format!("{id}: told {first:?}, then that its sale is over")
        });
        self.reach("told that its sale is over");
    }

    /// Nobody waits for what is there, nor for what is over.
    pub(crate) fn lines_at_rest(&mut self, truth: &Truth) {
        for item in truth.model.items.values() {
            let shown = truth.phases.get(&item.id).map(|p| p.shown);
            let on = shown == Some(Phase::Open);
            let waits = self.lines.of(item.id).count();
            self.check(shown != Some(Phase::Closed) || waits == 0, "line", || {
                format!("{waits} wait at rest for item {}, whose sale has ended", item.id)
            });
            self.check(!on || waits == 0 || item.pool == 0, "line", || {
                format!(
                    "{waits} wait at rest for item {}, and its pool holds {}",
                    item.id, item.pool
                )
            });
        }
    }
}
