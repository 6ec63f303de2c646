//! The load generator: threads that each drive many connections with one epoll.
//!
//! [`event_loop`] is the part that all callers share. [`Load`] measures a [`RequestScript`] of
//! prebuilt requests, for the benchmarks and the lab's headline. `load` follows each buyer of a
//! crowd to the final answer, for `storm`, the demo and chaos. The lab's driver implements `Source`
//! itself.
//!
//! The generator's own processor time is part of a measurement, so that the result shows which side
//! was the bottleneck.

pub mod buyers;
pub mod cores;
pub(crate) mod drive;
pub mod event_loop;
pub mod http;
mod tally;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

pub use drive::DRAIN_WITHIN;
pub use tally::{AnswerKind, RunResult};

/// When the generator sends requests.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// A connection sends its next request as soon as it has the previous answer.
    Closed,
    /// The generator sends requests at random instants, with this average per second, and does not
    /// wait for earlier answers. A request without a free connection waits, and its latency counts
    /// from the time at which it was due.
    Open(f64),
    /// The same as `Open`, but a request without a free connection is given up.
    Crowd(f64),
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The server's address.
    pub addr: SocketAddr,
    /// The number of connections.
    pub connections: usize,
    /// The pace of the requests.
    pub pace: Pace,
    /// The warm-up time. At its end, the load has its full rate, and the first answers have
    /// arrived.
    pub warm_up: Duration,
    /// The measured time. The measurement ends earlier if the script ends.
    pub time: Duration,
    /// The core of the generator. `None` means any core.
    pub core: Option<usize>,
}

/// The requests to send, and the parser of their answers.
pub trait RequestScript: Send {
    /// Writes the next request into `out`, which is empty. Returns false if there is no further
    /// request.
    fn next(&mut self, out: &mut Vec<u8>) -> bool;

    /// Reads one whole answer from `inbox`. Returns `None` if more bytes are needed.
    ///
    /// # Errors
    ///
    /// Fails if the bytes are not an answer of the protocol.
    fn read(&mut self, inbox: &[u8]) -> Result<Option<AnswerKind>>;
}

impl Load {
    /// Connects, sends until the time is over or the script has ended, and waits for the
    /// outstanding answers.
    ///
    /// # Errors
    ///
    /// Fails if no connection can be made, or an answer does not follow the protocol.
    pub fn run(&self, script: &mut impl RequestScript) -> Result<RunResult> {
        self.run_at(&[self.addr], script)
    }

    /// Does the same as [`Load::run`] with several addresses. The connections go to the addresses
    /// in turn.
    ///
    /// # Errors
    ///
    /// Fails if no connection can be made, or an answer does not follow the protocol.
    pub fn run_at(
        &self,
        addrs: &[SocketAddr],
        script: &mut impl RequestScript,
    ) -> Result<RunResult> {
        std::thread::scope(|scope| {
            let generator = scope.spawn(|| {
                if let Some(core) = self.core {
                    cores::pin(core)?;
                }
                drive::run(self, addrs, script)
            });
            generator.join().expect("the generator does not panic")
        })
        .with_context(|| {
            format!("failed to send load to {addrs:?} over {} connections", self.connections)
        })
    }
}

/// A script that ends when a flag is set.
#[derive(Debug)]
pub struct StoppableRequestScript<'a, S> {
    /// The script.
    pub script: &'a mut S,
    /// The flag.
    pub over: &'a AtomicBool,
}

impl<S: RequestScript> RequestScript for StoppableRequestScript<'_, S> {
    fn next(&mut self, out: &mut Vec<u8>) -> bool {
        !self.over.load(Ordering::Acquire) && self.script.next(out)
    }

    fn read(&mut self, inbox: &[u8]) -> Result<Option<AnswerKind>> {
        self.script.read(inbox)
    }
}
