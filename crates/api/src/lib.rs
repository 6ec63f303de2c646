//! The contract on the wire: what bytes a shop, a browser, an operator and a test may rely on.
//!
//! Values are parsed here once, at the edge; bodies are read strictly; refusals are
//! [`problem::Problem`]s; every endpoint stands in one table, from which the OpenAPI document is
//! made. Nothing here does IO, and nothing here knows how stock is decided.

pub mod admin;
pub mod body;
pub mod endpoints;
pub mod event;
pub mod gate;
pub mod header;
pub mod health;
pub mod limits;
pub mod notification;
pub mod openapi;
pub mod order;
pub mod payment;
pub mod problem;
pub mod query;
pub mod report;
pub mod sale;
pub mod value;
