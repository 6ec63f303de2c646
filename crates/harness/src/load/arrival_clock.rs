//! The arrival clock of a storm with a rate: a thread that sleeps until the next buyer is meant to
//! come and rings the workers. An event loop's own timer counts in whole milliseconds, which would
//! be most of a good answer's latency.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use super::shared::Shared;
use super::{LoadError, limits};

/// Starts the clock when the plan has a rate.
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
        // Before the start nobody can arrive yet.
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
