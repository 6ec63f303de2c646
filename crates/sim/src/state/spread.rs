//! The part of an item's spread that changes while the sale runs: the number of partitions.
use crate::op::Setup;

#[derive(Clone, Copy, Debug)]
pub(crate) struct ItemWidth {
    /// How many of the item's shared slots (the slots that all nodes reach) are in the spread.
    pub(crate) partitions: usize,
    /// See [`crate::op::ItemSetup::choose`].
    pub(crate) choose: u8,
}

pub(crate) fn first_widths(setup: &Setup) -> Vec<ItemWidth> {
    let width = |(i, item): (usize, &crate::op::ItemSetup)| {
        let shared =
            setup.slots.iter().filter(|s| usize::from(s.item) == i && s.node.is_none()).count();
        let partitions = match usize::from(item.width) {
            0 => shared,
            wanted => wanted.min(shared),
        };
        ItemWidth { partitions, choose: item.choose }
    };
    setup.items.iter().enumerate().map(width).collect()
}
