//! Load from outside: many different buyers, each asking once for the same item, over few
//! keep-alive connections.
//!
//! Every buyer is followed to a *final* answer: an order, a refusal, or the verdict of a `202`.
//! Overload (`429`, `503`) and broken connections are sent again with the same key. What has no
//! final answer at the end is counted as lost; an error is never counted as a refusal.
//!
//! Threads: each worker is one thread with its own event loop and its own share of the connections;
//! the thread that called [`run`] only reports progress. Tokens are signed before the clock starts.

mod answer;
mod answers_file;
mod arrival_clock;
mod buyers;
mod connection;
mod http_connection;
pub mod limits;
mod listener;
mod pending;
mod plan;
mod report;
mod request;
mod response;
mod shared;
mod tally;
#[cfg(test)]
mod tests;
mod worker;

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

pub use plan::{LoadPlan, read_secret};
pub use report::{LoadReport, Progress};

use answers_file::AnswersFile;
use buyers::Buyers;
use plan::Target;
use shared::Shared;
use tally::Tally;

/// Why a storm did not take place, or why its result cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The plan contradicts itself or a limit; nothing was sent.
    #[error("{0}")]
    Plan(String),
    /// Nobody listens there; nothing was sent.
    #[error("cannot connect to {url}: {source}")]
    Connect {
        /// Where the storm was aimed.
        url: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The answers could not be written: the storm took place, its record is incomplete.
    #[error("cannot write the answers to {path}: {source}")]
    Answers {
        /// The file asked for.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A thread or an event loop could not be started, or died.
    #[error("the load generator itself failed: {0}")]
    Generator(String),
}

/// Sends the storm and waits for every verdict. Blocks the calling thread, which alone calls
/// `progress` (about ten times a second, and once more at the end), so that a slow display never
/// slows the run.
pub fn run(plan: LoadPlan, progress: impl Fn(&Progress)) -> Result<LoadReport, LoadError> {
    let target = plan.check()?;
    probe(&plan, &target)?;
    let answers = plan.answers.as_deref().map(AnswersFile::create).transpose()?;
    let buyers = Buyers::mint(&plan.secret, plan.seed, plan.buyers);
    let shared = Arc::new(Shared::new(plan, target, buyers, answers));
    let tally = run_workers(&shared, &progress)?;
    if let Some(answers) = &shared.answers {
        answers.finish()?;
    }
    let report = LoadReport::new(&shared.plan, &tally, shared.started_at());
    progress(&Progress::new(&tally.counts, shared.plan.buyers, report.elapsed()));
    Ok(report)
}

/// One connection before anything costly, so that a wrong address is one clear error and not a
/// hundred thousand.
fn probe(plan: &LoadPlan, target: &Target) -> Result<(), LoadError> {
    TcpStream::connect_timeout(&target.addr, limits::CONNECT_TIMEOUT)
        .map(drop)
        .map_err(|source| LoadError::Connect { url: plan.url.clone(), source })
}

/// Runs the workers to their end and adds up what they counted.
fn run_workers(shared: &Arc<Shared>, progress: &impl Fn(&Progress)) -> Result<Tally, LoadError> {
    let (done_tx, done_rx) = mpsc::sync_channel(shared.workers());
    let mut threads = Vec::with_capacity(shared.workers());
    for index in 0..shared.workers() {
        let (shared, done) = (Arc::clone(shared), done_tx.clone());
        let thread = std::thread::Builder::new()
            .name(format!("storm-{index}"))
            .spawn(move || {
                let _others = StopOnPanic(&shared);
                // Nobody hears it only when the storm is over.
                let _ = done.send(worker::run(&shared, index));
            })
            .map_err(|error| LoadError::Generator(error.to_string()))?;
        threads.push(thread);
    }
    drop(done_tx);
    let pacer = arrival_clock::spawn(shared)?;
    let outcome = collect_tallies(shared, &done_rx, progress);
    shared.stop();
    for thread in threads.into_iter().chain(pacer) {
        thread.join().map_err(|_| LoadError::Generator("a thread panicked".into()))?;
    }
    outcome
}

/// A worker that dies takes the storm with it, or the others would wait for its connections.
struct StopOnPanic<'a>(&'a Shared);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

/// Collects the workers' tallies, shows progress, and stops a storm that no longer gets any answer.
fn collect_tallies(
    shared: &Shared,
    done: &mpsc::Receiver<Result<Tally, LoadError>>,
    progress: &impl Fn(&Progress),
) -> Result<Tally, LoadError> {
    let mut sum = Tally::default();
    let mut last_gain = (0, Instant::now());
    let mut last_shown = Instant::now();
    loop {
        match done.recv_timeout(Duration::from_millis(20)) {
            Ok(tally) => sum.add(&tally?),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(sum),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        if last_shown.elapsed() < limits::PROGRESS_EVERY {
            continue;
        }
        last_shown = Instant::now();
        let counts = shared.counts();
        progress(&Progress::new(&counts, shared.plan.buyers, shared.elapsed()));
        if counts.answered() != last_gain.0 || counts.started == counts.answered() {
            last_gain = (counts.answered(), Instant::now());
        }
        let hopeless = last_gain.1.elapsed() > shared.plan.stall_timeout;
        if hopeless || shared.plan.stop.load(Ordering::Relaxed) {
            shared.stop();
        }
    }
}

/// What the answers file holds for one refusal, for the auditor's test that both speak of the same
/// lines.
#[cfg(test)]
pub(crate) fn sold_out_answer_line() -> Vec<u8> {
    let told = answer::FinalAnswer {
        status: 409,
        code: Some("sold_out".into()),
        ..answer::FinalAnswer::default()
    };
    serde_json::to_vec(&answers_file::AnswerRecord::new("b", "k", "spring", "phone", 10, &told))
        .expect("plain values")
}
