//! Renders the start of a sale as an entry for a buyer's calendar.

use std::fmt::Write;

use doorbuster_api::sale::Sale;
use doorbuster_api::value::{Text, Time};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Shop;

/// The maximum length of a line of an entry, in bytes (RFC 5545, 3.1).
const LINE_BYTES_MAX: usize = 75;
/// The highest version number in an entry. Some calendars read the version as a 32-bit integer, so
/// a higher version is written as this number.
const SEQUENCE_MAX: u64 = i32::MAX as u64;
/// The maximum number of languages in a request. The server ignores further languages.
const LANGUAGES_MAX: usize = 16;

#[derive(Clone, Copy, Debug)]
pub(crate) struct CalendarEntry<'a> {
    /// The sale.
    pub sale: &'a Sale,
    /// When the sale opens.
    pub starts_at: Time,
    /// A number that rises with every change of the sale.
    pub version: u64,
    /// Whether the sale was closed before it opened.
    pub is_cancelled: bool,
    /// The time at which the server writes the entry.
    pub now: Time,
    /// The shop. If the settings have no address of the shop, the address is the host of the
    /// request.
    pub shop: Shop<'a>,
}

impl CalendarEntry<'_> {
    /// Returns the calendar entry (RFC 5545), with a reminder ten minutes before the sale's start.
    /// `languages` are in order of preference. All entries of a sale have the same UID. So a newer
    /// entry that a buyer adds to a calendar replaces the older entry.
    pub(crate) fn text(&self, languages: &[String]) -> String {
        let CalendarEntry { sale, starts_at, shop, .. } = *self;
        let title = in_language(&sale.title, languages);
        let host = shop.url.and_then(|url| url.split("://").nth(1)).unwrap_or("doorbuster");
        let (start, now) = (stamp(starts_at), stamp(self.now));
        let mut lines = vec![
            "BEGIN:VCALENDAR".to_owned(),
            "VERSION:2.0".to_owned(),
            "PRODID:-//Doorbuster//EN".to_owned(),
            "BEGIN:VEVENT".to_owned(),
            format!("UID:{}@{host}", sale.id),
            format!("DTSTAMP:{now}"),
            format!("LAST-MODIFIED:{now}"),
            format!("SEQUENCE:{}", self.version.min(SEQUENCE_MAX)),
            format!("DTSTART:{start}"),
        ];
        lines.extend(sale.ends_at.map(|time| format!("DTEND:{}", stamp(time))));
        lines.push(format!("SUMMARY:{}", escaped(&format!("{title} ({})", shop.name))));
        let is_chinese = languages.first().is_some_and(|first| first.starts_with("zh"));
        let local = shop.time_zone.and_then(|zone| local_time(starts_at, zone, is_chinese));
        lines.extend(local.map(|words| format!("DESCRIPTION:{}", escaped(&words))));
        lines.extend(shop.absolute(&format!("/sale/{}", sale.id)).map(|url| format!("URL:{url}")));
        if self.is_cancelled {
            lines.push("STATUS:CANCELLED".to_owned());
        } else {
            let alarm = ["BEGIN:VALARM", "ACTION:DISPLAY", "TRIGGER:-PT10M"];
            lines.extend(alarm.map(str::to_owned));
            lines.push(format!("DESCRIPTION:{}", escaped(title)));
            lines.push("END:VALARM".to_owned());
        }
        lines.extend(["END:VEVENT", "END:VCALENDAR"].map(str::to_owned));
        lines.iter().map(|line| folded(line)).collect()
    }
}

fn stamp(time: Time) -> String {
    Timestamp::from_millisecond(time.millis())
        .map(|time| time.strftime("%Y%m%dT%H%M%SZ").to_string())
        .unwrap_or_default()
}

/// Returns a text with the start in the shop's time zone. The calendar itself shows the start only
/// in the reader's zone. Returns `None` if this machine has no data about the shop's zone.
fn local_time(starts_at: Time, zone: &str, is_chinese: bool) -> Option<String> {
    let time = Timestamp::from_millisecond(starts_at.millis()).ok()?;
    let local = time.to_zoned(TimeZone::get(zone).ok()?);
    Some(match is_chinese {
        true => format!("店铺时间：{}（{zone}）", local.strftime("%Y年%-m月%-d日 %H:%M")),
        false => format!("Shop’s time: {} ({zone})", local.strftime("%-d %b %Y, %H:%M")),
    })
}

/// Returns the reader's languages in order of preference: first the language in the request's
/// address, then the languages of `Accept-Language`, sorted by weight.
pub(crate) fn languages(in_address: Option<&str>, accept_language: &str) -> Vec<String> {
    let mut weighted: Vec<(String, f32)> = accept_language
        .split(',')
        .take(LANGUAGES_MAX)
        .map(|range| {
            let (tag, parameter) = range.split_once(';').unwrap_or((range, ""));
            let weight = parameter.trim().strip_prefix("q=").and_then(|text| text.parse().ok());
            (tag.trim().to_ascii_lowercase(), weight.unwrap_or(1.0))
        })
        .filter(|(tag, weight)| !tag.is_empty() && *weight > 0.0)
        .collect();
    weighted.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let accepted = weighted.into_iter().map(|(tag, _)| tag);
    in_address.map(str::to_ascii_lowercase).into_iter().chain(accepted).collect()
}

