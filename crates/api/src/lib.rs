//! The HTTP contract: every JSON body, header and parameter that shops, browsers, operators and
//! tests rely on.
//!
//! * Each value is parsed strictly and once, when the request arrives. Refusals are
//!   [`problem::Problem`]s.
//! * One table lists every endpoint, and the OpenAPI document is made from this table.
//! * This crate does no IO and does not decide about stock.

pub mod admin;
pub mod body;
pub mod buyer_session;
pub mod endpoints;
pub mod event;
mod event_id;
pub mod gate;
pub mod header;
pub mod health;
pub mod limits;
pub mod log_event;
pub mod notification;
pub mod openapi;
pub mod order;
pub mod payment;
pub mod problem;
pub mod push;
pub mod query;
pub mod report;
pub mod sale;
pub mod value;
