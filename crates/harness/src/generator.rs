//! The load generator. Each of its threads drives many connections with one epoll instance.
//!
//! - The [`event_loop`] sends the load of all load tests and benchmarks of this repository.
//! - [`Load`] sends the prepared requests of a [`RequestScript`] and measures the answers.
//! - The module `load` follows each buyer of a crowd to the buyer's final answer.
//! - The lab has its own [`event_loop::Source`] for the event loop.
//!
//! A measurement also has the processor time of the generator. This time shows whether the
//! generator, and not the server, limited the load.

pub mod buyers;
pub mod cores;
pub(crate) mod drive;
pub mod event_loop;
pub mod http;
pub mod promises;
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
    /// Each connection sends its next request as soon as it has received the previous answer.
    Closed,
    /// The generator sends requests at random instants, on average this many per second. It does
    /// not wait for earlier answers. If all connections wait for answers, a due request waits. The
    /// latency of this request counts from the time at which it was due.
    Open(f64),
    /// The same as `Open`, with one difference: if all connections wait for answers, the generator
    /// drops the request and does not send it later.
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
    /// The time before the measurement. In this time, the load must reach its full rate and the
    /// first answers must arrive.
    pub warm_up: Duration,
    /// The measured time. If the script ends earlier, the measurement ends too.
    pub time: Duration,
    /// The processor core for the generator's thread. `None` means any core.
    pub core: Option<usize>,
}

/// The requests to send, and the parser of their answers.
pub trait RequestScript: Send {
    /// Writes the next request into `out`, which is empty. Returns false if there is no further
    /// request.
    fn next(&mut self, out: &mut Vec<u8>) -> bool;

    /// Reads one answer from `inbox`. Returns `None` if the answer is not complete yet.
    ///
    /// # Errors
    ///
    /// Fails if the bytes are not a valid answer of the script's protocol.
    fn read(&mut self, inbox: &[u8]) -> Result<Option<AnswerKind>>;
}

impl Load {
    /// Connects, and sends requests until the measured time is over or the script has no further
    /// request. Then waits for the outstanding answers.
    ///
    /// # Errors
    ///
    /// Fails if a connection cannot be made, or if an answer does not follow the protocol.
    pub fn run(&self, script: &mut impl RequestScript) -> Result<RunResult> {
        self.run_at(&[self.addr], script)
    }

    /// Does the same as [`Load::run`], but with several addresses. The connections are distributed
    /// over the addresses in turn.
    ///
    /// # Errors
    ///
    /// Fails if a connection cannot be made, or if an answer does not follow the protocol.
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

/// A script that sends the requests of another script, and ends when a flag is set.
#[derive(Debug)]
pub struct StoppableRequestScript<'a, S> {
    /// The script whose requests are sent.
    pub script: &'a mut S,
    /// The flag. When another thread sets it, the script sends no further request.
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
