//! Parses `Accept`: whether a caller accepts the media type of a response.

use super::{elements, split_trimmed};

/// Whether a caller with these `Accept` headers accepts the media type `served`. An absent or empty
/// header accepts everything.
#[must_use]
pub fn accepts<'a>(values: impl IntoIterator<Item = &'a [u8]>, served: &str) -> bool {
    let mut best: Option<(u8, bool)> = None;
    for element in elements(values) {
        let (range, parameters) = split_trimmed(element, b';');
        let Some(precision) = precision(range, served.as_bytes()) else {
            best = best.or(Some((0, false)));
            continue;
        };
        // If several ranges match, the most specific range decides (RFC 9110, section 12.5.1).
        if best.is_none_or(|(known, _)| precision > known) {
            best = Some((precision, !is_refused(parameters)));
        }
    }
    best.is_none_or(|(_, taken)| taken)
}

/// Whether one of these `Accept` headers names `served` itself, not only a range such as `*/*`. A
/// browser that opens a page names `text/html`.
#[must_use]
pub fn accepts_explicitly<'a>(values: impl IntoIterator<Item = &'a [u8]>, served: &str) -> bool {
    elements(values).any(|element| {
        let (range, parameters) = split_trimmed(element, b';');
        range.eq_ignore_ascii_case(served.as_bytes()) && !is_refused(parameters)
    })
}

/// How specifically `range` matches `served`: 3 for an equal media type, 2 for a range like
/// `text/*`, 1 for `*/*`, and `None` without a match.
fn precision(range: &[u8], served: &[u8]) -> Option<u8> {
    let (first, second) = split_trimmed(range, b'/');
    let (kind, _) = split_trimmed(served, b'/');
    if range.eq_ignore_ascii_case(served) {
        Some(3)
    } else if second == b"*" && first.eq_ignore_ascii_case(kind) {
        Some(2)
    } else if range == b"*/*" || range == b"*" {
        Some(1)
    } else {
        None
    }
}

/// Whether the parameters of a range contain a weight of 0.
fn is_refused(parameters: &[u8]) -> bool {
    parameters.split(|byte| *byte == b';').any(|parameter| {
        let (name, value) = split_trimmed(parameter.trim_ascii(), b'=');
        let digits = value.strip_prefix(b"0").map(|rest| rest.strip_prefix(b".").unwrap_or(rest));
        name.eq_ignore_ascii_case(b"q")
            && digits.is_some_and(|rest| rest.iter().all(|byte| *byte == b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_accept_that_names_html_requests_a_page() {
        let check = |values: &[&str], expected: bool| {
            let found =
                accepts_explicitly(values.iter().map(|value| value.as_bytes()), "text/html");
            assert_eq!(found, expected, "{values:?}");
        };
        check(&["text/html,application/xhtml+xml,*/*;q=0.8"], true);
        check(&["application/json", "TEXT/HTML; q=0.1"], true);
        check(&["text/html;q=0"], false);
        check(&["*/*"], false);
        check(&["text/*"], false);
        check(&["application/json"], false);
        check(&[], false);
    }

    #[test]
    fn a_caller_accepts_json_unless_its_accept_excludes_it() {
        let check = |values: &[&str], expected: bool| {
            let found = accepts(values.iter().map(|value| value.as_bytes()), "application/json");
            assert_eq!(found, expected, "{values:?}");
        };
        check(&[], true);
        check(&[""], true);
        check(&["*/*"], true);
        check(&["application/json"], true);
        check(&["Application/JSON;q=0.5"], true);
        check(&["application/*"], true);
        check(&["text/html,application/xhtml+xml,*/*;q=0.8"], true);
        check(&["text/html", "application/json"], true);
        check(&["text/html"], false);
        check(&["text/*, image/png"], false);
        check(&["application/json;q=0"], false);
        check(&["application/json;q=0.000, */*"], false);
        check(&["*/*;q=0"], false);
        check(&["application/json, */*;q=0"], true);
    }
}
