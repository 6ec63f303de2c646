//! `serve`: the server, until it is asked to stop.

use doorbuster_server::config as settings;

use crate::cli::ServeArgs;
use crate::config;
use crate::exit::{Failure, Outcome};

/// Runs `serve`.
pub fn run(args: &ServeArgs) -> Outcome {
    settings::load(&args.flags.flags(), std::env::vars_os()).map_err(config::refused)?;
    Err(Failure::Refused("this build has no server yet".into()))
}
