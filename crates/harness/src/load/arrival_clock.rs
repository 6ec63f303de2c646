//! The arrival clock of a run with a rate. A thread sleeps until the next buyer arrives and then
//! notifies the workers. The timer of an event loop has a resolution of one millisecond, which is
//! too coarse for the latency of a fast answer.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use super::shared::Shared;
use super::{LoadError, limits};

/// Starts the clock if the plan has a rate.
pub(super) fn spawn(shared: &Arc<Shared>) -> Result<Option<JoinHandle<()>>, LoadError> {
    if shared.plan.rate.is_none() {
        return Ok(None);
    }
    let shared = Arc::clone(shared);
    std::thread::Builder::new()
        .name("storm-pace".into())
        .spawn(move || run(&shared))
        .map(Some)
        .map_err(|error| LoadError::Generator(error.to_string()))
}

fn run(shared: &Shared) {
    while !shared.stopped() {
        // Before the start no arrival time is known.
        let pause = match shared.next_arrival() {
            Some(at) => at
                .saturating_duration_since(Instant::now())
                .clamp(limits::PACE_MIN, limits::PACE_MAX),
            None => limits::PACE_MAX / 10,
        };
        std::thread::sleep(pause);
        for pace in &shared.arrival_notifiers {
            pace.notify_one();
        }
    }
}
