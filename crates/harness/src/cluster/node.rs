//! One node of the installation: the program itself, on an address that stays when it is started
//! again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::clock::Clock;
use super::cluster_dir::ClusterDir;
use super::error::ClusterError;
use super::limits::READY_WITHIN;
use super::process::{Process, ProcessSpec};
use super::{http, ports};

/// A node, running or not.
#[derive(Debug)]
pub struct Node {
    cluster_dir: ClusterDir,
    addr: SocketAddr,
    start: ProcessSpec,
    process: Option<Process>,
    clock: Option<Clock>,
    /// Another build of the program, for [`Node::upgrade`].
    next: Option<PathBuf>,
}

impl Node {
    /// A node that is not started yet. `start` has the program, its environment and its name; the
    /// rest is filled in here. `clock`: what lets its wall clock be set.
    pub(super) fn create(
        cluster_dir: &ClusterDir,
        mut start: ProcessSpec,
        clock: Option<&Path>,
    ) -> Result<Self, ClusterError> {
        let dir = cluster_dir.private_dir(&start.name)?;
        let addr = SocketAddr::from(([127, 0, 0, 1], ports::free()?));
        let listen = addr.to_string();
        let clock = match clock {
            Some(library) => {
                let (clock, environment) = Clock::create(library, &dir.join("clock"))?;
                start.environment.extend(environment);
                Some(clock)
            }
            None => None,
        };
        let dir = dir.display().to_string();
        let arguments = ["serve", "--log-format", "text", "--listen", &listen, "--data-dir", &dir];
        start.arguments = arguments.map(str::to_owned).into();
        Ok(Self { cluster_dir: cluster_dir.clone(), addr, start, process: None, clock, next: None })
    }

    /// The other build that it is to change to and fro with.
    pub(super) fn with_next(self, next: Option<PathBuf>) -> Self {
        Self { next, ..self }
    }

    /// Starts it.
    pub fn start(&mut self) -> Result<(), ClusterError> {
        self.process = Some(Process::start(&self.cluster_dir, &self.start)?);
        Ok(())
    }

    /// Waits until it says that it is ready.
    pub fn wait_until_ready(&mut self) -> Result<(), ClusterError> {
        let addr = self.addr;
        let Some(process) = &mut self.process else {
            return Err(ClusterError::failed(
                format!("waiting for {}", self.start.name),
                "it was not started",
            ));
        };
        process.wait_until_ready(READY_WITHIN, || {
            http::send_request(addr, "GET", "/readyz", "", "")
                .is_ok_and(|reply| reply.status == 200)
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.start.name
    }

    /// The id of its process, while there is one.
    pub fn pid(&self) -> Option<i32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Sends its process a signal.
    pub fn signal(&mut self, signal: Signal) -> Result<(), ClusterError> {
        self.process.as_mut().map_or(Ok(()), |process| process.signal(signal))
    }

    /// Kills it where it stands.
    pub fn kill(&mut self) -> Result<(), ClusterError> {
        self.process.take().map_or(Ok(()), |mut process| process.stop(Signal::KILL))
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(&mut self) -> Result<(), ClusterError> {
        self.process.take().map_or(Ok(()), |mut process| process.stop(Signal::TERM))
    }

    /// Asks it to stop, which it must do well and in time, and starts it again: another build of
    /// the program, if there is one.
    pub fn upgrade(&mut self) -> Result<(), ClusterError> {
        self.process.take().map_or(Ok(()), |mut process| process.stop_cleanly())?;
        if let Some(next) = &mut self.next {
            std::mem::swap(next, &mut self.start.program);
        }
        self.start()?;
        self.wait_until_ready()
    }

    /// From now on its wall clock is this far ahead of the true time, if it can be set.
    pub fn set_clock_ahead_ms(&self, ms: i64) -> Result<(), ClusterError> {
        self.clock.as_ref().map_or(Ok(()), |clock| clock.set_ahead_ms(ms))
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        self.process.as_ref().map(Process::log_tail).unwrap_or_default()
    }
}
