//! The waiting rooms of a sale: one for the whole sale, or one for each item.

mod arrivals;

use std::sync::atomic::{AtomicI64, Ordering};

use doorbuster_api::gate::{RoomScope, WaitingRoomMode};
use doorbuster_core::{ItemId, Millis};
use doorbuster_store::RoomKey;

use crate::catalogue::{ItemState, SaleState};
pub use arrivals::{Arrivals, arrivals_counted_max};

/// The state of a waiting room, used if the room opens automatically.
#[derive(Debug, Default)]
pub struct RoomRuntime {
    /// The recent arrivals of buyers. If too many buyers arrive, the room opens.
    pub arrivals: Arrivals,
    /// The time until which the room is open, as this node last computed or read it.
    pub open_until: AtomicI64,
}

/// A waiting room.
#[derive(Clone, Copy, Debug)]
pub struct SaleRoom<'a> {
    /// The sale.
    pub sale: &'a SaleState,
    /// The item of the room. `None` if the room is for all items of the sale.
    pub item: Option<&'a ItemState>,
}

impl SaleState {
    /// Returns the room in which the buyers of this item wait.
    pub fn room_of<'a>(&'a self, item: &'a ItemState) -> SaleRoom<'a> {
        let item = Some(item).filter(|_| self.front_door.rooms == RoomScope::Items);
        SaleRoom { sale: self, item }
    }

    /// Returns all rooms of the sale.
    pub fn rooms(&self) -> impl Iterator<Item = SaleRoom<'_>> {
        let (whole, items) = match self.front_door.rooms {
            RoomScope::Sale => (Some(SaleRoom { sale: self, item: None }), &[][..]),
            RoomScope::Items => (None, &self.items[..]),
        };
        whole.into_iter().chain(items.iter().map(|item| SaleRoom { sale: self, item: Some(item) }))
    }

    /// Returns the room with this key. Returns `None` if the sale no longer has this room, because
    /// its settings have changed.
    pub fn room_by_key(&self, key: &RoomKey) -> Option<SaleRoom<'_>> {
        self.rooms().find(|room| room.item_id() == key.item)
    }
}

impl SaleRoom<'_> {
    /// Returns the room's key in the store.
    pub fn key(&self) -> RoomKey {
        RoomKey { sale: self.sale.row.id.as_str().into(), item: self.item_id() }
    }

    fn item_id(&self) -> Option<ItemId> {
        self.item.map(|item| item.row.id)
    }

    /// Returns the name of the room's item, or `None` if the room is for all items of the sale.
    pub fn item_name(&self) -> Option<&str> {
        self.item.map(|item| item.row.name.as_str())
    }

    /// Returns the state that decides whether the room is open, if it opens automatically.
    pub fn runtime(&self) -> &RoomRuntime {
        self.item.map_or(&self.sale.runtime.room, |item| &item.work.room)
    }

    /// Returns how many visitors this room admits per second. `per_sec` is the number that all
    /// rooms of the sale admit together. If more buyers than the result arrive per second, an
    /// automatic room opens.
    pub fn part_of(&self, per_sec: u64) -> u64 {
        (per_sec / self.rooms_of_sale() as u64).max(1)
    }

    /// Returns the number of rooms of the sale.
    pub fn rooms_of_sale(&self) -> usize {
        self.item.map_or(1, |_| self.sale.items.len().max(1))
    }

    /// Returns the number of free units that the room's visitors can buy, as this node knows it.
    /// `None` means unlimited.
    pub fn free_units(&self) -> Option<u64> {
        let all = || self.sale.items.iter().map(|item| item.gauge.free().free).sum();
        self.item.map_or_else(all, |item| item.gauge.free().free)
    }

    /// Returns the largest number of units that a visitor may buy of one item.
    pub fn limit(&self) -> u64 {
        let all = || self.sale.items.iter().map(|item| item.row.limit).max().unwrap_or(1);
        u64::from(self.item.map_or_else(all, |item| item.row.limit))
    }

    /// Returns whether this waiting room opens automatically and is open now.
    pub fn is_auto_open(&self, now: Millis) -> bool {
        self.sale.front_door.waiting_room == WaitingRoomMode::Auto
            && now.0 < self.runtime().open_until.load(Ordering::Relaxed)
    }

    /// Returns whether the waiting room is open, so that visitors without an admission must wait.
    pub fn is_open(&self, now: Millis) -> bool {
        self.sale.front_door.waiting_room == WaitingRoomMode::Always || self.is_auto_open(now)
    }
}
