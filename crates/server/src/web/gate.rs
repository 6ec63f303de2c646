//! The front door over HTTP: what a buyer asks for before a purchase.

pub(crate) mod challenges;
pub(crate) mod passes;
pub(crate) mod waiting_room;
