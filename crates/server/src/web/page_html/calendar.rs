//! The start of a sale for a buyer's calendar.

use doorbuster_api::sale::Sale;
use doorbuster_api::value::Time;

use super::Shop;

/// Returns a calendar entry (RFC 5545) for the start of a sale, with a reminder ten minutes
/// earlier.
pub(crate) fn calendar(sale: &Sale, starts_at: Time, shop: Shop<'_>) -> String {
    let stamp = |time: Time| {
        jiff::Timestamp::from_millisecond(time.millis())
            .map(|time| time.strftime("%Y%m%dT%H%M%SZ").to_string())
            .unwrap_or_default()
    };
    let plain = |text: &str| {
        let text = text.replace('\\', "\\\\").replace(',', "\\,").replace(';', "\\;");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let start = stamp(starts_at);
    let mut lines = vec![
        "BEGIN:VCALENDAR".to_owned(),
        "VERSION:2.0".to_owned(),
        "PRODID:-//Doorbuster//EN".to_owned(),
        "BEGIN:VEVENT".to_owned(),
        format!("UID:{}@doorbuster", sale.id),
        format!("DTSTAMP:{start}"),
        format!("DTSTART:{start}"),
        format!("SUMMARY:{}", plain(&format!("{} ({})", sale.title, shop.name))),
    ];
    lines.extend(sale.ends_at.map(|time| format!("DTEND:{}", stamp(time))));
    lines.extend(shop.absolute(&format!("/sale/{}", sale.id)).map(|url| format!("URL:{url}")));
    let alarm = ["BEGIN:VALARM", "ACTION:DISPLAY", "TRIGGER:-PT10M"];
    lines.extend(alarm.map(str::to_owned));
    lines.push(format!("DESCRIPTION:{}", plain(sale.title.fallback())));
    lines.extend(["END:VALARM", "END:VEVENT", "END:VCALENDAR"].map(str::to_owned));
    lines.iter().flat_map(|line| folded(line)).collect::<Vec<_>>().join("\r\n") + "\r\n"
}

/// Splits a line into pieces of at most 75 bytes. Each piece after the first begins with a space.
fn folded(line: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for char in line.chars() {
        let last = pieces.last_mut().expect("there is one");
        match last.len() + char.len_utf8() > 75 {
            true => pieces.push(format!(" {char}")),
            false => last.push(char),
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::super::tests::sale;
    use super::*;

    #[test]
    fn a_calendar_entry_has_the_start_in_utc_and_no_line_over_75_bytes() {
        let mut sale = sale();
        sale.title = format!("灯, lamp; {}", "x".repeat(100)).into();
        let shop = Shop { name: "Ora", url: Some("https://shop.example") };
        let starts_at = sale.starts_at.expect("a start");
        let entry = calendar(&sale, starts_at, shop);
        assert!(entry.contains("\r\nDTSTART:20261127T200000Z\r\n"), "{entry}");
        assert!(entry.contains("SUMMARY:灯\\, lamp\\; xxx"), "{entry}");
        assert!(entry.ends_with("END:VCALENDAR\r\n"), "{entry}");
        assert!(entry.split("\r\n").all(|line| line.len() <= 75), "{entry}");
    }
}
