//! The HTTP endpoints of the front door: challenges, passes and the waiting room.

pub(crate) mod challenges;
pub(crate) mod passes;
pub(crate) mod waiting_room;
