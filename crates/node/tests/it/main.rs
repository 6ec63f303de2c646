//! Tests the server as its clients see it. Each test's server has a free port and its own
//! directory.

mod app;
mod authentication;
mod bounded_lookups;
mod brokers;
mod buying;
mod challenges;
mod console;
mod drafts;
mod edge;
mod endpoint_table;
mod event_expiry;
mod events;
mod framing;
mod http;
mod lifecycle;
mod limits;
mod mangled_tokens;
mod money;
mod nodes;
mod operating;
mod optional_bodies;
mod order_links;
mod page_texts;
mod pages;
mod passes;
mod push;
mod random;
mod request_ids;
mod room;
mod service;
mod several_servers;
mod spread;
mod storefront;
mod strict_parsing;
mod waitlist;
mod webhooks;

use doorbuster_testkit::{nats_server, postgres, rabbit, sealed, watch};
