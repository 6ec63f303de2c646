//! Admission rules: who may ask for units, and how often. The rules work on plain values, without
//! input or output, and never change the stock.

pub mod code;
pub mod distinct_buyers;
pub mod draw;
pub mod eligibility;
pub mod gcra;
pub mod pass;
pub mod room;
pub mod shared_limit;
