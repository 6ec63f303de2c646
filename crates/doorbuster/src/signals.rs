//! Being asked to stop: SIGINT (Ctrl-C), SIGTERM, or the end of standard input.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The two signals that ask a program to stop, caught from now on.
#[derive(Debug)]
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// Catches them. Needs an event loop.
    pub fn listen() -> anyhow::Result<Self> {
        let catch = |kind| signal(kind).context("cannot catch signals");
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Sets `stop` when asked to stop, for work that has no event loop. Asked a second time, the
/// process ends at once.
pub fn set_on_signal(stop: Arc<AtomicBool>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start an event loop")?;
    let mut asked = runtime.block_on(async { StopSignals::listen() })?;
    let wait = move || {
        runtime.block_on(asked.wait());
        stop.store(true, Ordering::Relaxed);
        runtime.block_on(asked.wait());
        std::process::exit(1);
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(wait)
        .context("cannot start a thread")?;
    Ok(())
}

/// Waits until standard input ends, whatever is read before.
pub async fn stdin_ended() {
    let (tell, told) = tokio::sync::oneshot::channel();
    // A thread of its own, for a read that may never return must not keep an event loop from
    // ending.
    let watch = move || {
        let mut input = std::io::stdin().lock();
        let mut bytes = [0; 64];
        while input.read(&mut bytes).is_ok_and(|read| read > 0) {}
        drop(tell);
    };
    if std::thread::Builder::new().name("stdin".into()).spawn(watch).is_ok() {
        let _ended: Result<(), _> = told.await;
    } else {
        std::future::pending::<()>().await;
    }
}
