//! The settings that a reload can change while the server runs.

use std::sync::Arc;
use std::time::Duration;

use doorbuster_api::admin::console::ShownSetting;
use doorbuster_config::{Cidr, SETTINGS, Settings};

use super::assets::Assets;
use super::fixed_settings::FixedSettings;
use super::page_html::Shop;

/// A reload replaces all of these settings at once.
#[derive(Clone, Debug)]
pub(crate) struct LiveSettings {
    /// Proxies whose forwarding headers are trusted.
    pub(crate) proxies: Vec<Cidr>,
    pub(crate) assets: Arc<Assets>,
    /// The settings that a reload does not change.
    fixed: FixedSettings,
    shop: String,
    pub(crate) time_zone: Option<String>,
    /// The maximum number of event streams of one buyer on this node.
    pub(crate) event_streams_max: usize,
    pub(crate) connections_max: usize,
    /// How long a connection may be idle, and how long a request's head may take to arrive.
    pub(crate) idle: Duration,
    /// How long the server continues to accept requests after a stop signal.
    pub(crate) stop_notice: Duration,
    /// The settings as the API shows them.
    pub(crate) shown: Vec<ShownSetting>,
    /// Rises with each reload.
    pub(crate) generation: u64,
}

impl LiveSettings {
    /// `fixed` contains the settings that a reload does not change, with their values at the
    /// server's start.
    pub(super) fn new(settings: &Settings, fixed: FixedSettings) -> Self {
        Self {
            proxies: settings.trusted_proxies.clone(),
            assets: Arc::new(Assets::prepare(settings, &fixed, None)),
            fixed,
            shop: settings.shop.clone(),
            time_zone: settings.page.time_zone.clone(),
            event_streams_max: settings.event_streams_max,
            connections_max: settings.connections_max,
            idle: settings.idle,
            stop_notice: settings.stop_notice,
            shown: settings.shown.clone(),
            generation: 0,
        }
    }

    pub(super) fn reloaded(&self, settings: &Settings) -> Self {
        let mut next = Self::new(settings, self.fixed.clone());
        next.generation = self.generation + 1;
        let is_live = |path: &str| SETTINGS.iter().any(|it| it.path == path && it.live);
        for (row, before) in next.shown.iter_mut().zip(&self.shown) {
            if !is_live(&row.path) {
                row.clone_from(before);
            }
        }
        next
    }

    pub(super) fn shop(&self) -> Shop<'_> {
        let (name, url) = (&self.shop, self.fixed.url.as_deref());
        Shop { name, url, time_zone: self.time_zone.as_deref() }
    }
}
