//! Arguments that name the sources of settings, and the arguments of `config`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use doorbuster_config::Flags;

/// The sources of settings, for commands that need few settings.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Settings")]
pub struct SettingsArgs {
    /// Read settings from this TOML file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Use this data directory [default: `doorbuster` in the XDG data directory].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl SettingsArgs {
    /// Returns these flags in the form that the loader of the settings needs.
    pub fn flags(&self) -> Flags {
        Flags { config: self.config.clone(), data_dir: self.data_dir.clone(), ..Flags::default() }
    }
}

/// Every flag that sets a setting.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Settings")]
pub struct SettingsFlags {
    #[command(flatten)]
    pub sources: SettingsArgs,
    /// Serve on this address; port 0 picks a free port [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Roles of this node, separated by commas [default: api,settle,control].
    #[arg(long, value_name = "ROLES")]
    pub roles: Option<String>,
    /// Format of the logs: text, json or auto. The format auto is text on a terminal, and json
    /// elsewhere [default: auto].
    #[arg(long, value_name = "FORM")]
    pub log_format: Option<String>,
    /// Open a sample sale, and let visitors buy as guests.
    #[arg(long)]
    pub demo: bool,
}

impl SettingsFlags {
    /// Returns these flags in the form that the loader of the settings needs.
    pub fn flags(&self) -> Flags {
        Flags {
            listen: self.listen.clone(),
            roles: self.roles.clone(),
            log_format: self.log_format.clone(),
            demo: self.demo,
            ..self.sources.flags()
        }
    }
}

/// Show, check or explain the settings.
///
/// The sources of settings are the built-in defaults, a TOML file, the environment and the flags. A
/// later source in this list overrides an earlier source. In the environment, a setting's name is
/// DOORBUSTER_, and then the setting's path in capitals, with two underscores between the levels.
/// For example, DOORBUSTER_AUTH__ADMIN_KEY sets `auth.admin_key`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  doorbuster config show")]
pub struct ConfigArgs {
    /// The operation.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// An operation on the settings.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every setting with the value that `serve` would use, and with its source; secrets are
    /// hidden.
    #[command(after_help = "Example:\n  doorbuster config show --config /etc/doorbuster.toml")]
    Show {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        flags: SettingsFlags,
    },
    /// Check the settings without starting anything. If a setting is wrong, the command prints the
    /// reasons and exits with 2.
    #[command(after_help = "Example:\n  doorbuster config check --config /etc/doorbuster.toml")]
    Check {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        flags: SettingsFlags,
    },
    /// Print the default settings file, with every setting explained.
    #[command(after_help = "Example:\n  doorbuster config default > doorbuster.toml")]
    Default,
}
