//! Tests the server as its clients see it: a real server on a free port, with its own directory.
//! The tests send and read bytes.

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
