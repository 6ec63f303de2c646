//! Parses `If-Match` and `If-None-Match`, which name versions of an object.

use super::elements;

/// Whether a change may proceed: the request has no `If-Match`, or one of the `values` matches the
/// present version `etag`. A weak tag never matches.
#[must_use]
pub fn if_match<'a>(values: impl IntoIterator<Item = &'a [u8]>, etag: &str) -> bool {
    let mut values = values.into_iter().peekable();
    values.peek().is_none() || elements(values).any(|tag| tag == b"*" || tag == etag.as_bytes())
}

/// Whether the caller already has the version `etag`, according to the `values` of `If-None-Match`.
/// A weak tag also matches.
#[must_use]
pub fn if_none_match<'a>(values: impl IntoIterator<Item = &'a [u8]>, etag: &str) -> bool {
    elements(values)
        .any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_proceeds_without_if_match_or_with_the_present_tag() {
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
    fn if_none_match_matches_the_present_tag() {
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
