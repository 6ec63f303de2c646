//! `config`: prints the effective settings, checks them, and prints the commented default file.

use doorbuster_config::{self as config, DEFAULT_FILE, Settings, SettingsError};
use serde_json::json;

use crate::cli::{ConfigArgs, ConfigCommand, SettingsArgs};
use crate::exit::{Failure, Outcome};
use crate::print;

/// Runs `config`.
pub fn run(args: &ConfigArgs) -> Outcome {
    match &args.command {
        ConfigCommand::Default => print::text(DEFAULT_FILE),
        ConfigCommand::Show { json: true, flags } => {
            let settings = config::load(&flags.flags(), std::env::vars_os());
            print::json(&json!({ "settings": settings.map_err(settings_failure)?.shown }))
        }
        ConfigCommand::Show { json: false, flags } => {
            let (lines, verdict) = config::show(&flags.flags(), std::env::vars_os());
            print::text(&lines)?;
            verdict.map_err(settings_failure)?;
            print::text("")
        }
        ConfigCommand::Check { json, flags } => {
            config::load(&flags.flags(), std::env::vars_os()).map_err(settings_failure)?;
            if *json {
                return print::json(&json!({ "valid": true }));
            }
            print::line("The settings are valid.")
        }
    }
}

/// Loads the settings for a command that needs only a few of them.
pub fn settings(args: &SettingsArgs) -> Result<Settings, Failure> {
    config::load(&args.flags(), std::env::vars_os()).map_err(settings_failure)
}

/// Returns the failure for invalid settings. Its text has one line for each fault.
pub fn settings_failure(error: SettingsError) -> Failure {
    Failure::Settings(format!("the settings are invalid\n{error}"))
}
