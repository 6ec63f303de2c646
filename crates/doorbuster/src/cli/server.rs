//! Arguments that name the server and the key, for the client commands.

use clap::Args;

/// The server and the operators' key.
#[derive(Clone, Args)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// Address of the running server.
    #[arg(
        long,
        global = true,
        env = "DOORBUSTER_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    pub url: reqwest::Url,
    /// The operators' key.
    #[arg(
        long,
        global = true,
        env = "DOORBUSTER_ADMIN_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    pub key: Option<String>,
    /// Print the server's own JSON answer instead of a table.
    #[arg(long, global = true)]
    pub json: bool,
}

impl std::fmt::Debug for ServerArgs {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ServerArgs")
            .field("url", &self.url.as_str())
            .field("json", &self.json)
            .finish_non_exhaustive()
    }
}
