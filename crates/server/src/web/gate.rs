//! The front door over HTTP: the requests that a buyer sends before a purchase.

pub(crate) mod challenges;
pub(crate) mod passes;
pub(crate) mod waiting_room;
