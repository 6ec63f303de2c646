//! `config`: prints the effective settings, checks them, and prints the commented default file.

use doorbuster_server::config::{self, DEFAULT_FILE, Settings, SettingsError};

use crate::cli::{ConfigArgs, ConfigCommand, SettingsArgs};
use crate::exit::{Failure, Outcome};
use crate::print;

/// Runs `config`.
pub fn run(args: &ConfigArgs) -> Outcome {
    match &args.command {
        ConfigCommand::Default => print::text(DEFAULT_FILE),
        ConfigCommand::Show(flags) => {
            let (lines, verdict) = config::show(&flags.flags(), std::env::vars_os());
            print::text(&lines)?;
            verdict.map_err(settings_failure)?;
            print::text("")
        }
        ConfigCommand::Check(flags) => {
            config::load(&flags.flags(), std::env::vars_os()).map_err(settings_failure)?;
            print::line("The settings are valid.")
        }
    }
}

/// The settings, for a command that needs few of them.
pub fn settings(args: &SettingsArgs) -> Result<Settings, Failure> {
    config::load(&args.flags(), std::env::vars_os()).map_err(settings_failure)
}

/// The failure for invalid settings, with one line for each fault.
pub fn settings_failure(error: SettingsError) -> Failure {
    Failure::Settings(format!("the settings are invalid\n{error}"))
}
