//! Tests of the program from outside: real processes, real sockets, and a temporary directory for
//! each test.

mod accounting;
mod backup;
mod chaos;
mod commands;
mod crash_windows;
mod demo;
mod draw;
mod export;
mod failover;
mod failover_guide;
mod failpoints;
mod guides;
mod kill;
mod lab;
mod lifecycle_log;
mod nats_stream;
mod operators;
mod outage;
mod pages;
mod payment;
mod privacy;
mod quick_start;
mod recovery;
mod reload;
mod restore;
mod sales;
mod serve;
mod several;
mod slots;
mod soak;
mod test_server;
mod traces;
mod tutorial;
mod upgrade;
mod waitlist;
mod webhooks;

use doorbuster_testkit::{nats_server, proxy, sealed, watch};
