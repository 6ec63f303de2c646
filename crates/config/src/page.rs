//! Settings of the buyers' pages: the shop's texts and its brand.

mod colors;

use std::path::PathBuf;

use doorbuster_api::value::Time;
use doorbuster_base::vapid::VapidKey;
use secrecy::{ExposeSecret, SecretString};

use super::check::SettingsReader;
use super::check::settings_reader::{is_link, link};

pub use colors::DARK_WASH_PERCENT;
pub use colors::ThemeColors;

/// The shop's texts on the buyers' pages, and its brand.
#[derive(Clone, Debug, Default)]
pub struct PageSettings {
    /// The shop's time zone, such as `Asia/Shanghai`.
    pub time_zone: Option<String>,
    /// The shop's own site. The page of a paid order links to this site.
    pub shop_url: Option<String>,
    /// The text that tells buyers what happens after a payment.
    pub next_steps: NextSteps,
    /// The time of the next step after a payment, such as the time from which buyers can collect
    /// their orders.
    pub next_steps_at: Option<Time>,
    /// The brand.
    pub theme: Theme,
    /// The settings of messages to browsers (web push), if the shop set a key.
    pub push: Option<PushSettings>,
}

/// The shop's text about what happens after a payment.
#[derive(Clone, Debug, Default)]
pub struct NextSteps {
    /// The text on English pages. If `zh` is `None`, Chinese pages show this text too.
    pub text: Option<String>,
    /// The text on Chinese pages.
    pub zh: Option<String>,
}

/// Messages to browsers (web push).
#[derive(Clone, Debug)]
pub struct PushSettings {
    /// The private key that identifies the shop to push services, in base64url.
    pub key: SecretString,
    /// The address at which the operator of a push service can reach the shop: `mailto:` or
    /// `https:`.
    pub contact: String,
}

/// A shop's brand on the pages.
#[derive(Clone, Debug, Default)]
pub struct Theme {
    /// The colours, if they differ from the default.
    pub colors: Option<ThemeColors>,
    /// The logo. Pages show it instead of the default logo and the shop's name.
    pub logo: Option<ThemeFile>,
    /// The font of all texts.
    pub font: Option<ThemeFile>,
    /// The font of bold texts. If this font is missing, browsers thicken the letters of `font`.
    pub font_bold: Option<ThemeFile>,
    /// Links at the end of each page. Each link has a text and an address.
    pub footer: Vec<(String, String)>,
    /// Links at the end of Chinese pages. If this list is empty, Chinese pages show the links of
    /// `footer`.
    pub footer_zh: Vec<(String, String)>,
}

/// A file of the shop's brand.
#[derive(Clone, Debug)]
pub struct ThemeFile {
    /// The extension of the file's name, without the dot.
    pub extension: String,
    /// The content.
    pub bytes: Vec<u8>,
}

/// The maximum length of the text about what happens after a payment, in characters.
const NEXT_STEPS_CHARS_MAX: usize = 500;
const FOOTER_LINKS_MAX: usize = 8;
/// The maximum size of a logo or of a font, in bytes.
const FILE_BYTES_MAX: u64 = 262_144;

pub(super) fn page(read: &mut SettingsReader<'_>) -> PageSettings {
    PageSettings {
        time_zone: time_zone(read),
        shop_url: link(read, "page.shop_url"),
        next_steps: next_steps(read),
        next_steps_at: next_steps_at(read),
        theme: Theme {
            colors: colors::colors(read),
            logo: file(read, "page.theme.logo", &["svg", "png", "webp"]),
            font: file(read, "page.theme.font", &["woff2"]),
            font_bold: font_bold(read),
            footer: footer(read, "page.theme.footer"),
            footer_zh: footer(read, "page.theme.footer_zh"),
        },
        push: push(read),
    }
}

