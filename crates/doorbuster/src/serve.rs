//! `serve`: runs the server until it is asked to stop.

use std::io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};

use anyhow::Context;
use doorbuster_server::boot::{self, ServeError};
use doorbuster_server::secrets::SecretsError;
use doorbuster_server::{config as settings, log};

use crate::cli::ServeArgs;
use crate::config;
use crate::exit::{CommandResult, Failure, Outcome};
use crate::signals::{self, StopSignals};

/// Runs `serve`.
pub fn run(args: &ServeArgs) -> Outcome {
    let settings = settings::load(&args.flags.flags(), std::env::vars_os())
        .map_err(config::settings_failure)?;
    log::init(&settings.log);
    let runtime = boot::runtime(&settings).context("cannot start threads")?;
    runtime.block_on(async {
        // Listen before the store opens, so that an early stop signal is not lost.
        let mut stop = StopSignals::listen()?;
        let stop_requested = async {
            tokio::select! {
                () = stop.wait() => {}
                () = signals::stdin_ended(), if args.until_stdin_ends => {}
            }
        };
        boot::serve(settings, stop_requested).await.map_err(serve_failure)?;
        Ok(CommandResult::Success)
    })
}

fn serve_failure(error: ServeError) -> Failure {
    match error {
        ServeError::Keys(_) | ServeError::DataDir { .. } => Failure::Settings(error.to_string()),
        // The directory does not exist, is read-only, or belongs to another user.
        ServeError::Secrets(SecretsError::InDirectory { error: ref why, .. })
            if matches!(why.kind(), PermissionDenied | ReadOnlyFilesystem | NotFound) =>
        {
            Failure::Settings(error.to_string())
        }
        other => Failure::Refused(other.to_string()),
    }
}
