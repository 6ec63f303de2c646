//! `If-Match` and `If-None-Match`: whether a thing is still what its reader saw.

use super::elements;

/// Whether a change may go ahead: `values` are those of `If-Match`, `etag` is the present one, with
/// its quotes. No header: yes. A weak tag never matches.
#[must_use]
pub fn if_match<'a>(values: impl IntoIterator<Item = &'a [u8]>, etag: &str) -> bool {
    let mut values = values.into_iter().peekable();
    values.peek().is_none() || elements(values).any(|tag| tag == b"*" || tag == etag.as_bytes())
}

/// Whether the reader already has it: `values` are those of `If-None-Match`. A weak tag matches
/// too.
#[must_use]
pub fn if_none_match<'a>(values: impl IntoIterator<Item = &'a [u8]>, etag: &str) -> bool {
    elements(values)
        .any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_goes_ahead_when_nothing_or_the_present_tag_is_asked_for() {
        let check = |values: &[&str], expected: bool| {
            assert_eq!(
                if_match(values.iter().map(|value| value.as_bytes()), "\"v3\""),
                expected,
                "{values:?}"
            );
        };
        check(&[], true);
        check(&["\"v3\""], true);
        check(&["\"v1\", \"v3\""], true);
        check(&["\"v1\"", "\"v3\""], true);
        check(&["*"], true);
        check(&["\"v2\""], false);
        check(&["W/\"v3\""], false);
        check(&["v3"], false);
        check(&[""], false);
    }

    #[test]
    fn a_reader_has_it_when_the_present_tag_is_named() {
        let check = |values: &[&str], expected: bool| {
            assert_eq!(
                if_none_match(values.iter().map(|value| value.as_bytes()), "\"v3\""),
                expected,
                "{values:?}"
            );
        };
        check(&[], false);
        check(&["\"v3\""], true);
        check(&["W/\"v3\""], true);
        check(&["*"], true);
        check(&["\"v2\""], false);
    }
}
