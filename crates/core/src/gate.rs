//! Admission rules as values: who may ask for units, and how often. None of them decides stock.

pub mod code;
pub mod distinct_buyers;
pub mod draw;
pub mod eligibility;
pub mod gcra;
pub mod pass;
pub mod room;
