//! Loads the settings again after SIGHUP, and applies the settings that can change at runtime.

use std::io;
use std::sync::Arc;

use doorbuster_base::outgoing;
use doorbuster_config::{self as config, Flags, SettingValues, Settings};
use doorbuster_telemetry::log::LogLevels;
use doorbuster_web::App;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Loads the settings again on request.
#[derive(Debug)]
pub struct Reloader {
    hangups: Signal,
    flags: Flags,
    /// The values that the server uses.
    values: SettingValues,
    levels: LogLevels,
}

impl Reloader {
    /// Catches SIGHUP from now on. Must run on a Tokio runtime. `values` are the values with which
    /// the server starts.
    ///
    /// # Errors
    /// If the signal cannot be caught.
    pub fn listen(flags: Flags, values: SettingValues, levels: LogLevels) -> io::Result<Self> {
        Ok(Self { hangups: signal(SignalKind::hangup())?, flags, values, levels })
    }

    /// Loads the settings again at each SIGHUP, until the caller drops the returned future.
    pub(super) async fn run(mut self, app: Arc<App>, sign_in_url: watch::Sender<Option<String>>) {
        while self.hangups.recv().await.is_some() {
            self.reload(&app, &sign_in_url).await;
        }
    }

    async fn reload(&mut self, app: &Arc<App>, sign_in_url: &watch::Sender<Option<String>>) {
        let flags = self.flags.clone();
        // Reading the files blocks a thread, so a thread for blocking work reads them.
        let loaded = tokio::task::spawn_blocking(move || load(&flags)).await;
        let loaded = loaded.unwrap_or_else(|error| Err(error.to_string()));
        let used = match loaded {
            Ok((settings, values)) => {
                app.node().store().reload_certificates().map(|()| (settings, values))
            }
            Err(faults) => Err(faults),
        };
        let (settings, values) = match used {
            Ok(loaded) => loaded,
            Err(faults) => {
                tracing::error!(
                    faults,
                    event = "config.reload_refused",
                    "the settings or certificates cannot be used, so no setting was changed; \
                     correct the faults and send SIGHUP again"
                );
                return;
            }
        };
        let change = self.values.change_to(&values);
        self.levels.change(&settings.log);
        app.reload(&settings);
        sign_in_url.send_replace(settings.auth.sign_in_url.clone());
        self.values = self.values.clone().with_live_settings_from(&values);
        tracing::info!(
            changed = change.live.join(" "),
            needs_restart = change.needs_restart.join(" "),
            event = "config.reloaded",
            "loaded the settings and certificates again; a setting in needs_restart keeps its \
             earlier value until a restart"
        );
        if let Err(error) = app.reload_keys().await {
            tracing::warn!(
                %error,
                event = "auth.keys_refresh_failed",
                "failed to refresh the buyers' public keys; will retry"
            );
        }
    }
}

/// Loads and checks the settings. If they cannot be used, the error has all faults in one line.
fn load(flags: &Flags) -> Result<(Settings, SettingValues), String> {
    let (mut settings, values) = config::load_with_values(flags, std::env::vars_os())
        .map_err(|faults| faults.to_string().replace('\n', "; "))?;
    outgoing::check_certificates()?;
    settings.connections_max = super::file_limit::raise(settings.connections_max, &settings.shape)
        .map_err(|error| error.to_string())?;
    Ok((settings, values))
}
