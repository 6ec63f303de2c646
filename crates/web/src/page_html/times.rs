//! Writes times in the shop's time zone, for people who read a page without its script.

use doorbuster_api::value::Time;
use jiff::Timestamp;
use jiff::tz::TimeZone;

pub(super) fn tag(time: Time, zone: Option<&str>) -> String {
    format!("<time datetime=\"{time}\">{}</time>", words(time, zone))
}

/// Returns a text such as `28 Nov 2026, 04:00 UTC+08:00`. If the zone is missing or unknown, the
/// text has the time in UTC.
pub(super) fn words(time: Time, zone: Option<&str>) -> String {
    let Ok(instant) = Timestamp::from_millisecond(time.millis()) else {
        return time.to_string();
    };
    match zone.and_then(|zone| TimeZone::get(zone).ok()) {
        Some(zone) => instant.to_zoned(zone).strftime("%-d %b %Y, %H:%M UTC%:z").to_string(),
        None => instant.strftime("%-d %b %Y, %H:%M UTC").to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_the_shops_zone_or_utc() {
        let time: Time = serde_json::from_str("\"2026-11-27T20:00:00.000Z\"").expect("a time");
        assert_eq!(words(time, None), "27 Nov 2026, 20:00 UTC");
        assert_eq!(words(time, Some("Asia/Shanghai")), "28 Nov 2026, 04:00 UTC+08:00");
        assert_eq!(words(time, Some("Mars/Base")), "27 Nov 2026, 20:00 UTC");
        assert_eq!(
            tag(time, None),
            "<time datetime=\"2026-11-27T20:00:00.000Z\">27 Nov 2026, 20:00 UTC</time>"
        );
    }
}
