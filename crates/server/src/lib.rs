//! The server: its configuration, front door, purchases, settler, control jobs, payments, webhooks
//! and HTTP interface.

pub mod answer_counts;
pub mod auth;
pub mod backup;
pub mod boot;
pub mod buyers_at_limit;
pub mod cache;
pub mod catalogue;
pub mod clock;
pub mod config;
pub mod control;
pub mod database;
pub mod edge;
mod encryption;
pub mod engine;
pub mod failpoint;
pub mod gate;
pub mod holders;
pub mod item_gauge;
pub mod log;
pub mod maintenance;
pub mod meter;
pub mod metrics;
pub mod notify;
pub mod open_grants;
#[cfg(feature = "otel")]
mod otlp;
mod outages;
mod outbox;
mod outgoing;
mod payment;
pub mod purchase;
mod push;
mod refusal_memory;
mod scheduler;
pub mod secrets;
mod settle;
pub mod signing;
pub mod slot_layout;
#[cfg(feature = "otel")]
mod trace;
#[cfg(not(feature = "otel"))]
#[path = "untraced.rs"]
mod trace;
pub mod unit_demand;
pub mod version;
mod waiters;
pub mod web;

#[cfg(test)]
mod temp_dir;
