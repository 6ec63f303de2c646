//! Settings of the buyers' pages: the shop's texts and its brand. The colours must have enough
//! contrast, so that a brand cannot make a page unreadable.

use std::path::PathBuf;

use doorbuster_api::value::Time;
use secrecy::{ExposeSecret, SecretString};

use super::check::SettingsReader;
use crate::push::VapidKey;

/// The shop's texts on the buyers' pages, and its brand.
#[derive(Clone, Debug, Default)]
pub struct PageSettings {
    /// The shop's time zone, such as `Asia/Shanghai`.
    pub time_zone: Option<String>,
    /// The shop's own site. The page of a paid order links to it.
    pub shop_url: Option<String>,
    /// The text that tells buyers what happens after a payment.
    pub next_steps: NextSteps,
    /// The time of the next step, such as the time from which buyers can collect their orders.
    pub next_steps_at: Option<Time>,
    /// The brand.
    pub theme: Theme,
    /// Messages to browsers, if the shop set a key.
    pub push: Option<PushSettings>,
}

/// A text of the shop for each language of the pages.
#[derive(Clone, Debug, Default)]
pub struct NextSteps {
    /// The text for a language without a text of its own.
    pub other: Option<String>,
    /// The English text.
    pub en: Option<String>,
    /// The Chinese text.
    pub zh: Option<String>,
}

/// Messages to browsers (web push).
#[derive(Clone, Debug)]
pub struct PushSettings {
    /// The private key that names the shop to push services, in base64url.
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
    /// The logo, which replaces the mark and the shop's name.
    pub logo: Option<ThemeFile>,
    /// The font of all texts.
    pub font: Option<ThemeFile>,
    /// Links at the end of each page. Each has a text and an address.
    pub footer: Vec<(String, String)>,
}

/// Colours as `#rrggbb`, with enough contrast.
#[derive(Clone, Debug)]
pub struct ThemeColors {
    /// The fill colour of buttons and of other controls that a buyer can use now.
    pub accent: String,
    /// The colour of text on the accent.
    pub on_accent: String,
    /// The colour of accented text on a light background.
    pub accent_text: String,
    /// A light background for accented text.
    pub accent_wash: String,
}

/// A file of the shop's brand.
#[derive(Clone, Debug)]
pub struct ThemeFile {
    /// The extension of the file's name, without the dot.
    pub extension: String,
    /// The content.
    pub bytes: Vec<u8>,
}

/// The maximum number of characters of the text that says what happens after a payment.
const NEXT_STEPS_CHARS_MAX: usize = 500;
/// The maximum number of links at the end of each page.
const FOOTER_LINKS_MAX: usize = 8;
/// The maximum number of bytes of a logo or of a font.
const FILE_BYTES_MAX: u64 = 262_144;
/// The lowest allowed contrast of text, from WCAG 2.2 (1.4.3), level AA.
const CONTRAST_MIN: f64 = 4.5;
/// The backgrounds of coloured text in the light scheme; see `look.css`.
const LIGHT_GROUNDS: [&str; 2] = ["#f4f1ea", "#fffdf8"];
/// The background of coloured text in the dark scheme.
const DARK_GROUND: &str = "#1c1912";
/// The part of the accent in the wash of the dark scheme. The rest is the dark background.
pub(crate) const DARK_WASH_PERCENT: u8 = 14;

const COLORS: [&str; 4] = [
    "page.theme.accent",
    "page.theme.on_accent",
    "page.theme.accent_text",
    "page.theme.accent_wash",
];

/// Reads the settings of the pages.
pub(super) fn page(read: &mut SettingsReader<'_>) -> PageSettings {
    PageSettings {
        time_zone: time_zone(read),
        shop_url: shop_url(read),
        next_steps: next_steps(read),
        next_steps_at: next_steps_at(read),
        theme: Theme {
            colors: colors(read),
            logo: file(read, "page.theme.logo", &["svg", "png", "webp"]),
            font: file(read, "page.theme.font", &["woff2"]),
            footer: footer(read),
        },
        push: push(read),
    }
}

