//! The program from outside: real processes, real sockets, and a temporary directory for each test.

#[path = "it/accounting.rs"]
mod accounting;
#[path = "it/backup.rs"]
mod backup;
#[path = "it/chaos.rs"]
mod chaos;
#[path = "it/commands.rs"]
mod commands;
#[path = "it/demo.rs"]
mod demo;
#[path = "it/draw.rs"]
mod draw;
#[path = "it/export.rs"]
mod export;
#[path = "it/failover.rs"]
mod failover;
#[path = "it/failpoints.rs"]
mod failpoints;
#[allow(dead_code, reason = "the brokers' own tests do more with it")]
#[path = "../../brokers/tests/it/keeper.rs"]
mod keeper;
#[path = "it/kill.rs"]
mod kill;
#[path = "it/lab.rs"]
mod lab;
#[allow(dead_code, reason = "the brokers' own tests do more with it")]
#[path = "../../brokers/tests/it/nats_server.rs"]
mod nats_server;
#[path = "it/nats_stream.rs"]
mod nats_stream;
#[path = "it/operators.rs"]
mod operators;
#[path = "it/pages.rs"]
mod pages;
#[path = "it/payment.rs"]
mod payment;
#[path = "it/privacy.rs"]
mod privacy;
#[allow(dead_code, reason = "the brokers' own tests do more with it")]
#[path = "../../brokers/tests/it/proxy.rs"]
mod proxy;
#[path = "it/quick_start.rs"]
mod quick_start;
#[path = "it/recovery.rs"]
mod recovery;
#[path = "it/restore.rs"]
mod restore;
#[path = "it/sales.rs"]
mod sales;
#[path = "../../server/tests/it/sealed.rs"]
mod sealed;
#[path = "it/serve.rs"]
mod serve;
#[path = "it/several.rs"]
mod several;
#[path = "it/slots.rs"]
mod slots;
#[path = "it/test_server.rs"]
mod test_server;
#[path = "it/traces.rs"]
mod traces;
#[path = "it/tutorial.rs"]
mod tutorial;
#[path = "it/upgrade.rs"]
mod upgrade;
#[path = "it/waitlist.rs"]
mod waitlist;
#[path = "../../store/tests/it/watch.rs"]
mod watch;
#[path = "it/webhooks.rs"]
mod webhooks;
#[path = "it/windows.rs"]
mod windows;
