//! The generator: one thread, one epoll, prebuilt requests, one request at a time on each
//! connection. Both sides of a comparison are asked by it.
//!
//! A connection costs one write and one read per exchange; answers are read in one shared buffer
//! and checked by the [`Script`]. What the generator itself costs is part of the result, so that a
//! reader sees which side was the bottleneck.

pub mod buyers;
pub mod cores;
mod drive;
pub mod http;
mod tally;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

pub use drive::DRAIN_WITHIN;
pub use tally::{AnswerKind, RunResult};

/// When requests are sent.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// A connection asks again as soon as it has its answer.
    Closed,
    /// At random instants, this many a second on average, whatever the answers do; a request
    /// without a free connection waits, and its latency counts from when it was due.
    Open(f64),
    /// The same, but a request without a free connection is given up.
    Crowd(f64),
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Whom to ask.
    pub addr: SocketAddr,
    /// Over how many connections.
    pub connections: usize,
    /// When.
    pub pace: Pace,
    /// For how long before it counts: until a crowd has come and the first answers are out.
    pub warm_up: Duration,
    /// For how long it counts, unless the script ends earlier.
    pub time: Duration,
    /// On which core the generator runs; `None`: on any.
    pub core: Option<usize>,
}

/// What is sent, and how an answer is read.
pub trait Script: Send {
    /// Writes the next request into `out`, which is empty. False: there is none left.
    fn next(&mut self, out: &mut Vec<u8>) -> bool;

    /// Reads one whole answer from `inbox`; `None`: more bytes are needed.
    ///
    /// # Errors
    /// When it is no answer of the protocol.
    fn read(&mut self, inbox: &[u8]) -> Result<Option<AnswerKind>>;
}

impl Load {
    /// Connects, sends until the time is over or the script has ended, and waits for what is under
    /// way.
    ///
    /// # Errors When no connection can be made, or an answer is none of the protocol.
    pub fn run(&self, script: &mut impl Script) -> Result<RunResult> {
        self.run_at(&[self.addr], script)
    }

    /// The same at several addresses: each connection to the next of them.
    ///
    /// # Errors
    /// When no connection can be made, or an answer is none of the protocol.
    pub fn run_at(&self, addrs: &[SocketAddr], script: &mut impl Script) -> Result<RunResult> {
        std::thread::scope(|scope| {
            let generator = scope.spawn(|| {
                if let Some(core) = self.core {
                    cores::pin(core)?;
                }
                drive::run(self, addrs, script)
            });
            generator.join().expect("the generator does not panic")
        })
        .with_context(|| format!("asking {addrs:?} over {} connections", self.connections))
    }
}

/// A script that ends when somebody says so.
#[derive(Debug)]
pub struct StoppableScript<'a, S> {
    /// What is asked until then.
    pub script: &'a mut S,
    /// Whether it is over.
    pub over: &'a AtomicBool,
}

impl<S: Script> Script for StoppableScript<'_, S> {
    fn next(&mut self, out: &mut Vec<u8>) -> bool {
        !self.over.load(Ordering::Acquire) && self.script.next(out)
    }

    fn read(&mut self, inbox: &[u8]) -> Result<Option<AnswerKind>> {
        self.script.read(inbox)
    }
}
