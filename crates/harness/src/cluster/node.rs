//! One node of the installation: a process of the server program. A restarted node has the same
//! address as before.

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
    /// The program that the next call of [`Node::upgrade`] starts. `None` if the node has only one
    /// build.
    next: Option<PathBuf>,
}

impl Node {
    /// Creates a node, but does not start it. `start` has the program, its environment and the
    /// node's name. `clock` is the library that lets the harness change the node's wall clock.
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

    /// Gives the node a second build of the program. Each upgrade switches to the build that does
    /// not run.
    pub(super) fn with_next(self, next: Option<PathBuf>) -> Self {
        Self { next, ..self }
    }

    /// Starts the node.
    pub fn start(&mut self) -> Result<(), ClusterError> {
        self.process = Some(Process::start(&self.cluster_dir, &self.start)?);
        Ok(())
    }

    /// Waits until the node reports that it is ready.
    pub fn wait_until_ready(&mut self) -> Result<(), ClusterError> {
        let addr = self.addr;
        let Some(process) = &mut self.process else {
            return Err(ClusterError::failed(
                format!("waiting for {}", self.start.name),
                "the node was not started",
            ));
        };
        process.wait_until_ready(READY_WITHIN, || {
            http::send_request(addr, "GET", "/readyz", "", "")
                .is_ok_and(|reply| reply.status == 200)
        })
    }

    /// Returns the address that the node listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the name of the node.
    pub fn name(&self) -> &str {
        &self.start.name
    }

    /// Returns the process id, or `None` if the node is stopped.
    pub fn pid(&self) -> Option<i32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Returns whether the process runs.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Sends a signal to the process.
    pub fn signal(&mut self, signal: Signal) -> Result<(), ClusterError> {
        self.process.as_mut().map_or(Ok(()), |process| process.signal(signal))
    }

    /// Kills the process without a clean stop.
    pub fn kill(&mut self) -> Result<(), ClusterError> {
        self.process.take().map_or(Ok(()), |mut process| process.stop(Signal::KILL))
    }

    /// Stops the process cleanly and waits for its end.
    pub fn stop(&mut self) -> Result<(), ClusterError> {
        self.process.take().map_or(Ok(()), |mut process| process.stop(Signal::TERM))
    }

    /// Stops the node and starts it again. If the node has two builds, each restart changes the
    /// build. Fails if the node does not end cleanly and in time.
    pub fn upgrade(&mut self) -> Result<(), ClusterError> {
        self.process.take().map_or(Ok(()), |mut process| process.stop_cleanly())?;
        if let Some(next) = &mut self.next {
            std::mem::swap(next, &mut self.start.program);
        }
        self.start()?;
        self.wait_until_ready()
    }

    /// Sets the node's wall clock `ms` milliseconds ahead of the true time, or behind it if `ms` is
    /// negative. Does nothing if the node has no adjustable clock.
    pub fn set_clock_ahead_ms(&self, ms: i64) -> Result<(), ClusterError> {
        self.clock.as_ref().map_or(Ok(()), |clock| clock.set_ahead_ms(ms))
    }

    /// Returns the whole log.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// Returns the end of the log.
    pub fn log_tail(&self) -> String {
        self.process.as_ref().map(Process::log_tail).unwrap_or_default()
    }
}
