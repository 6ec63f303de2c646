//! The sets of readers that get the events about one buyer's orders, or the events about one sale.

use std::sync::{Arc, Weak};

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::event::ReaderKind;
use super::mailbox::Mailbox;

#[derive(Debug, Default)]
pub(super) struct SaleFollowers {
    /// Readers that get all events of the sale.
    pub all: Followers,
    /// Readers that get only events about the sale's waiting rooms.
    pub rooms: Followers,
}

impl SaleFollowers {
    pub(super) fn of(&mut self, reader: ReaderKind) -> &mut Followers {
        match reader {
            ReaderKind::Stream => &mut self.all,
            ReaderKind::Edge | ReaderKind::Push => &mut self.rooms,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.rooms.is_empty()
    }
}

/// A set of readers: those of one buyer's orders, or those of one sale. Many readers may leave at
/// the same time, so the removal of a reader takes constant time.
#[derive(Debug, Default)]
pub(super) struct Followers {
    /// One of the readers. Most buyers have only one reader, and so need no map.
    one: Option<Weak<Mailbox>>,
    /// All other readers, by the memory address of the mailbox. Boxed to save memory, because most
    /// buyers have none.
    others: Option<Box<HashMap<usize, Weak<Mailbox>, FixedState>>>,
}

fn address(mailbox: &Arc<Mailbox>) -> usize {
    Arc::as_ptr(mailbox).addr()
}

impl Followers {
    pub(super) fn len(&self) -> usize {
        usize::from(self.one.is_some()) + self.others.as_ref().map_or(0, |others| others.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn add(&mut self, mailbox: &Arc<Mailbox>) {
        let follower = Arc::downgrade(mailbox);
        if self.one.is_none() {
            self.one = Some(follower);
        } else {
            self.others.get_or_insert_default().insert(address(mailbox), follower);
        }
    }

    pub(super) fn remove(&mut self, mailbox: &Arc<Mailbox>) {
        if self.one.as_ref().is_some_and(|one| one.as_ptr().addr() == address(mailbox)) {
            self.one = None;
        } else if let Some(others) = &mut self.others {
            others.remove(&address(mailbox));
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Arc<Mailbox>> {
        self.one
            .iter()
            .chain(self.others.iter().flat_map(|others| others.values()))
            .filter_map(Weak::upgrade)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removing_a_reader_removes_only_that_reader() {
        let mailboxes: Vec<Arc<Mailbox>> = std::iter::repeat_with(Arc::default).take(5).collect();
        for first in 0..mailboxes.len() {
            let mut followers = Followers::default();
            mailboxes.iter().for_each(|mailbox| followers.add(mailbox));
            for gone in 0..mailboxes.len() {
                assert_eq!((followers.len(), followers.all().count()), (5 - gone, 5 - gone));
                let leaves = &mailboxes[(first + gone) % mailboxes.len()];
                followers.remove(leaves);
                assert!(followers.all().all(|mailbox| !Arc::ptr_eq(&mailbox, leaves)));
            }
            assert!(followers.is_empty());
        }
    }
}
