//! Reads single values from the raw settings and records their faults.

use std::ops::RangeInclusive;
use std::str::FromStr;

use secrecy::SecretString;

use crate::fault::{SettingFault, SettingsError};
use crate::raw::{self, RawSettings, RawValue, SettingOrigin};
use crate::table::ValueKind;
use crate::{SETTINGS, Settings};

/// The maximum size of a file with a secret, in bytes.
const SECRET_FILE_BYTES_MAX: u64 = 64 * 1024;

pub(crate) struct SettingsReader<'a> {
    raw: &'a RawSettings,
    faults: Vec<SettingFault>,
}

impl<'a> SettingsReader<'a> {
    pub(super) fn new(raw: &'a RawSettings, faults: Vec<SettingFault>) -> Self {
        Self { raw, faults }
    }

    /// Returns the settings if there are no faults. Otherwise returns all faults.
    pub(super) fn finish(self, settings: Option<Settings>) -> Result<Settings, SettingsError> {
        match settings {
            Some(settings) if self.faults.is_empty() => Ok(settings),
            _ => Err(SettingsError(self.faults)),
        }
    }

    pub(crate) fn fault(&mut self, path: &str, detail: impl Into<String>) {
        let origin = self.raw.get(path).map_or(&SettingOrigin::Default, |given| &given.origin);
        self.faults.push(raw::fault(path, origin, detail));
    }

    /// Records a fault. Returns `None`, because the setting then has no value.
    pub(crate) fn refuse<T>(&mut self, path: &str, detail: impl Into<String>) -> Option<T> {
        self.fault(path, detail);
        None
    }

    /// Returns the layer that sets the setting, if there is one.
    pub(crate) fn origin(&self, path: &str) -> Option<&'a SettingOrigin> {
        self.raw.get(path).map(|given| &given.origin)
    }

    /// Returns whether a layer other than the defaults sets the setting.
    pub(crate) fn is_set(&self, path: &str) -> bool {
        self.origin(path).is_some_and(|origin| *origin != SettingOrigin::Default)
    }

    /// In builds with debug assertions, checks that the table of settings has this setting with the
    /// type `kind`. The type of a secret does not matter, because a secret's value is never shown.
    fn expect_kind(&self, path: &str, kind: ValueKind) {
        debug_assert!(
            SETTINGS.iter().any(|it| it.path == path && (it.kind == kind || it.secret)),
            "{path} is missing in the table of settings, or has another type there"
        );
    }

    /// Returns the setting's text, or `None` if no layer sets the setting or its value is not a
    /// text.
    pub(crate) fn text(&mut self, path: &'static str) -> Option<String> {
        debug_assert!(
            SETTINGS.iter().any(|setting| setting.path == path),
            "{path} is missing in the table of settings"
        );
        match &self.raw.get(path)?.value {
            RawValue::Text(text) | RawValue::Unparsed(text) => Some(text.clone()),
            RawValue::SecretFile(_) => self.secret_file(path),
            _ => self.refuse(path, "must be a string in quotes"),
        }
    }

    /// Parses a text. If this fails, records a fault with the text and the description `wrong`.
    pub(crate) fn parsed<T: FromStr>(&mut self, path: &'static str, wrong: &str) -> Option<T> {
        let text = self.text(path)?;
        text.parse().ok().or_else(|| self.refuse(path, format!("{text:?} {wrong}")))
    }

    pub(crate) fn integer(
        &mut self,
        path: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        self.expect_kind(path, ValueKind::Whole);
        let number = match &self.raw.get(path)?.value {
            RawValue::Whole(number) => u64::try_from(*number).ok(),
            RawValue::Unparsed(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().ok()
            }
            _ => None,
        };
        number.filter(|number| range.contains(number)).or_else(|| {
            let (least, most) = (range.start(), range.end());
            self.refuse(path, format!("must be a whole number from {least} to {most}"))
        })
    }

    pub(crate) fn flag(&mut self, path: &'static str) -> Option<bool> {
        self.expect_kind(path, ValueKind::Flag);
        let flag = match &self.raw.get(path)?.value {
            RawValue::Flag(flag) => Some(*flag),
            RawValue::Unparsed(text) => text.parse().ok(),
            _ => None,
        };
        flag.or_else(|| self.refuse(path, "must be true or false"))
    }

    /// Reads a list of texts. A text in place of a list is a fault in a settings file. A text from
    /// another source is split at its commas and line breaks.
    pub(crate) fn list(&mut self, path: &'static str) -> Option<Vec<String>> {
        self.expect_kind(path, ValueKind::List);
        match &self.raw.get(path)?.value {
            RawValue::List(entries) => Some(entries.clone()),
            RawValue::Unparsed(text) => Some(entries(text)),
            RawValue::SecretFile(_) => self.secret_file(path).map(|text| entries(&text)),
            _ => self.refuse(path, "must be a list of strings, such as [\"a\", \"b\"]"),
        }
    }

    /// Reads a list of secrets. A text, or the content of a file, is split at its commas and line
    /// breaks.
    pub(crate) fn secrets(&mut self, path: &'static str) -> Option<Vec<SecretString>> {
        let texts = match self.raw.get(path).map(|given| &given.value) {
            Some(RawValue::List(texts)) => texts.clone(),
            _ => entries(&self.text(path)?),
        };
        Some(texts.into_iter().map(SecretString::from).collect())
    }

    /// Reads a secret: the setting's own text, or the content of the secret's file.
    pub(crate) fn secret(&mut self, path: &'static str) -> Option<SecretString> {
        self.text(path).map(SecretString::from)
    }

    fn secret_file(&mut self, path: &'static str) -> Option<String> {
        let RawValue::SecretFile(file) = &self.raw.get(path)?.value else { return None };
        let read = std::fs::metadata(file).and_then(|about| {
            if about.len() > SECRET_FILE_BYTES_MAX {
                return Err(std::io::Error::other("the file is too large for a secret"));
            }
            std::fs::read_to_string(file)
        });
        match read {
            Ok(text) => {
                let line = text.strip_suffix('\n').unwrap_or(&text);
                Some(line.strip_suffix('\r').unwrap_or(line).to_owned())
            }
            Err(error) => self
                .refuse(path, format!("cannot read the secret's file {}: {error}", file.display())),
        }
    }
}

