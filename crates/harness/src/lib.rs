//! The judge of the rest: load from outside (`storm`), the independent auditor (`audit`), a whole
//! installation on this machine (`cluster`), and what breaks it (`chaos`).
//!
//! It speaks HTTP and SQL and shares no code with what it judges: whatever it knows about orders,
//! limits and stock it knows from the documents; only the shapes of its reports are those of
//! `doorbuster-api`.

pub mod audit;
pub mod chaos;
pub mod cluster;
pub mod draw;
pub mod generator;
pub mod load;
