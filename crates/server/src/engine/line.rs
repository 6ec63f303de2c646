//! An item's line as its buyers use it: standing in it, what became of a place, leaving it. Who is
//! served there is control's business.
//!
//! What is asked of the store for whoever asks is asked in lanes, one for each buyer and few at
//! once, so that what a crowd in line costs is bounded.
use doorbuster_core::limits::WAITLIST_ENTRIES_MAX;
use doorbuster_core::waitlist::{JoinOutcome, LeaveOutcome};
use doorbuster_core::{
    BuyerId, ItemId, Order, OrderState, Phase, RequestKey, TicketId, Units, Verdict, WaitlistEntry,
    WaitlistState,
};
use doorbuster_store::WaitlistPosition;

use super::{Engine, EngineError, Looked};
use crate::catalogue::ItemState;
use crate::holders::Unread;

/// What a buyer hears who wants to stand in line.
#[derive(Clone, Debug)]
pub enum InLine {
    /// A place, as it stands now.
    WaitlistEntry {
        /// Its id.
        id: TicketId,
        /// What it is.
        looked: Looked,
        /// Whether it was taken by this request.
        is_new: bool,
    },
    /// The order that the request holds, in its present state.
    Order(Order),
    /// Nothing.
    Refused(NotInLine),
}

/// Why a buyer does not stand in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotInLine {
    /// A unit may be had without waiting.
    UnitsFree,
    /// Nothing is held that could come back.
    SoldOut,
    /// The buyer's limit.
    LimitReached {
        /// The limit.
        limit: u32,
        /// Units that the buyer holds.
        used: u32,
    },
    /// The buyer was served in vain: their order out of this line ended so.
    Lapsed(OrderState),
    /// The key belongs to an order of something else.
    KeyReused,
    /// The line is as long as it may be, or as what may come back.
    Full,
    /// The sale is not on, as the store knows.
    NotOnSale,
    /// No such item.
    NotFound,
    /// Too many ask at once.
    Busy,
}

/// What leaving a line came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// The buyer does not wait there.
    Done,
    /// A unit came for the last place that the buyer had: it is an order.
    Served(OrderState),
    /// Too many ask at once.
    Busy,
}

impl Engine {
    /// What the request hears if it holds an order, whatever is so of the sale; `None`: it holds
    /// none that this node remembers.
    ///
    /// # Errors When the store is away.
    pub async fn order_in_line(
        &self,
        item: &ItemState,
        buyer: &BuyerId,
        key: &RequestKey,
    ) -> Result<Option<InLine>, EngineError> {
        let request = self.id_key().request_hash(buyer.as_str(), key.as_str());
        if !self.holders().holds(request) {
            return Ok(None);
        }
        let order = self.store.order_of(buyer.clone(), key.clone());
        match self.holders().lanes.order(self.lane(buyer), request, order).await {
            Ok(order) => Ok(order.map(|order| replayed(item, order))),
            Err(Unread::Busy) => Ok(Some(InLine::Refused(NotInLine::Busy))),
            Err(Unread::Store(error)) => Err(error.into()),
        }
    }

    /// Puts a buyer in an item's line, or finds the place that is there.
    ///
    /// # Errors
    /// When the store is away: the same request may be sent again.
    pub async fn join_waitlist(
        &self,
        item: &ItemState,
        buyer: &BuyerId,
        key: &RequestKey,
    ) -> Result<InLine, EngineError> {
        let id = item.row.id;
        if let Some(why) = self.refusal_of_line(item) {
            // Whoever stands there already is told so.
            let read = self.place_in_line(id, buyer).await?;
            return match read {
                Some(Some(found)) => self.place(found.place.id, buyer, false).await,
                Some(None) => Ok(InLine::Refused(why)),
                None => Ok(InLine::Refused(NotInLine::Busy)),
            };
        }
        let joining = self.store.join_waitlist(id, buyer.clone(), key.clone());
        let Some(joined) = self.holders().line_lanes.read(self.lane(buyer), joining).await else {
            return Ok(InLine::Refused(NotInLine::Busy));
        };
        Ok(InLine::Refused(match joined? {
            JoinOutcome::Done(place) => return self.place(place.id, buyer, true).await,
            JoinOutcome::Already(place) => return self.place(place.id, buyer, false).await,
            JoinOutcome::Order(order) => return Ok(replayed(item, order)),
            JoinOutcome::Lapsed(order) => NotInLine::Lapsed(order.state),
            JoinOutcome::KeyReused => NotInLine::KeyReused,
            JoinOutcome::LimitReached => {
                let used = self.store.quota(id, buyer.clone()).await?;
                NotInLine::LimitReached { limit: item.row.limit, used }
            }
            JoinOutcome::UnitsFree => NotInLine::UnitsFree,
            JoinOutcome::SoldOut => NotInLine::SoldOut,
            JoinOutcome::Full => NotInLine::Full,
            JoinOutcome::NotOnSale => NotInLine::NotOnSale,
            JoinOutcome::NotFound => NotInLine::NotFound,
        }))
    }

