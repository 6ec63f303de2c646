//! The settings that pages need and that a reload does not change.

use doorbuster_base::vapid::VapidKey;
use doorbuster_config::{ProviderSettings, Settings};
use secrecy::ExposeSecret;

/// The settings that pages need. They keep their values until a restart.
#[derive(Clone, Debug)]
pub(crate) struct FixedSettings {
    /// The origin of the pages, for the addresses in their texts.
    pub(crate) url: Option<String>,
    /// Whether the payment provider is the sandbox.
    pub(crate) is_sandbox: bool,
    /// The public key of the shop for push services.
    pub(crate) push_key: Option<String>,
    /// Whether operators can sign in at an OpenID Connect issuer.
    pub(crate) has_issuer: bool,
}

impl FixedSettings {
    /// Takes the values from `settings`, with which the server starts.
    pub(crate) fn new(settings: &Settings) -> Self {
        let push = settings.page.push.as_ref();
        Self {
            url: settings.page_origin.clone().or_else(|| settings.page_url.clone()),
            is_sandbox: matches!(settings.payment.provider, ProviderSettings::Sandbox),
            push_key: push.and_then(|push| {
                Some(VapidKey::parse(push.key.expose_secret())?.public().to_owned())
            }),
            has_issuer: settings.oidc.is_some(),
        }
    }
}
