//! Admission rules as values: who may ask for units, and how often. These rules never change the
//! stock.

pub mod code;
pub mod distinct_buyers;
pub mod draw;
pub mod eligibility;
pub mod gcra;
pub mod pass;
pub mod room;
pub mod shared_limit;
