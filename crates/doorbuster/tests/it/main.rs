//! The program from outside: real processes, real sockets, and a temporary directory for each test.

mod accounting;
mod chaos;
mod commands;
mod demo;
mod draw;
mod export;
mod failover;
mod failpoints;
mod kill;
mod lab;
mod nats_stream;
mod operators;
mod pages;
mod payment;
mod privacy;
mod quick_start;
mod restore;
mod sales;
mod serve;
mod several;
mod slots;
mod test_server;
mod traces;
mod tutorial;
mod waitlist;
mod webhooks;
mod windows;

use doorbuster_testkit::{nats_server, proxy, sealed, watch};
