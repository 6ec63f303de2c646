//! `config show` prints one line for each setting, with its origin and without secrets.

use std::fmt::Write;

use doorbuster_api::admin::console::ShownSetting;

use super::passwords::hide_passwords;
use super::raw::{RawSettings, RawValue, SettingOrigin};
use super::{SETTINGS, Setting, Settings};
use crate::check::settings_reader::entries;
use crate::table::ValueKind;

/// Returns the settings as TOML. A comment after each value shows its origin. A setting without a
/// value is shown as a comment.
pub(super) fn lines(raw: &RawSettings, settings: Option<&Settings>) -> String {
    let mut out = String::new();
    let mut section = "";
    for setting in SETTINGS {
        let (table, name) = setting.path.split_once('.').unwrap_or(("", setting.path));
        if table != section {
            section = table;
            let _ = write!(out, "\n[{table}]\n");
        }
        let given = raw.get(setting.path);
        let origin = given.map_or(&SettingOrigin::Default, |given| &given.origin);
        if *origin == SettingOrigin::Default
            && settings.is_some_and(|settings| opened_by_demo(setting.path, settings))
        {
            // Writing to a `String` cannot fail.
            let _ = writeln!(out, "{name} = true  # --demo");
            continue;
        }
        let value = match given.map(|given| &given.value) {
            Some(RawValue::SecretFile(path)) => {
                Some(format!("\"***\"  # from the file {}", path.display()))
            }
            Some(RawValue::List(entries)) if entries.is_empty() => Some("[]".to_owned()),
            Some(_) if setting.secret => Some("\"***\"".to_owned()),
            Some(value) => Some(render_value(&setting, value)),
            None => derived_value(setting.path, settings),
        };
        // Writing to a `String` cannot fail.
        let _ = match value {
            Some(value) => writeln!(out, "{name} = {value}  # {origin}"),
            None if is_generated(setting.path, settings) => writeln!(out, "# {name} is generated"),
            None => writeln!(out, "# {name} is not set"),
        };
    }
    out
}

pub(super) fn rows(raw: &RawSettings, settings: &Settings) -> Vec<ShownSetting> {
    let row = |setting: &Setting| {
        let path = setting.path;
        let given = raw.get(path);
        let mut origin = given.map_or(&SettingOrigin::Default, |given| &given.origin).to_string();
        let is_opened = given.is_some_and(|given| given.origin == SettingOrigin::Default)
            && opened_by_demo(path, settings);
        let value = match given.map(|given| &given.value) {
            _ if is_opened => {
                "--demo".clone_into(&mut origin);
                Some("true".to_owned())
            }
            Some(RawValue::List(entries)) if entries.is_empty() => Some("[]".to_owned()),
            Some(_) if setting.secret => Some("\"***\"".to_owned()),
            Some(value) => Some(render_value(setting, value)),
            None if is_generated(path, Some(settings)) => {
                "generated".clone_into(&mut origin);
                Some("\"***\"".to_owned())
            }
            None => derived_value(path, Some(settings)),
        };
        ShownSetting { path: path.to_owned(), value, origin }
    };
    SETTINGS.iter().map(row).collect()
}

/// Renders a value in TOML. A valid value from the environment or the command line gets the type
/// that it must have in a file. A password in an address is hidden.
fn render_value(setting: &Setting, value: &RawValue) -> String {
    let text = |text: &str| toml::Value::String(hide_passwords(text));
    let list = |entries: &[String]| {
        toml::Value::Array(entries.iter().map(|entry| text(entry)).collect()).to_string()
    };
    match value {
        RawValue::Unparsed(given) => match setting.kind {
            ValueKind::Whole if given.parse::<u64>().is_ok() => given.clone(),
            ValueKind::Flag if given.parse::<bool>().is_ok() => given.clone(),
            ValueKind::List => list(&entries(given)),
            ValueKind::Text | ValueKind::Whole | ValueKind::Flag => text(given).to_string(),
        },
        RawValue::Text(given) => text(given).to_string(),
        RawValue::Whole(number) => number.to_string(),
        RawValue::Flag(flag) => flag.to_string(),
        RawValue::List(entries) => list(entries),
        RawValue::SecretFile(path) => path.display().to_string(),
    }
}

fn opened_by_demo(path: &str, settings: &Settings) -> bool {
    let is_open = match path {
        "webhooks.allow_private" => settings.deliveries.allow_private,
        "payment.sandbox_page" => settings.payment.sandbox_page,
        _ => false,
    };
    settings.demo && is_open
}

/// Returns whether the server generates this secret, because no setting contains it.
fn is_generated(path: &str, settings: Option<&Settings>) -> bool {
    settings.is_some_and(|settings| match path {
        "auth.buyer_secret" => settings.auth.buyers.is_none(),
        "auth.admin_key" => settings.auth.admin_key.is_none(),
        "auth.id_key" => settings.auth.id_key.is_none(),
        "payment.webhook_secret" => settings.payment.webhook_secrets.is_empty(),
        "pass.keys" => settings.pass_keys.is_none(),
        _ => false,
    })
}

fn derived_value(path: &str, settings: Option<&Settings>) -> Option<String> {
    let settings = settings?;
    match path {
        "workers" => Some(settings.workers.to_string()),
        "data_dir" => {
            Some(toml::Value::String(settings.data_dir.display().to_string()).to_string())
        }
        _ => None,
    }
}