/// Reads the key of web push and the shop's contact for push services.
fn push(read: &mut SettingsReader<'_>) -> Option<PushSettings> {
    const KEY: &str = "page.push.key";
    const CONTACT: &str = "page.push.contact";
    if !read.is_set(KEY) {
        return None;
    }
    let key = read.secret(KEY)?;
    if VapidKey::parse(key.expose_secret()).is_none() {
        read.fault(KEY, "is not a private key of P-256: 32 bytes in base64url");
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

fn shop_url(read: &mut SettingsReader<'_>) -> Option<String> {
    let url = read.text("page.shop_url")?;
    if !is_link(&url) {
        read.fault("page.shop_url", LINK_RULE);
    }
    Some(url)
}

const LINK_RULE: &str = "must begin with https://, http:// or /, in visible ASCII";

/// Returns whether a page may link to this address. A browser would take `//host` to another site,
/// and would run `javascript:` as a script.
fn is_link(url: &str) -> bool {
    let absolute = ["https://", "http://"]
        .iter()
        .any(|scheme| url.starts_with(scheme) && url.len() > scheme.len());
    let path = url.starts_with('/') && !url.starts_with("//") && !url.starts_with("/\\");
    url.bytes().all(|byte| byte.is_ascii_graphic()) && (absolute || path)
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
    NextSteps {
        other: text("page.next_steps"),
        en: text("page.next_steps.en"),
        zh: text("page.next_steps.zh"),
    }
}

fn next_steps_at(read: &mut SettingsReader<'_>) -> Option<Time> {
    let time = Time::parse(&read.text("page.next_steps_at")?);
    if time.is_none() {
        read.fault(
            "page.next_steps_at",
            "is not a time with its offset; write it like 2026-12-01T10:00:00+08:00",
        );
    }
    time
}

/// Reads the four colours. The settings must have all four colours, or no colour.
fn colors(read: &mut SettingsReader<'_>) -> Option<ThemeColors> {
    let texts = COLORS.map(|path| read.text(path));
    if texts.iter().all(Option::is_none) {
        return None;
    }
    let mut is_complete = true;
    for (path, text) in COLORS.into_iter().zip(&texts) {
        match text {
            None => read.fault(path, "is missing; set all four colours of page.theme, or none"),
            Some(text) if luminance(text).is_none() => {
                read.fault(path, "is not a colour; write it like #ffb000");
            }
            Some(_) => continue,
        }
        is_complete = false;
    }
    let [accent, on_accent, accent_text, accent_wash] = texts.map(Option::unwrap_or_default);
    if is_complete {
        let dark_wash = mixed(&accent, DARK_GROUND, DARK_WASH_PERCENT);
        let pairs = [
            (COLORS[1], &*on_accent, "page.theme.accent", &*accent),
            (COLORS[2], &*accent_text, "page.theme.accent_wash", &*accent_wash),
            (COLORS[2], &*accent_text, "the light page", LIGHT_GROUNDS[0]),
            (COLORS[2], &*accent_text, "the light card", LIGHT_GROUNDS[1]),
            (COLORS[0], &*accent, "the dark card", DARK_GROUND),
            (COLORS[0], &*accent, "the dark wash", &*dark_wash),
        ];
        for (path, text, name, ground) in pairs {
            let contrast = contrast(text, ground);
            if contrast < CONTRAST_MIN {
                read.fault(
                    path,
                    format!(
                        "{text} has a contrast of {contrast:.1} on {name} ({ground}); choose a \
                         colour with a contrast of at least {CONTRAST_MIN}"
                    ),
                );
            }
        }
    }
    Some(ThemeColors { accent, on_accent, accent_text, accent_wash })
}

/// Returns the red, green and blue parts of `#rrggbb`.
fn parts(color: &str) -> Option<[u8; 3]> {
    let digits = color.strip_prefix('#').filter(|digits| digits.len() == 6 && digits.is_ascii())?;
    let part = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).ok();
    Some([part(0)?, part(2)?, part(4)?])
}

/// Mixes `percent` of a colour with a ground, as `color-mix(in srgb, …)` does.
fn mixed(color: &str, ground: &str, percent: u8) -> String {
    let (color, ground) = (parts(color).unwrap_or_default(), parts(ground).unwrap_or_default());
    let share = u16::from(percent);
    let mix = |at: usize| {
        (u16::from(color[at]) * share + u16::from(ground[at]) * (100 - share) + 50) / 100
    };
    format!("#{:02x}{:02x}{:02x}", mix(0), mix(1), mix(2))
}

/// Returns the relative luminance of `#rrggbb`, from 0 to 1.
fn luminance(color: &str) -> Option<f64> {
    let light = |part: u8| {
        let share = f64::from(part) / 255.0;
        if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
    };
    let [red, green, blue] = parts(color)?.map(light);
    Some(0.2126 * red + 0.7152 * green + 0.0722 * blue)
}

/// Returns the contrast of two colours, from 1 to 21. WCAG 2.2 defines it as "contrast ratio".
fn contrast(one: &str, other: &str) -> f64 {
    let (one, other) = (luminance(one).unwrap_or(0.0), luminance(other).unwrap_or(0.0));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// Reads a file of the shop.
fn file(
    read: &mut SettingsReader<'_>,
    path: &'static str,
    extensions: &[&str],
) -> Option<ThemeFile> {
    let file = PathBuf::from(read.text(path)?);
    let extension = file.extension().and_then(|name| name.to_str()).unwrap_or_default();
    if !extensions.contains(&extension) {
        read.fault(path, format!("must name a file that ends with .{}", extensions.join(" or .")));
        return None;
    }
    let size = std::fs::metadata(&file).map(|about| about.len());
    let bytes = match size {
        Ok(size) if size > FILE_BYTES_MAX => {
            read.fault(path, format!("names a file of more than {FILE_BYTES_MAX} bytes"));
            return None;
        }
        Ok(_) => std::fs::read(&file),
        Err(error) => Err(error),
    };
    match bytes {
        Ok(bytes) => Some(ThemeFile { extension: extension.to_owned(), bytes }),
        Err(error) => {
            read.fault(path, format!("cannot read {}: {error}", file.display()));
            None
        }
    }
}

fn footer(read: &mut SettingsReader<'_>) -> Vec<(String, String)> {
    let mut links = Vec::new();
    for text in read.list("page.theme.footer").unwrap_or_default() {
        match text.split_once('=').map(|(name, url)| (name.trim(), url.trim())) {
            Some((name, url)) if !name.is_empty() && is_link(url) => {
                links.push((name.to_owned(), url.to_owned()));
            }
            _ => read.fault(
                "page.theme.footer",
                format!(
                    "{text:?} is not a link; write it like Imprint=https://shop.example/imprint"
                ),
            ),
        }
    }
    if links.len() > FOOTER_LINKS_MAX {
        read.fault("page.theme.footer", format!("must have at most {FOOTER_LINKS_MAX} links"));
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contrast_is_measured_as_wcag_defines_it() {
        let check = |one: &str, other: &str, expected: f64| {
            let found = contrast(one, other);
            assert!((found - expected).abs() < 0.01, "{one} on {other}: {found}");
        };
        check("#000000", "#ffffff", 21.0);
        check("#777777", "#ffffff", 4.48);
        check("#767676", "#ffffff", 4.54);
        check("#1b1400", "#1b1400", 1.0);
        assert_eq!(mixed("#ffb000", "#1c1912", 14), "#3c2e0f");
        assert_eq!(luminance("#12345"), None);
        assert_eq!(luminance("red"), None);
        assert_eq!(luminance("#äöü"), None);
    }
}
