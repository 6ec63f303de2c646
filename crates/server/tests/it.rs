//! Tests the server as its clients see it: a real server on a free port, with its own directory.
//! The tests send and read bytes.

#[path = "it/app.rs"]
mod app;
#[path = "it/authentication.rs"]
mod authentication;
#[path = "it/bounded_lookups.rs"]
mod bounded_lookups;
#[path = "it/brokers.rs"]
mod brokers;
#[path = "it/buying.rs"]
mod buying;
#[path = "it/challenges.rs"]
mod challenges;
#[path = "it/console.rs"]
mod console;
#[path = "it/edge.rs"]
mod edge;
#[path = "it/endpoint_table.rs"]
mod endpoint_table;
#[path = "it/event_expiry.rs"]
mod event_expiry;
#[path = "it/events.rs"]
mod events;
#[path = "it/framing.rs"]
mod framing;
#[path = "it/http.rs"]
mod http;
#[allow(dead_code, reason = "the brokers' own tests use more of this module")]
#[path = "../../brokers/tests/it/keeper.rs"]
mod keeper;
#[path = "it/lifecycle.rs"]
mod lifecycle;
#[path = "it/limits.rs"]
mod limits;
#[path = "it/mangled_tokens.rs"]
mod mangled_tokens;
#[path = "it/money.rs"]
mod money;
#[allow(dead_code, reason = "the brokers' own tests use more of this module")]
#[path = "../../brokers/tests/it/nats_server.rs"]
mod nats_server;
#[path = "it/nodes.rs"]
mod nodes;
#[path = "it/operating.rs"]
mod operating;
#[path = "it/pages.rs"]
mod pages;
#[path = "it/passes.rs"]
mod passes;
#[allow(dead_code, reason = "the stores' own tests use more of this module")]
#[path = "../../store/tests/it/cluster.rs"]
mod postgres;
#[allow(dead_code, reason = "the brokers' own tests use more of this module")]
#[path = "../../brokers/tests/it/rabbit.rs"]
mod rabbit;
#[path = "it/random.rs"]
mod random;
#[path = "it/room.rs"]
mod room;
#[path = "it/sealed.rs"]
mod sealed;
#[path = "it/service.rs"]
mod service;
#[path = "it/several_servers.rs"]
mod several_servers;
#[path = "it/spread.rs"]
mod spread;
#[path = "it/storefront.rs"]
mod storefront;
#[path = "it/strict_parsing.rs"]
mod strict_parsing;
#[path = "it/waitlist.rs"]
mod waitlist;
#[path = "../../store/tests/it/watch.rs"]
mod watch;
#[path = "it/webhooks.rs"]
mod webhooks;