fn push(read: &mut SettingsReader<'_>) -> Option<PushSettings> {
    const KEY: &str = "page.push.key";
    const CONTACT: &str = "page.push.contact";
    if !read.is_set(KEY) {
        return None;
    }
    let key = read.secret(KEY)?;
    if VapidKey::parse(key.expose_secret()).is_none() {
        read.fault(KEY, "must be a private key of P-256, which is 32 bytes in base64url");
    }
    let contact = read.text(CONTACT).unwrap_or_default();
    let is_contact = contact.strip_prefix("mailto:").is_some_and(|rest| rest.contains('@'))
        || contact.strip_prefix("https://").is_some_and(|rest| !rest.is_empty());
    if !is_contact || !contact.bytes().all(|byte| byte.is_ascii_graphic()) {
        read.fault(CONTACT, "must be like mailto:shop@example.com or https://shop.example");
    }
    Some(PushSettings { key, contact })
}

fn time_zone(read: &mut SettingsReader<'_>) -> Option<String> {
    let name = read.text("page.time_zone")?;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-/".contains(&byte);
    if !name.as_bytes().first().is_some_and(u8::is_ascii_alphabetic) || !name.bytes().all(is_part) {
        read.fault("page.time_zone", "is not the name of a time zone; write it like Asia/Shanghai");
    }
    Some(name)
}

fn next_steps(read: &mut SettingsReader<'_>) -> NextSteps {
    let mut text = |path| {
        let text = read.text(path)?;
        if text.chars().count() > NEXT_STEPS_CHARS_MAX {
            let detail = format!("must have at most {NEXT_STEPS_CHARS_MAX} characters");
            read.fault(path, detail);
        }
        Some(text)
    };
    NextSteps { text: text("page.next_steps"), zh: text("page.next_steps_zh") }
}

fn next_steps_at(read: &mut SettingsReader<'_>) -> Option<Time> {
    let wrong = "is not a time with its offset; write it like 2026-12-01T10:00:00+08:00";
    let text = read.text("page.next_steps_at")?;
    Time::parse(&text).or_else(|| read.refuse("page.next_steps_at", wrong))
}

/// Reads the font of bold texts. If it is set, the font of the other texts must also be set.
/// Otherwise, a page would mix the shop's bold font with the default font.
fn font_bold(read: &mut SettingsReader<'_>) -> Option<ThemeFile> {
    const BOLD: &str = "page.theme.font_bold";
    if read.is_set(BOLD) && !read.is_set("page.theme.font") {
        read.fault(BOLD, "needs page.theme.font; set both settings, or remove this one");
    }
    file(read, BOLD, &["woff2"])
}

fn file(
    read: &mut SettingsReader<'_>,
    path: &'static str,
    extensions: &[&str],
) -> Option<ThemeFile> {
    let file = PathBuf::from(read.text(path)?);
    let extension = file.extension().and_then(|name| name.to_str()).unwrap_or_default();
    if !extensions.contains(&extension) {
        return read.refuse(
            path,
            format!("must name a file that ends with .{}", extensions.join(" or .")),
        );
    }
    let size = std::fs::metadata(&file).map(|about| about.len());
    let bytes = match size {
        Ok(size) if size > FILE_BYTES_MAX => {
            return read.refuse(path, format!("names a file of more than {FILE_BYTES_MAX} bytes"));
        }
        Ok(_) => std::fs::read(&file),
        Err(error) => Err(error),
    };
    match bytes {
        Ok(bytes) => Some(ThemeFile { extension: extension.to_owned(), bytes }),
        Err(error) => read.refuse(path, format!("cannot read {}: {error}", file.display())),
    }
}

fn footer(read: &mut SettingsReader<'_>, path: &'static str) -> Vec<(String, String)> {
    let mut links = Vec::new();
    for text in read.list(path).unwrap_or_default() {
        match text.split_once('=').map(|(name, url)| (name.trim(), url.trim())) {
            Some((name, url)) if !name.is_empty() && is_link(url) => {
                links.push((name.to_owned(), url.to_owned()));
            }
            _ => read.fault(
                path,
                format!(
                    "{text:?} is not a link; write it like Imprint=https://shop.example/imprint"
                ),
            ),
        }
    }
    if links.len() > FOOTER_LINKS_MAX {
        read.fault(path, format!("must have at most {FOOTER_LINKS_MAX} links"));
    }
    links
}
