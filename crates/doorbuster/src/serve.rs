//! `serve`: runs the server until a signal requests it to stop.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use doorbuster_config as settings;
use doorbuster_node::boot::{self, Reloader, ServeError};
use doorbuster_telemetry::log;

use crate::cli::ServeArgs;
use crate::config;
use crate::exit::{CommandResult, Failure, Outcome};
use crate::signals::{self, StopSignals};

/// When the server stops, it waits at most this long for threads that are still busy, for example
/// because a disk does not answer.
const THREADS_WITHIN: Duration = Duration::from_secs(2);

/// Runs `serve`.
pub fn run(args: &ServeArgs) -> Outcome {
    let flags = args.flags.flags();
    let (settings, values) = settings::load_with_values(&flags, std::env::vars_os())
        .map_err(config::settings_failure)?;
    let levels = log::init(&settings.log);
    let runtime = boot::runtime(settings.workers.get()).context("cannot start threads")?;
    let outcome: Outcome = runtime.block_on(async {
        // The handlers of signals are installed before the store opens, so that no early signal is
        // lost.
        let mut stop = StopSignals::listen()?;
        let reloader = Reloader::listen(flags, values, levels).context("cannot catch SIGHUP")?;
        let stop_requested = async {
            tokio::select! {
                () = stop.wait() => {}
                () = signals::stdin_ended(), if args.until_stdin_ends => {}
            }
        };
        let served = boot::serve(settings, Some(reloader), print_address, stop_requested).await;
        served.map_err(serve_failure)?;
        Ok(CommandResult::Success)
    });
    runtime.shutdown_timeout(THREADS_WITHIN);
    outcome
}

fn print_address(address: SocketAddr) {
    // The parent process may have closed the output, so an error is ignored.
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "doorbuster listening on http://{address}").and_then(|()| out.flush());
}

fn serve_failure(error: ServeError) -> Failure {
    match error.is_caused_by_settings() {
        true => Failure::Settings(error.to_string()),
        false => Failure::Refused(error.to_string()),
    }
}
