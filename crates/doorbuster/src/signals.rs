//! Requests to stop: SIGINT (Ctrl-C), SIGTERM, or the end of standard input.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The handlers for SIGINT and SIGTERM.
#[derive(Debug)]
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// Installs the handlers. Must run on a Tokio runtime.
    pub fn listen() -> anyhow::Result<Self> {
        let catch = |kind| signal(kind).context("cannot catch signals");
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
        })
    }

    /// Waits for the next signal.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Starts a thread that sets `stop` at the first signal, and ends the process at the second signal.
/// The caller needs no Tokio runtime.
pub fn set_on_signal(stop: Arc<AtomicBool>) -> anyhow::Result<()> {
    watch(move |runtime, mut signals| {
        runtime.block_on(signals.wait());
        stop.store(true, Ordering::Relaxed);
        runtime.block_on(signals.wait());
        std::process::exit(1);
    })
}

/// Starts a thread that waits for a signal, and then calls `clean_up` and ends the process. The
/// caller needs no Tokio runtime.
pub fn clean_up_on_signal(clean_up: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    watch(move |runtime, mut signals| {
        runtime.block_on(signals.wait());
        clean_up();
        // If standard error cannot be written, only the exit code reports the interruption.
        let _ = writeln!(std::io::stderr(), "doorbuster: interrupted");
        std::process::exit(1);
    })
}

fn watch(wait: impl FnOnce(Runtime, StopSignals) + Send + 'static) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start an event loop")?;
    let signals = runtime.block_on(async { StopSignals::listen() })?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || wait(runtime, signals))
        .context("cannot start a thread")?;
    Ok(())
}

/// Waits until standard input ends. Everything before the end is read and ignored.
pub async fn stdin_ended() {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // A separate thread reads, so the runtime can end even if the read never returns.
    let watch = move || {
        let mut input = std::io::stdin().lock();
        let mut bytes = [0; 64];
        while input.read(&mut bytes).is_ok_and(|read| read > 0) {}
        drop(sender);
    };
    if std::thread::Builder::new().name("stdin".into()).spawn(watch).is_ok() {
        let _ended: Result<(), _> = receiver.await;
    } else {
        std::future::pending::<()>().await;
    }
}
