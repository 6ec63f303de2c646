//! Arguments of `serve`.

use clap::Args;

use super::settings::SettingsFlags;

/// Run the server: the buyers' pages, the API, and the engine that sells the units.
///
/// When the server is ready, it prints one line to standard output: `doorbuster listening on
/// http://HOST:PORT`. Logs go to standard error. After SIGTERM or Ctrl-C, the server first waits
/// for `limits.stop_notice_secs` (0 by default). Then the server ends within ten seconds. For at
/// most four of these seconds, it settles the accepted tickets.
///
/// The sources of settings are the built-in defaults, the file of --config, the environment
/// (DOORBUSTER_…) and these flags. A later source in this list overrides an earlier source.
/// `doorbuster config default` explains every setting.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  doorbuster serve --demo
  doorbuster serve --listen 0.0.0.0:8080 --data-dir /var/lib/doorbuster")]
pub struct ServeArgs {
    #[command(flatten)]
    pub flags: SettingsFlags,
    /// Stop when standard input ends. So if the program that started the server ends, the server
    /// stops too.
    #[arg(long, hide = true)]
    pub until_stdin_ends: bool,
}
