//! Values of the HTTP contract, parsed once at the edge.

mod money;
mod stock;
mod text;
mod time;

pub(crate) use money::assigned_currency;
pub use money::{Currency, Money};
pub use stock::Stock;
pub(crate) use text::LANGUAGE_PATTERN;
pub use text::{Text, direction, is_language};
pub use time::Time;

use crate::limits::NAME_MAX;

/// Pattern of a name, as a regular expression for the OpenAPI document.
pub const NAME_PATTERN: &str = "^[A-Za-z0-9_.:-]{1,64}$";

/// Whether `text` can be the name of a sale, item or buyer: 1 to 64 of `A–Z a–z 0–9 _ . : -`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_to_sixty_four_of_a_small_alphabet() {
        let check = |text: &str, expected: bool| assert_eq!(is_name(text), expected, "{text:?}");
        check("spring", true);
        check("A-z_0.9:x", true);
        check(&"x".repeat(64), true);
        check(&"x".repeat(65), false);
        check("", false);
        check("a b", false);
        check("a/b", false);
        check("é", false);
        check("a\0", false);
    }
}
