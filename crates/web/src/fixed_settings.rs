//! The settings that pages need and that a reload does not change.

use std::sync::Arc;

use doorbuster_base::vapid::VapidKey;
use doorbuster_config::{ProviderSettings, Settings};
use doorbuster_engine::edge::EdgeNode;
use secrecy::ExposeSecret;

#[derive(Clone, Debug)]
pub(crate) struct FixedSettings {
    /// The origin of the pages, for links in their texts. `None` if the settings do not name it.
    pub(crate) url: Option<String>,
    pub(crate) is_sandbox: bool,
    /// On an edge, the nodes' `auth.sign_in_url`. The edge's own setting has priority.
    pub(crate) nodes_sign_in_url: Option<String>,
    /// The shop's public key for push services. `None` if the shop sends no push messages.
    pub(crate) push_key: Option<String>,
    pub(crate) has_issuer: bool,
}

impl FixedSettings {
    pub(crate) fn new(settings: &Settings) -> Self {
        let push = settings.page.push.as_ref();
        Self {
            url: settings.page_origin.clone().or_else(|| settings.page_url.clone()),
            is_sandbox: matches!(settings.payment.provider, ProviderSettings::Sandbox),
            nodes_sign_in_url: None,
            push_key: push.and_then(|push| {
                Some(VapidKey::parse(push.key.expose_secret())?.public().to_owned())
            }),
            has_issuer: settings.oidc.is_some(),
        }
    }

    /// On an edge, adds the settings that the edge got from the nodes.
    pub(crate) fn with_nodes_of(mut self, edge: Option<&Arc<EdgeNode>>) -> Self {
        if let Some(edge) = edge {
            // An edge's own settings may name no payment provider. The edge then has the default
            // provider (the sandbox), although the nodes may have another one.
            self.is_sandbox &= edge.nodes.is_sandbox != Some(false);
            self.nodes_sign_in_url.clone_from(&edge.nodes.sign_in_url);
        }
        self
    }
}
