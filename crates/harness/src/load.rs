//! A crowd: many different buyers, each with one request for the same item, over few keep-alive
//! connections. The command `storm` sends such a crowd.
//!
//! - The run follows every buyer to a final answer: an order, a refusal, or the verdict after a
//!   `202`.
//! - After `429`, `5xx` or a broken connection, the run repeats the request with the same key.
//! - A buyer without a final answer counts as lost. An error never counts as a refusal.
//!
//! Each worker is one thread with its own [event loop](crate::generator::event_loop). All tokens
//! are signed before the first request, so the signing does not slow the requests.

mod answer;
mod answers_file;
mod error;
pub mod limits;
mod listener;
mod pending;
mod plan;
mod report;
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

pub use error::LoadError;
pub use plan::{LoadPlan, read_secret};
pub use report::{LoadReport, Progress};

use answers_file::AnswersFile;
use plan::Target;
use shared::Shared;
use tally::Tally;

use crate::generator::buyers::Buyers;

/// Runs the load and waits for every verdict. The calling thread calls `progress` about ten times a
/// second. A slow display does not slow the load, because other threads send the requests.
pub fn run(plan: LoadPlan, progress: impl Fn(&Progress)) -> Result<LoadReport, LoadError> {
    let target = plan.check()?;
    probe(&plan, &target)?;
    let answers = plan.answers.as_deref().map(AnswersFile::create).transpose()?;
    let buyers = Buyers::new(&plan.secret, &format!("s{:x}", plan.seed), plan.buyers);
    let shared = Arc::new(Shared::new(plan, target, buyers, answers));
    let tally = run_workers(&shared, &progress)?;
    if let Some(answers) = &shared.answers {
        answers.finish()?;
    }
    let report = LoadReport::new(&shared.plan, &tally, shared.started_at());
    progress(&Progress::new(&tally.counts, shared.plan.buyers, report.elapsed()));
    Ok(report)
}

/// Opens one connection before the run, so that a wrong address causes one error and not one error
/// for each buyer.
fn probe(plan: &LoadPlan, target: &Target) -> Result<(), LoadError> {
    TcpStream::connect_timeout(&target.addr, limits::CONNECT_TIMEOUT)
        .map(drop)
        .map_err(|source| LoadError::Connect { url: plan.url.clone(), source })
}

fn run_workers(shared: &Arc<Shared>, progress: &impl Fn(&Progress)) -> Result<Tally, LoadError> {
    let (done_tx, done_rx) = mpsc::sync_channel(shared.workers());
    let mut threads = Vec::with_capacity(shared.workers());
    for index in 0..shared.workers() {
        let (shared, done) = (Arc::clone(shared), done_tx.clone());
        let thread = std::thread::Builder::new()
            .name(format!("storm-{index}"))
            .spawn(move || {
                let _others = StopOnPanic(&shared);
                // The send fails only if the run has already ended with an error. In that case
                // nobody needs the result.
                let _ = done.send(worker::run(&shared, index));
            })
            .map_err(|error| LoadError::Generator(error.to_string()))?;
        threads.push(thread);
    }
    drop(done_tx);
    let outcome = collect_tallies(shared, &done_rx, progress);
    shared.stop();
    for thread in threads {
        thread.join().map_err(|_| LoadError::Generator("a thread panicked".into()))?;
    }
    outcome
}

/// Stops the run if its worker panics. A panic makes the whole run fail, so the other workers need
/// not finish.
struct StopOnPanic<'a>(&'a Shared);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

/// Adds up the tallies of the workers. Stops the run if no final answer arrives for a long time, or
/// if the caller sets the flag `stop`.
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
        if last_shown.elapsed() < limits::PROGRESS_INTERVAL {
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

/// Returns a line of an answers file. A test of the auditor checks that the auditor can read the
/// line.
#[cfg(test)]
pub(crate) fn sold_out_answer_line() -> Vec<u8> {
    let answer = answer::FinalAnswer {
        status: 409,
        code: Some("sold_out".into()),
        ..answer::FinalAnswer::default()
    };
    serde_json::to_vec(&answers_file::AnswerRecord::new("b", "k", "spring", "phone", 10, &answer))
        .expect("plain values")
}
