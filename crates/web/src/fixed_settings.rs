//! The settings that pages need and that a reload does not change.

use doorbuster_base::vapid::VapidKey;
use doorbuster_config::{ProviderSettings, Settings};
use secrecy::ExposeSecret;

#[derive(Clone, Debug)]
pub(crate) struct FixedSettings {
    /// The origin of the pages, for links in their texts.
    pub(crate) url: Option<String>,
    pub(crate) is_sandbox: bool,
    /// The shop's public key for push services.
    pub(crate) push_key: Option<String>,
    pub(crate) has_issuer: bool,
}

impl FixedSettings {
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
