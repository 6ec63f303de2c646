//! The request and response types of the operators' endpoints.

pub mod access_codes;
pub mod audit;
pub mod blocks;
pub mod console;
pub mod dead_letters;
pub mod erasures;
pub mod export;
pub mod front_door;
pub mod keys;
pub mod new_sale;
pub mod order;
pub mod payments;
pub mod sale;
pub mod sale_patch;
pub(crate) mod schema;
pub mod spread;
pub mod stats;
pub mod stock;
pub mod webhooks;

#[cfg(test)]
mod tests;
