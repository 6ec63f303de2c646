//! Finds the settings that changed between two loads.

use std::collections::BTreeMap;
use std::path::Path;

use super::SETTINGS;
use super::raw::{RawSetting, RawSettings, RawValue};

/// Settings whose value is the name of a file. Such a setting also counts as changed if the content
/// of the file changed.
const FILES: [&str; 3] = ["page.theme.logo", "page.theme.font", "page.theme.font_bold"];

/// A fingerprint of each setting's value. A fingerprint reveals no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingValues(BTreeMap<&'static str, blake3::Hash>);

/// The differences between two loads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsChange {
    /// The changed settings whose new values a running server uses immediately.
    pub live: Vec<&'static str>,
    /// Changed settings that need a restart.
    pub needs_restart: Vec<&'static str>,
}

impl SettingValues {
    pub(super) fn new(raw: &RawSettings) -> Self {
        let values = SETTINGS.iter().filter_map(|setting| {
            let given = raw.get(setting.path)?;
            Some((setting.path, fingerprint(setting.path, given)))
        });
        Self(values.collect())
    }

    /// Returns the settings that differ in `next`.
    #[must_use]
    pub fn change_to(&self, next: &Self) -> SettingsChange {
        let mut change = SettingsChange::default();
        for setting in SETTINGS {
            if self.0.get(setting.path) == next.0.get(setting.path) {
                continue;
            }
            match setting.live {
                true => change.live.push(setting.path),
                false => change.needs_restart.push(setting.path),
            }
        }
        change
    }

    /// Replaces the values of live settings by those in `next`, and keeps the values of all other
    /// settings.
    #[must_use]
    pub fn with_live_settings_from(mut self, next: &Self) -> Self {
        for setting in SETTINGS.iter().filter(|setting| setting.live) {
            match next.0.get(setting.path) {
                Some(value) => self.0.insert(setting.path, *value),
                None => self.0.remove(setting.path),
            };
        }
        self
    }
}

fn fingerprint(path: &str, given: &RawSetting) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    let mut add_file = |file: &Path| {
        // An unreadable file counts as empty, because the check of the settings has already
        // reported it.
        hasher.update(&std::fs::read(file).unwrap_or_default());
    };
    match &given.value {
        RawValue::SecretFile(file) => add_file(file),
        RawValue::Text(file) | RawValue::Unparsed(file) if FILES.contains(&path) => {
            add_file(Path::new(file));
        }
        _ => {}
    }
    hasher.update(format!("{:?}", given.value).as_bytes());
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use doorbuster_testkit::TempDir;

    use crate::{Flags, load_with_values};

    #[test]
    fn a_changed_file_names_the_settings_that_apply_now_and_those_that_need_a_restart() {
        let dir = TempDir::new();
        let file = dir.path().join("settings.toml");
        let secret = dir.path().join("secret");
        let load = |text: &str, key: &str| {
            std::fs::write(&file, text).expect("a file");
            std::fs::write(&secret, key).expect("a file");
            let flags = Flags { config: Some(file.clone()), ..Flags::default() };
            let secret = secret.clone().into_os_string();
            let environment = [
                ("DOORBUSTER_DATA_DIR".into(), dir.path().into()),
                ("DOORBUSTER_AUTH__ADMIN_KEY_FILE".into(), secret),
            ];
            load_with_values(&flags, environment).expect("valid settings").1
        };
        let (one, two) = ("a".repeat(40), "b".repeat(40));
        let before = load("listen = \"127.0.0.1:1\"\n[log]\nfilter = \"info\"", &one);
        let change = before.change_to(&before);
        assert!(change.live.is_empty() && change.needs_restart.is_empty(), "{change:?}");
        let after = load("listen = \"127.0.0.1:2\"\n[log]\nfilter = \"warn\"", &two);
        let change = before.change_to(&after);
        assert_eq!(change.live, ["log.filter"]);
        assert_eq!(change.needs_restart, ["listen", "auth.admin_key"]);
        let change = before.with_live_settings_from(&after).change_to(&after);
        assert!(change.live.is_empty() && change.needs_restart.len() == 2, "{change:?}");
    }

    #[test]
    fn a_changed_file_of_the_theme_is_a_change_of_its_setting() {
        let dir = TempDir::new();
        let path = |name: &str| dir.path().join(name);
        let environment = || {
            let setting = |name: &str, file: &str| (name.into(), path(file).into_os_string());
            [
                ("DOORBUSTER_DATA_DIR".into(), dir.path().into()),
                setting("DOORBUSTER_PAGE__THEME__LOGO", "logo.svg"),
                setting("DOORBUSTER_PAGE__THEME__FONT", "font.woff2"),
                setting("DOORBUSTER_PAGE__THEME__FONT_BOLD", "bold.woff2"),
            ]
        };
        let load = || load_with_values(&Flags::default(), environment()).expect("valid settings").1;
        for file in ["logo.svg", "font.woff2", "bold.woff2"] {
            std::fs::write(path(file), "one").expect("a file");
        }
        for (file, setting) in [
            ("logo.svg", "page.theme.logo"),
            ("font.woff2", "page.theme.font"),
            ("bold.woff2", "page.theme.font_bold"),
        ] {
            let before = load();
            std::fs::write(path(file), "two").expect("a file");
            assert_eq!(before.change_to(&load()).live, [setting]);
        }
    }
}
