//! The front door of this node: what stands between a crowd and the stock. Its rooms say who may ask for units; none of them decides stock.

/// The rooms of the front door.
#[derive(Debug, Default)]
pub struct Gate {}