/// Returns the string of `text` for the first language in `languages` that `text` has. If `text`
/// has none of these languages, returns the fallback.
fn in_language<'a>(text: &'a Text, languages: &[String]) -> &'a str {
    let texts = text.in_languages();
    let primary = |tag: &str| tag.split('-').next().unwrap_or_default().to_ascii_lowercase();
    let find = |wanted: &String| {
        let exact =
            texts.iter().find(|(tag, _)| tag.is_some_and(|tag| tag.eq_ignore_ascii_case(wanted)));
        let related =
            || texts.iter().find(|(tag, _)| tag.is_some_and(|tag| primary(tag) == primary(wanted)));
        exact.or_else(related).map(|(_, text)| *text)
    };
    languages.iter().find_map(find).unwrap_or_else(|| text.fallback())
}

/// Line breaks become spaces.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace(',', "\\,").replace(';', "\\;");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Splits a line into pieces of at most 75 bytes. Each piece after the first begins with a space.
fn folded(line: &str) -> String {
    let (mut out, mut bytes) = (String::with_capacity(line.len() + 2), 0);
    for char in line.chars() {
        if bytes + char.len_utf8() > LINE_BYTES_MAX {
            out.push_str("\r\n ");
            bytes = 1;
        }
        bytes += char.len_utf8();
        // Writing to a string cannot fail.
        let _ = out.write_char(char);
    }
    out + "\r\n"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::sale;
    use super::*;

    /// Renders an entry. Joins the pieces of long lines, so that tests can compare whole lines.
    fn entry(
        sale: &Sale,
        change: impl FnOnce(&mut CalendarEntry<'_>),
        languages: &[&str],
    ) -> String {
        let mut entry = CalendarEntry {
            sale,
            starts_at: sale.starts_at.expect("a start"),
            version: 7,
            is_cancelled: false,
            now: Time::parse("2026-11-20T10:00:00Z").expect("a time"),
            shop: Shop { name: "Ora", url: Some("https://shop.example"), time_zone: None },
        };
        change(&mut entry);
        let languages: Vec<_> = languages.iter().map(|tag| (*tag).to_owned()).collect();
        let text = entry.text(&languages);
        assert!(text.split("\r\n").all(|line| line.len() <= LINE_BYTES_MAX), "{text}");
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "{text}");
        text.replace("\r\n ", "")
    }

    #[test]
    fn a_calendar_entry_has_the_start_the_end_and_a_reminder() {
        let mut sale = sale();
        sale.title = format!("灯, lamp;\n\\ {}", "灯x".repeat(60)).into();
        sale.ends_at = Time::parse("2026-11-27T22:00:00Z");
        let title = format!("灯\\, lamp\\; \\\\ {}", "灯x".repeat(60));
        let expected = [
            "BEGIN:VCALENDAR",
            "VERSION:2.0",
            "PRODID:-//Doorbuster//EN",
            "BEGIN:VEVENT",
            "UID:spring@shop.example",
            "DTSTAMP:20261120T100000Z",
            "LAST-MODIFIED:20261120T100000Z",
            "SEQUENCE:7",
            "DTSTART:20261127T200000Z",
            "DTEND:20261127T220000Z",
            &format!("SUMMARY:{title} (Ora)"),
            "URL:https://shop.example/sale/spring",
            "BEGIN:VALARM",
            "ACTION:DISPLAY",
            "TRIGGER:-PT10M",
            &format!("DESCRIPTION:{title}"),
            "END:VALARM",
            "END:VEVENT",
            "END:VCALENDAR",
            "",
        ];
        assert_eq!(entry(&sale, |_| (), &[]).split("\r\n").collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_cancelled_sale_has_no_reminder_and_keeps_its_uid() {
        let cancelled =
            entry(&sale(), |entry| (entry.is_cancelled, entry.version) = (true, 8), &[]);
        for part in ["UID:spring@shop.example\r\n", "SEQUENCE:8\r\n", "STATUS:CANCELLED\r\n"] {
            assert!(cancelled.contains(part), "{part}: {cancelled}");
        }
        assert!(!cancelled.contains("VALARM"), "{cancelled}");
        let large = entry(&sale(), |entry| entry.version = u64::MAX, &[]);
        assert!(large.contains("SEQUENCE:2147483647\r\n"), "{large}");
    }

    #[test]
    fn an_entry_has_the_readers_language_and_the_shops_time() {
        let mut sale = sale();
        sale.title =
            serde_json::from_value(json!({"en": "Spring", "zh-Hant": "春"})).expect("texts");
        let at = |languages: &[&str]| {
            entry(&sale, |entry| entry.shop.time_zone = Some("Asia/Shanghai"), languages)
        };
        let chinese = at(&["fr", "zh"]);
        assert!(chinese.contains("SUMMARY:春 (Ora)"), "{chinese}");
        assert!(
            chinese.contains("DESCRIPTION:Shop’s time: 28 Nov 2026\\, 04:00 (Asia/Shanghai)\r\n")
        );
        let local = at(&["zh"]);
        assert!(
            local.contains("DESCRIPTION:店铺时间：2026年11月28日 04:00（Asia/Shanghai）"),
            "{local}"
        );
        assert!(at(&["fr"]).contains("SUMMARY:Spring (Ora)"));
        let scripts = serde_json::from_value(json!({"zh-Hans": "春", "zh-Hant": "春季"}));
        sale.title = scripts.expect("texts");
        let traditional = entry(&sale, |_| (), &["zh-hant"]);
        assert!(traditional.contains("SUMMARY:春季 (Ora)"), "{traditional}");
        let unknown = entry(&sale, |entry| entry.shop.time_zone = Some("Mars/Base"), &[]);
        assert!(!unknown.contains("Mars"), "{unknown}");
    }

    #[test]
    fn languages_are_ordered_by_the_address_and_then_by_their_weights() {
        assert_eq!(languages(Some("zh"), "en-GB;q=0.5, fr, de;q=0"), ["zh", "fr", "en-gb"]);
        assert!(languages(None, "").is_empty());
    }
}
