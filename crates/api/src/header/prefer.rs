//! Parses `Prefer` (RFC 7240): how long a purchase waits for its verdict.

use super::{elements, split_trimmed, unquote};
use crate::limits::{WAIT_SECS_DEFAULT, WAIT_SECS_MAX};

/// How long to wait for the verdict before answering `202`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefer {
    /// Do not wait: answer `202` as soon as the request is accepted.
    RespondAsync,
    /// Wait up to this number of seconds, 0 to 30.
    Wait(u32),
}

impl Default for Prefer {
    fn default() -> Self {
        Self::Wait(WAIT_SECS_DEFAULT)
    }
}

impl Prefer {
    /// Parses all `Prefer` headers. Ignores invalid values and repeated preferences.
    #[must_use]
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut wait = None;
        for element in elements(values) {
            // `respond-async` and `wait` have no parameters, so the text after a semicolon is
            // ignored.
            let (preference, _) = split_trimmed(element, b';');
            let (name, value) = split_trimmed(preference, b'=');
            if name.eq_ignore_ascii_case(b"respond-async") && value.is_empty() {
                return Self::RespondAsync;
            }
            if wait.is_none() && name.eq_ignore_ascii_case(b"wait") {
                wait = Some(seconds(unquote(value)));
            }
        }
        wait.flatten().map_or_else(Self::default, Self::Wait)
    }
}

fn seconds(digits: &[u8]) -> Option<u32> {
    // Only digits are valid, but `str::parse` would also accept a plus sign.
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let number = plain
        .then_some(digits)
        .and_then(|digits| std::str::from_utf8(digits).ok())?
        .parse()
        .ok()?;
    (number <= WAIT_SECS_MAX).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_of_zero_to_thirty_seconds_counts_and_anything_else_is_ignored() {
        let check = |values: &[&str], expected: Prefer| {
            let found = Prefer::parse(values.iter().map(|value| value.as_bytes()));
            assert_eq!(found, expected, "{values:?}");
        };
        let default = Prefer::Wait(2);
        check(&[], default);
        check(&["wait=5"], Prefer::Wait(5));
        check(&["Wait = 0"], Prefer::Wait(0));
        check(&["wait=\"30\""], Prefer::Wait(30));
        check(&["wait=7; foo=bar, handling=lenient"], Prefer::Wait(7));
        check(&["handling=lenient", "wait=7"], Prefer::Wait(7));
        check(&["wait=3, wait=4"], Prefer::Wait(3));
        check(&["wait=99, wait=4"], default);
        check(&["wait=31"], default);
        check(&["wait=-1"], default);
        check(&["wait=+1"], default);
        check(&["wait=1.5"], default);
        check(&["wait=99999999999999999999"], default);
        check(&["wait="], default);
        check(&["wait"], default);
        check(&["\u{7f}é"], default);
        check(&["respond-async"], Prefer::RespondAsync);
        check(&["wait=5, Respond-Async"], Prefer::RespondAsync);
        check(&["respond-async=no"], default);
    }
}
