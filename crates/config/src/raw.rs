//! Reads the raw value of each setting from four layers: the default file, the file of `--config`,
//! the environment and the command line. A later layer overrides an earlier layer.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use doorbuster_base::failpoint;

use super::fault::SettingFault;
use super::passwords::hide_passwords;
use super::table::{COMMAND_LINE_NAMES, ENV_PREFIX, FILE_SUFFIX, SETTINGS};
use super::{DEFAULT_FILE, Flags};

pub(super) type Environment = HashMap<OsString, OsString>;

/// A setting's raw value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RawValue {
    /// A text between quotes in a file.
    Text(String),
    /// A number in a file.
    Whole(i64),
    /// `true` or `false` in a file.
    Flag(bool),
    /// A list of texts in a file.
    List(Vec<String>),
    /// A text from the environment or the command line.
    Unparsed(String),
    /// The path of the file that contains the value.
    SecretFile(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SettingOrigin {
    /// The default file.
    Default,
    /// The file of `--config`.
    File(PathBuf),
    /// The environment, under this name.
    Environment(String),
    /// The command line.
    Flag(&'static str),
}

impl fmt::Display for SettingOrigin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::File(path) => write!(out, "{}", path.display()),
            Self::Environment(name) => out.write_str(name),
            Self::Flag(flag) => out.write_str(flag),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct RawSetting {
    pub value: RawValue,
    pub origin: SettingOrigin,
}

/// The value of each setting, from the last layer that sets it.
#[derive(Debug, Default)]
pub(super) struct RawSettings(BTreeMap<&'static str, RawSetting>);

impl RawSettings {
    pub(super) fn get(&self, path: &str) -> Option<&RawSetting> {
        self.0.get(path)
    }

    fn set(&mut self, path: &'static str, value: RawValue, origin: SettingOrigin) {
        self.0.insert(path, RawSetting { value, origin });
    }
}

/// Merges the four layers of settings: defaults, file, environment and flags. Adds the faults of
/// the layers to `faults`.
pub(super) fn gather(
    flags: &Flags,
    environment: &Environment,
    faults: &mut Vec<SettingFault>,
) -> RawSettings {
    let mut raw = RawSettings::default();
    read_file(&mut raw, DEFAULT_FILE, &SettingOrigin::Default, faults);
    if let Some(path) = &flags.config {
        match std::fs::read_to_string(path) {
            Ok(text) => read_file(&mut raw, &text, &SettingOrigin::File(path.clone()), faults),
            Err(error) => faults.push(SettingFault {
                setting: "--config".into(),
                detail: format!("cannot read {}: {error}", path.display()),
            }),
        }
    }
    read_environment(&mut raw, environment, faults);
    read_flags(&mut raw, flags, faults);
    raw
}

fn read_file(
    raw: &mut RawSettings,
    text: &str,
    origin: &SettingOrigin,
    faults: &mut Vec<SettingFault>,
) {
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => {
            // The line may contain a secret, so the message shows the line's number, but not its
            // text.
            let before = error.span().map_or("", |span| &text[..span.start]);
            let (line, column) = (
                before.split('\n').count(),
                before.rsplit('\n').next().unwrap_or("").chars().count() + 1,
            );
            let what = Some(error.message()).filter(|said| !said.starts_with("invalid type"));
            let what = what.unwrap_or("a value of a type that no setting has");
            let detail = format!("is not valid TOML: line {line}, column {column}: {what}");
            return faults.push(SettingFault { setting: origin.to_string(), detail });
        }
    };
    let mut layer = RawLayer::default();
    flatten(&table, "", &mut |path, value| match find_setting(path) {
        Some((setting, in_file)) => match file_value(value, in_file) {
            Some(value) => layer.add(setting, value, origin.clone()),
            None => faults.push(fault(
                path,
                origin,
                "write a string, a whole number, true, false, or a list of strings",
            )),
        },
        None => faults.push(fault(
            path,
            origin,
            "there is no such setting; `doorbuster config default` lists all settings",
        )),
    });
    layer.merge_into(raw, faults);
}

/// Calls `each` with the path and the value of every entry. If an entry is a table with settings,
/// calls `each` for the entries of this table instead.
fn flatten(table: &toml::Table, prefix: &str, each: &mut impl FnMut(&str, &toml::Value)) {
    for (name, value) in table {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let holds_settings =
            SETTINGS.iter().any(|setting| setting.path.starts_with(&format!("{path}.")));
        match value {
            toml::Value::Table(inner) if holds_settings => flatten(inner, &path, each),
            value => each(&path, value),
        }
    }
}

/// Returns the setting, and whether the value at `path` is the name of a secret's file, as for
/// `auth.admin_key_file`.
fn find_setting(path: &str) -> Option<(&'static str, bool)> {
    let plain =
        SETTINGS.iter().find(|setting| setting.path == path).map(|setting| (setting.path, false));
    plain.or_else(|| {
        let path = path.strip_suffix(FILE_SUFFIX)?;
        SETTINGS
            .iter()
            .find(|setting| setting.secret && setting.path == path)
            .map(|setting| (setting.path, true))
    })
}

fn file_value(value: &toml::Value, in_file: bool) -> Option<RawValue> {
    Some(match value {
        toml::Value::String(path) if in_file => RawValue::SecretFile(path.into()),
        _ if in_file => return None,
        toml::Value::String(text) => RawValue::Text(text.clone()),
        toml::Value::Integer(number) => RawValue::Whole(*number),
        toml::Value::Boolean(flag) => RawValue::Flag(*flag),
        toml::Value::Array(entries) => RawValue::List(
            entries.iter().map(|entry| entry.as_str().map(str::to_owned)).collect::<Option<_>>()?,
        ),
        _ => return None,
    })
}

fn read_environment(
    raw: &mut RawSettings,
    environment: &Environment,
    faults: &mut Vec<SettingFault>,
) {
    let mut names: Vec<&OsString> = environment.keys().collect();
    names.sort_unstable();
    let mut layer = RawLayer::default();
    for name in names {
        let shown = name.to_string_lossy();
        if !shown.starts_with(ENV_PREFIX)
            || COMMAND_LINE_NAMES.contains(&shown.as_ref())
            || failpoint::is_setting(&shown)
        {
            continue;
        }
        let origin = SettingOrigin::Environment(shown.to_string());
        let path = shown[ENV_PREFIX.len()..].to_ascii_lowercase().replace("__", ".");
        // A lower-case name such as DOORBUSTER_listen has no effect. Such a name is a fault,
        // because an operator would expect an effect.
        let spelled =
            name.to_str().filter(|name| !name.bytes().any(|byte| byte.is_ascii_lowercase()));
        let Some((setting, in_file)) = spelled.and_then(|_| find_setting(&path)) else {
            let detail = "there is no such setting; `doorbuster config default` lists all settings";
            faults.push(SettingFault { setting: shown.to_string(), detail: detail.into() });
            continue;
        };
        match environment[name].to_str() {
            _ if in_file => layer.add(
                setting,
                RawValue::SecretFile(Path::new(&environment[name]).into()),
                origin,
            ),
            Some(text) => layer.add(setting, RawValue::Unparsed(text.to_owned()), origin),
            None => faults
                .push(SettingFault { setting: shown.to_string(), detail: "is not UTF-8".into() }),
        }
    }
    layer.merge_into(raw, faults);
}

fn read_flags(raw: &mut RawSettings, flags: &Flags, faults: &mut Vec<SettingFault>) {
    let mut set = |path, flag, value: &Option<String>| {
        if let Some(value) = value {
            raw.set(path, RawValue::Unparsed(value.clone()), SettingOrigin::Flag(flag));
        }
    };
    set("listen", "--listen", &flags.listen);
    set("roles", "--roles", &flags.roles);
    set("log.format", "--log-format", &flags.log_format);
    let data_dir = flags.data_dir.as_ref().map(|path| path.to_str().map(str::to_owned));
    if data_dir == Some(None) {
        faults.push(SettingFault { setting: "--data-dir".into(), detail: "is not UTF-8".into() });
    }
    set("data_dir", "--data-dir", &data_dir.flatten());
}

/// The values of one layer. A layer must not set a secret both directly and as a file.
#[derive(Default)]
struct RawLayer(Vec<(&'static str, RawSetting)>);

impl RawLayer {
    fn add(&mut self, path: &'static str, value: RawValue, origin: SettingOrigin) {
        self.0.push((path, RawSetting { value, origin }));
    }

    fn merge_into(self, raw: &mut RawSettings, faults: &mut Vec<SettingFault>) {
        for (index, (path, given)) in self.0.iter().enumerate() {
            if self.0[..index].iter().any(|(earlier, _)| earlier == path) {
                faults.push(fault(
                    path,
                    &given.origin,
                    "is set both directly and as a file; keep one of the two",
                ));
            }
            raw.set(path, given.value.clone(), given.origin.clone());
        }
    }
}

/// Creates a fault. Its detail may quote the setting's value, so the passwords of addresses are
/// hidden.
pub(super) fn fault(path: &str, origin: &SettingOrigin, detail: impl Into<String>) -> SettingFault {
    let setting = match origin {
        SettingOrigin::Default => path.to_owned(),
        origin => format!("{path} ({origin})"),
    };
    let detail: String = detail.into();
    SettingFault { setting, detail: hide_passwords(&detail) }
}
