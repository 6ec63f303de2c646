//! Arguments that name the server and the key, for the client commands.

use clap::Args;
use reqwest::Url;

use crate::exit::Failure;

/// The address of a server, as the user gave it. This program parses the address itself. If clap
/// parsed it, clap's error would show an invalid address, which may contain a password.
#[derive(Clone)]
pub struct AddressArg(String);

impl From<String> for AddressArg {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl AddressArg {
    /// Parses the address.
    ///
    /// # Errors
    ///
    /// Fails if the text is not an address, or if it contains a user name or a password. The error
    /// does not contain the password.
    pub fn parse(&self) -> Result<Url, Failure> {
        let Self(text) = self;
        let parsed = text.parse::<Url>();
        let is_plain = |url: &Url| {
            matches!(url.scheme(), "http" | "https")
                && url.username().is_empty()
                && url.password().is_none()
        };
        if text.contains('@') && !parsed.as_ref().is_ok_and(is_plain) {
            let text = "the server's address must not contain a user name or a password";
            return Err(Failure::Settings(text.into()));
        }
        parsed.map_err(|error| {
            Failure::Settings(format!(
                "{text:?} is not an address like http://127.0.0.1:8080: {error}"
            ))
        })
    }

    /// Returns the text of the address, after the checks of [`Self::parse`].
    ///
    /// # Errors
    ///
    /// Fails for the same causes as [`Self::parse`].
    pub fn text(&self) -> Result<&str, Failure> {
        self.parse().map(|_| self.0.as_str())
    }
}

impl std::fmt::Debug for AddressArg {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("AddressArg").finish_non_exhaustive()
    }
}

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
    pub url: AddressArg,
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
            .field("url", &self.url)
            .field("json", &self.json)
            .finish_non_exhaustive()
    }
}
