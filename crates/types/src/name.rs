//! Names of buyers, and the keys of their requests. While the server handles a request, it uses
//! [`BuyerName`] and [`PresentedKey`], because these need no allocation.

use std::fmt;
use std::sync::Arc;

/// The largest number of characters in a name or a request key. Each character is one byte.
pub const NAME_BYTES_MAX: usize = 64;

/// Returns whether `text` can name a sale, item or buyer. A name has 1 to 64 characters. Each
/// character is one of `A–Z a–z 0–9 _ . : -`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_allowed)
}

macro_rules! kept_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Returns the text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

kept_text!(
    /// A buyer's id, chosen by the shop. It is a name that [`is_name`] accepts.
    BuyerId
);
kept_text!(
    /// The idempotency key of one request of one buyer: 1 to 64 visible ASCII characters.
    RequestKey
);

impl BuyerId {
    /// The prefix of the names and request keys of erased buyers. The server refuses a token that
    /// contains a name with this prefix.
    pub const ERASED: &str = "erased:";

    /// Returns `text` as a name, or `None` if the text is not a valid name.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        is_name(text).then(|| Self(text.into()))
    }

    /// Returns whether this is the name of an erased buyer.
    #[must_use]
    pub fn is_erased(&self) -> bool {
        self.as_str().starts_with(Self::ERASED)
    }
}

impl RequestKey {
    /// Returns `text` as a key, or `None` if the text is not a valid key.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        PresentedKey::new(text).map(Self::from)
    }
}

/// A request key, borrowed from the request, so that no allocation is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresentedKey<'a>(&'a str);

impl<'a> PresentedKey<'a> {
    /// Returns `text` as a key, or `None` if the text is not a valid key.
    #[must_use]
    pub fn new(text: &'a str) -> Option<Self> {
        let fits = (1..=NAME_BYTES_MAX).contains(&text.len());
        (fits && text.bytes().all(|byte| byte.is_ascii_graphic())).then_some(Self(text))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

impl From<PresentedKey<'_>> for RequestKey {
    fn from(key: PresentedKey<'_>) -> Self {
        Self(key.0.into())
    }
}

/// A buyer's name in a request. The name is stored in an array, so that no allocation is needed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BuyerName {
    bytes: [u8; NAME_BYTES_MAX],
    len: u8,
}

const _: () = assert!(NAME_BYTES_MAX <= u8::MAX as usize);

impl BuyerName {
    /// Returns `text` as a name, or `None` if the text is not valid or is the name of an erased
    /// buyer.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        (is_name(text) && !text.starts_with(BuyerId::ERASED)).then(|| Self::copy(text))
    }

    fn copy(text: &str) -> Self {
        let mut bytes = [0; NAME_BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Self { bytes, len: text.len() as u8 }
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).expect("a name is ASCII")
    }
}

impl From<BuyerName> for BuyerId {
    fn from(name: BuyerName) -> Self {
        Self(name.as_str().into())
    }
}

impl From<&BuyerId> for BuyerName {
    fn from(buyer: &BuyerId) -> Self {
        Self::copy(buyer.as_str())
    }
}

impl fmt::Debug for BuyerName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_to_sixty_four_of_a_small_alphabet() {
        let check = |text: &str, expected: bool| {
            assert_eq!(is_name(text), expected, "{text:?}");
            assert_eq!(BuyerId::new(text).is_some(), expected, "{text:?}");
        };
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

    #[test]
    fn a_stored_name_or_key_equals_the_presented_name_or_key() {
        for text in ["a", "A-z_0.9:x", &"x".repeat(64)] {
            let name = BuyerName::new(text).expect("a name");
            let buyer = BuyerId::from(name);
            assert_eq!((buyer.as_str(), BuyerName::from(&buyer)), (text, name));
            let key = PresentedKey::new(text).expect("a key");
            assert_eq!(RequestKey::from(key).as_str(), key.as_str());
        }
        assert_eq!(BuyerName::new("erased:1"), None);
        assert!(
            ["", "a b", "é", &"k".repeat(65)].iter().all(|text| RequestKey::new(text).is_none())
        );
    }
}
