//! The engine decides which requests get units. It contains the purchases, the settler, the orders,
//! the waitlists and the changes of sales. It also contains the copy of the sales in memory, and
//! the jobs that keep the slots and the store consistent.

pub mod api_conversion;
pub mod blocks;
pub mod buyers_at_limit;
pub mod cache;
pub mod catalogue;
pub mod catalogue_reader;
pub mod control;
pub mod database;
pub mod edge;
pub mod error;
pub mod holders;
pub mod item_gauge;
pub mod meter;
pub mod node;
pub mod notify;
pub mod open_grants;
pub mod order_link;
pub mod orders;
pub mod outage_log;
pub mod page_document;
pub mod purchase;
pub mod refusal_memory;
pub mod sale_limits;
pub mod sale_room;
mod sale_rows;
pub mod sales;
pub mod scheduler;
pub mod settle;
pub mod slot_layout;
pub mod start;
pub mod stock;
#[cfg(test)]
mod tests;
pub mod unit_demand;
pub mod waiters;
pub mod waitlists;
