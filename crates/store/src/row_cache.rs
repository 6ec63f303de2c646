//! Tables of rows that a transaction reads once, changes in memory, and writes together.
use std::collections::BTreeMap;

use doorbuster_core::money::{Checkout, Payment, PaymentId, Refund, RefundId};
use doorbuster_core::{
    Grant, GrantId, Item, ItemId, Recall, RecallId, TicketId, TicketN, WaitlistEntry,
};

pub(crate) trait Keyed: Clone + PartialEq {
    type Key: Ord + std::fmt::Debug;

    fn key(&self) -> Self::Key;
}

macro_rules! keyed {
    ($($row:ident($self:ident): $key:ty = $value:expr;)*) => {
        $(
            impl Keyed for $row {
                type Key = $key;

                fn key(&$self) -> $key {
                    $value
                }
            }
        )*
    };
}

keyed! {
    Checkout(self): TicketId = self.order;
    Grant(self): GrantId = self.id;
    Item(self): ItemId = self.id;
    Payment(self): PaymentId = self.id.clone();
    Recall(self): RecallId = self.id;
    Refund(self): RefundId = self.id.clone();
    WaitlistEntry(self): (ItemId, TicketN) = (self.item, self.n);
}

/// A row in two versions: as the transaction changed it, and as the table has it.
#[derive(Clone, Debug)]
pub(crate) struct CachedRow<R> {
    pub(crate) row: R,
    /// `None` if the row is not in the table yet.
    pub(crate) read: Option<R>,
}

impl<R: PartialEq> CachedRow<R> {
    fn is_dirty(&self) -> bool {
        self.read.as_ref() != Some(&self.row)
    }
}

#[derive(Debug)]
pub(crate) struct Rows<R: Keyed>(BTreeMap<R::Key, CachedRow<R>>);

impl<R: Keyed> Default for Rows<R> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<R: Keyed> Rows<R> {
    pub(crate) fn get(&self, key: &R::Key) -> Option<&R> {
        self.0.get(key).map(|cached| &cached.row)
    }

    /// Caches a row that was read. If the row is already cached, the cached version is newer and
    /// stays.
    pub(crate) fn read(&mut self, row: R) -> R {
        let cached =
            self.0.entry(row.key()).or_insert_with(|| CachedRow { read: Some(row.clone()), row });
        cached.row.clone()
    }

    /// Changes a cached row, or adds a new row. A row that is already in the table must be cached
    /// before this call.
    pub(crate) fn put(&mut self, row: &R) {
        let row = row.clone();
        match self.0.get_mut(&row.key()) {
            Some(cached) => cached.row = row,
            None => drop(self.0.insert(row.key(), CachedRow { row, read: None })),
        }
    }

    /// Marks a row that has not changed, so that the transaction writes the row anyway.
    pub(crate) fn rewrite(&mut self, key: &R::Key) {
        if let Some(cached) = self.0.get_mut(key) {
            cached.read = None;
        }
    }

    pub(crate) fn dirty(&self) -> impl Iterator<Item = &CachedRow<R>> {
        self.0.values().filter(|cached| cached.is_dirty())
    }

    /// Notes that all changed rows were written to the table.
    pub(crate) fn mark_written(&mut self) {
        for cached in self.0.values_mut().filter(|cached| cached.is_dirty()) {
            cached.read = Some(cached.row.clone());
        }
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &R> {
        self.0.values().map(|cached| &cached.row)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