    /// The place in which a buyer waits for the item. The outer `None`: too many ask at once.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn place_in_line(
        &self,
        item: ItemId,
        buyer: &BuyerId,
    ) -> Result<Option<Option<WaitlistPosition>>, EngineError> {
        let reading = self.store.waitlist_position_of(item, buyer);
        let Some(read) = self.holders().line_lanes.read(self.lane(buyer), reading).await else {
            return Ok(None);
        };
        Ok(Some(read?.filter(|found| found.place.state == WaitlistState::Waiting)))
    }

    /// Gives up the place in which a buyer waits, if there is one. `is_over`: the sale has ended,
    /// and what became of the place was told.
    ///
    /// # Errors When the store is away: the same request may be sent again.
    pub async fn leave_waitlist(
        &self,
        item: ItemId,
        buyer: &BuyerId,
        is_over: bool,
    ) -> Result<Leaving, EngineError> {
        let Some(found) = self.place_in_line(item, buyer).await? else { return Ok(Leaving::Busy) };
        if let Some(WaitlistPosition { place, .. }) = found {
            if is_over {
                return Ok(Leaving::Done);
            }
            match self.store.leave_waitlist(place.id).await? {
                LeaveOutcome::Already(WaitlistEntry { state: WaitlistState::Served, .. }) => {}
                LeaveOutcome::Done(_) | LeaveOutcome::Already(_) | LeaveOutcome::NotFound => {
                    return Ok(Leaving::Done);
                }
            }
        }
        // The last place may have become an order, just now or long ago.
        let reading = self.store.waitlist_order_of(item, buyer);
        let Some(read) = self.holders().line_lanes.read(self.lane(buyer), reading).await else {
            return Ok(Leaving::Busy);
        };
        Ok(read?.map_or(Leaving::Done, |order| Leaving::Served(order.state)))
    }

    /// Gives up every place in which a buyer waits: they are turned away from now on, and are not
    /// served. Nobody is after a sale's end.
    ///
    /// # Errors When the store is away: some places may be left, and it may be asked again.
    pub async fn leave_lines(&self, buyer: &BuyerId) -> Result<(), EngineError> {
        let catalogue = self.catalogue().clone();
        let sales = catalogue.sales().filter(|sale| sale.row.phase != Phase::Closed);
        for item in
            sales.flat_map(|sale| &sale.items).filter(|item| item.gauge.counts().waiting > 0)
        {
            if let Some(found) = self.store.waitlist_position_of(item.row.id, buyer).await? {
                self.store.leave_waitlist(found.place.id).await?;
            }
        }
        Ok(())
    }

    /// What became of a place.
    pub(super) async fn look_in_line(
        &self,
        id: TicketId,
        item: ItemId,
        buyer: Option<&BuyerId>,
    ) -> Result<Looked, EngineError> {
        let Some(WaitlistPosition { place, ahead }) = self.store.waitlist_position(id).await?
        else {
            return Ok(Looked::NotFound);
        };
        if buyer.is_some_and(|buyer| place.buyer != *buyer) {
            // The id proves whose it was.
            return Ok(Looked::NotFound);
        }
        let Some(item) = self.item_or_new(item).await? else { return Ok(Looked::NotFound) };
        Ok(match place.state {
            WaitlistState::Waiting => Looked::Waiting { item, place, ahead },
            WaitlistState::Left => Looked::Left { item, place },
            // Perhaps in this very moment.
            WaitlistState::Served | WaitlistState::PassedOver => {
                match self.store.verdict(id).await? {
                    Some(resolved) => match resolved.order {
                        Some(order) => Looked::Order(order),
                        // A turn that came is refused for the limit alone.
                        None if resolved.verdict == Verdict::Unavailable => {
                            Looked::Ended { item, place }
                        }
                        None => {
                            Looked::Refused { item, units: Units::ONE, verdict: resolved.verdict }
                        }
                    },
                    None => Looked::NotFound,
                }
            }
        })
    }

    /// The refusal that node memory alone allows.
    fn refusal_of_line(&self, item: &ItemState) -> Option<NotInLine> {
        if !self.is_recent() {
            return None;
        }
        match item.gauge.free().refuses(Units::ONE) {
            None => Some(NotInLine::UnitsFree),
            Some(sold_out) if !sold_out.may_return => Some(NotInLine::SoldOut),
            Some(_) => {
                let counts = item.gauge.counts();
                let may_come = counts.held + counts.kept;
                (counts.waiting >= WAITLIST_ENTRIES_MAX.min(may_come)).then_some(NotInLine::Full)
            }
        }
    }

    async fn place(
        &self,
        id: TicketId,
        buyer: &BuyerId,
        is_new: bool,
    ) -> Result<InLine, EngineError> {
        Ok(InLine::WaitlistEntry { id, looked: self.look(id, Some(buyer)).await?, is_new })
    }

    fn lane(&self, buyer: &BuyerId) -> u64 {
        self.id_key().buyer_hash(buyer.as_str())
    }
}

/// An order under the request's key: the request's own, unless it is one of something else.
fn replayed(item: &ItemState, order: Order) -> InLine {
    match order.item == item.row.id && order.units == Units::ONE {
        true => InLine::Order(order),
        false => InLine::Refused(NotInLine::KeyReused),
    }
}