/// Splits a list from the environment or from a file at its commas and line breaks.
pub(crate) fn entries(text: &str) -> Vec<String> {
    text.split([',', '\n'])
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Returns whether a text is an origin as browsers write it, such as `https://shop.example`.
pub(crate) fn is_origin(text: &str) -> bool {
    let is_web = text.starts_with("https://") || text.starts_with("http://");
    let origin = reqwest::Url::parse(text).ok().map(|url| url.origin());
    let origin = origin.filter(|origin| origin.is_tuple());
    is_web && origin.is_some_and(|origin| origin.ascii_serialization() == text)
}

/// Parses the address of a node, such as `http://10.0.0.2:8080`. Returns `None` if the address has
/// a user, a path or a query.
pub(crate) fn node_address(text: &str) -> Option<reqwest::Url> {
    let url = reqwest::Url::parse(text).ok()?;
    let is_plain = url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none();
    (matches!(url.scheme(), "http" | "https") && is_plain).then_some(url)
}

/// Reads an address for a link, and records a fault if [`is_link`] refuses the address.
pub(crate) fn link(read: &mut SettingsReader<'_>, path: &'static str) -> Option<String> {
    let url = read.text(path)?;
    if !is_link(&url) {
        read.fault(path, "must begin with https://, http:// or /, in visible ASCII");
    }
    Some(url)
}

/// Returns whether a page may link to this address. Refuses `//host`, because this is an address of
/// another site. Refuses `javascript:`, because a browser would run such an address as a script.
pub(crate) fn is_link(url: &str) -> bool {
    let absolute = ["https://", "http://"]
        .iter()
        .any(|scheme| url.starts_with(scheme) && url.len() > scheme.len());
    let path = url.starts_with('/') && !url.starts_with("//") && !url.starts_with("/\\");
    url.bytes().all(|byte| byte.is_ascii_graphic()) && (absolute || path)
}

/// Reads a text, and records a fault if it is empty.
pub(crate) fn non_empty_text(read: &mut SettingsReader<'_>, path: &'static str) -> Option<String> {
    let text = read.text(path)?;
    if text.trim().is_empty() {
        read.fault(path, "is empty; write a value or remove the setting");
    }
    Some(text)
}
