//! What operators send and see.

pub mod audit;
pub mod keys;
pub mod new_sale;
pub mod order;
pub mod sale;
pub mod sale_patch;
mod schema;
pub mod stats;
pub mod stock;
