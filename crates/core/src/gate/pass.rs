//! Purchase passes: signed permissions to buy one item during a limited time. Every node can verify
//! a pass by its tag (a keyed hash), without reading the store.
//!
//! A pass has at most [`PASS_BYTES_MAX`] bytes. Its fields are big-endian, with these sizes in
//! bytes:
//!
//! - version (1)
//! - key id (2)
//! - `valid_from` and `expires_at` in milliseconds (6 each)
//! - flags (1): whether the buyer is a member, and whether the pass was issued without a waiting
//!   room
//! - the buyer's level (1)
//! - the buyer's id
//! - tag (16): the first bytes of a keyed hash of the other fields, the sale and the item
//!
//! The pass contains neither the sale nor the item, because a request to purchase names both. If
//! the pass was issued for another sale or item, its tag does not match.
//!
//! Each period of [`PERIOD_MS`] has its own key, derived from a master key. So each derived key
//! signs only for some hours. A deployment may have several master keys: the first key signs
//! passes, and all keys verify passes.

use crate::value::Millis;

/// How long one derived key signs new passes, in milliseconds.
pub const PERIOD_MS: i64 = 2 * 3_600_000;
/// How long before the opening the server starts to issue passes, in milliseconds. This keeps the
/// load of issuing passes out of the second in which the sale opens.
pub const ISSUE_EARLY_MS: i64 = 60_000;
/// The longest time between `valid_from` and `expires_at`, in milliseconds.
pub const TTL_MAX_MS: i64 = 3_600_000;
/// The largest size of a pass, in bytes.
pub const PASS_BYTES_MAX: usize = HEAD_BYTES + NAME_MAX + TAG_BYTES;

const NAME_MAX: usize = crate::limits::NAME_BYTES_MAX;
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 17;
const TAG_BYTES: usize = 16;
/// The two bits of the flags byte. `MEMBER`: the buyer is a member. `WITHOUT_ROOM`: the pass was
/// issued without a waiting room.
const MEMBER: u8 = 1;
const WITHOUT_ROOM: u8 = 2;
/// The largest size of the signed message, in bytes: the head, the buyer, the sale and the item.
const MESSAGE_BYTES_MAX: usize = HEAD_BYTES + 3 * NAME_MAX + 3;

const _: () = assert!(
    ISSUE_EARLY_MS + TTL_MAX_MS < PERIOD_MS,
    "a pass must expire at the latest in the period after its key's period"
);

/// A buyer's membership and level, from the shop's token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Whether the buyer is a member.
    pub member: bool,
    /// The buyer's level.
    pub level: u8,
}

/// The contents of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassTerms<'a> {
    /// The buyer.
    pub buyer: &'a str,
    /// The buyer's membership and level when the pass was issued.
    pub membership: Membership,
    /// Whether the pass was issued while no waiting room was open. While a waiting room is open,
    /// such a pass is refused.
    pub issued_without_room: bool,
    /// When the pass starts to be valid.
    pub valid_from: Millis,
    /// When the pass expires.
    pub expires_at: Millis,
}

/// Returns the period that contains `now`.
#[must_use]
pub fn period(now: Millis) -> i64 {
    now.0.div_euclid(PERIOD_MS)
}

/// The key of one period, derived from a master key.
#[derive(Clone)]
pub struct PassKey {
    id: u16,
    key: [u8; 32],
}

impl PassKey {
    /// Derives the key of `period` from `master`.
    #[must_use]
    pub fn derive(master: &[u8; 32], period: i64) -> Self {
        let mut material = [0; 40];
        material[..32].copy_from_slice(master);
        material[32..].copy_from_slice(&period.to_be_bytes());
        let key = blake3::derive_key("doorbuster 2026 purchase pass", &material);
        let id = blake3::derive_key("doorbuster 2026 purchase pass key id", &key);
        Self { id: u16::from_be_bytes([id[0], id[1]]), key }
    }

    /// Returns this key's id, which is in each pass that the key signs. If a pass has another id,
    /// this key did not sign the pass, so the tag need not be computed. If the ids are equal, the
    /// tag must still be checked, because two keys may have the same id.
    #[must_use]
    pub const fn id(&self) -> u16 {
        self.id
    }

    fn tag(&self, head: &[u8], sale: &str, item: &str) -> [u8; TAG_BYTES] {
        let mut message = [0; MESSAGE_BYTES_MAX];
        let mut len = 0;
        let mut put = |bytes: &[u8]| {
            message[len..len + bytes.len()].copy_from_slice(bytes);
            len += bytes.len();
        };
        put(head);
        for name in [sale, item] {
            put(&[u8::try_from(name.len()).expect("names have at most 64 bytes")]);
            put(name.as_bytes());
        }
        let hash = blake3::keyed_hash(&self.key, &message[..len]);
        hash.as_bytes()[..TAG_BYTES].try_into().expect("a hash has more bytes than a tag")
    }

    /// Issues a pass for `item` of `sale`. The names of the buyer, the sale and the item must be
    /// valid, and have at most 64 bytes each.
    #[must_use]
    pub fn sign(&self, terms: &PassTerms<'_>, sale: &str, item: &str) -> Vec<u8> {
        let mut pass = Vec::with_capacity(HEAD_BYTES + terms.buyer.len() + TAG_BYTES);
        pass.push(VERSION);
        pass.extend_from_slice(&self.id.to_be_bytes());
        for time in [terms.valid_from, terms.expires_at] {
            pass.extend_from_slice(&time.0.to_be_bytes()[2..]);
        }
        let flags = (MEMBER * u8::from(terms.membership.member))
            | (WITHOUT_ROOM * u8::from(terms.issued_without_room));
        pass.extend_from_slice(&[flags, terms.membership.level]);
        pass.extend_from_slice(terms.buyer.as_bytes());
        let tag = self.tag(&pass, sale, item);
        pass.extend_from_slice(&tag);
        pass
    }
}

impl std::fmt::Debug for PassKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("PassKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A pass whose tag is not verified yet.
#[derive(Clone, Copy, Debug)]
pub struct UnverifiedPass<'a> {
    signed: &'a [u8],
    tag: &'a [u8; TAG_BYTES],
    terms: PassTerms<'a>,
}

impl<'a> UnverifiedPass<'a> {
    /// Parses the bytes of a pass. Returns `None` if the bytes are not a pass.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (signed, tag) = bytes.split_last_chunk::<TAG_BYTES>()?;
        let (head, buyer) = signed.split_first_chunk::<HEAD_BYTES>()?;
        if head[0] != VERSION
            || head[15] > MEMBER | WITHOUT_ROOM
            || !(1..=NAME_MAX).contains(&buyer.len())
        {
            return None;
        }
        let time =
            |bytes: &[u8]| Millis(bytes.iter().fold(0, |all, byte| all << 8 | i64::from(*byte)));
        let terms = PassTerms {
            buyer: std::str::from_utf8(buyer).ok()?,
            membership: Membership { member: head[15] & MEMBER != 0, level: head[16] },
            issued_without_room: head[15] & WITHOUT_ROOM != 0,
            valid_from: time(&head[3..9]),
            expires_at: time(&head[9..15]),
        };
        Some(Self { signed, tag, terms })
    }

    /// Returns the contents of the pass. The contents may be forged: only [`Self::is_signed_by`]
    /// proves that they are genuine.
    #[must_use]
    pub const fn terms(&self) -> PassTerms<'a> {
        self.terms
    }

    /// Returns whether `key` signed this pass for `item` of `sale`. Compares the tags in constant
    /// time.
    #[must_use]
    pub fn is_signed_by(&self, key: &PassKey, sale: &str, item: &str) -> bool {
        if self.signed[1..3] != key.id.to_be_bytes() {
            return false;
        }
        let tag = key.tag(self.signed, sale, item);
        tag.iter().zip(self.tag).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: PassTerms<'static> = PassTerms {
        buyer: "anna",
        membership: Membership { member: true, level: 7 },
        issued_without_room: false,
        valid_from: Millis(1_795_168_800_000),
        expires_at: Millis(1_795_168_920_000),
    };

    fn key() -> PassKey {
        PassKey::derive(&[7; 32], 42)
    }

    fn holds(pass: &[u8], key: &PassKey, sale: &str, item: &str) -> bool {
        UnverifiedPass::parse(pass).is_some_and(|pass| pass.is_signed_by(key, sale, item))
    }

    #[test]
    fn a_pass_has_the_terms_that_were_signed() {
        let pass = key().sign(&TERMS, "spring", "phone");
        assert_eq!(UnverifiedPass::parse(&pass).expect("a pass").terms(), TERMS);
        assert!(holds(&pass, &key(), "spring", "phone"));
        for (member, issued_without_room) in [(false, false), (false, true), (true, true)] {
            let terms = PassTerms {
                membership: Membership { member, level: 0 },
                issued_without_room,
                ..TERMS
            };
            let pass = key().sign(&terms, "spring", "phone");
            assert_eq!(UnverifiedPass::parse(&pass).expect("a pass").terms(), terms);
        }
        let longest = "x".repeat(NAME_MAX);
        let pass = key().sign(&PassTerms { buyer: &longest, ..TERMS }, &longest, &longest);
        assert_eq!(pass.len(), PASS_BYTES_MAX);
        assert!(holds(&pass, &key(), &longest, &longest));
    }

    #[test]
    fn a_pass_is_invalid_for_another_sale_or_item() {
        let pass = key().sign(&TERMS, "spring", "phone");
        for (sale, item) in
            [("spring", "case"), ("autumn", "phone"), ("springp", "hone"), ("sprin", "gphone")]
        {
            assert!(!holds(&pass, &key(), sale, item), "{sale} {item}");
        }
    }

    #[test]
    fn a_pass_is_invalid_under_the_key_of_another_period_or_master() {
        let pass = key().sign(&TERMS, "spring", "phone");
        for other in [PassKey::derive(&[7; 32], 43), PassKey::derive(&[8; 32], 42)] {
            assert!(!holds(&pass, &other, "spring", "phone"));
            // The id alone proves nothing: a wrong key with the same id must not verify.
            let disguised = PassKey { id: key().id, ..other };
            assert!(!holds(&pass, &disguised, "spring", "phone"));
        }
    }

    #[test]
    fn a_pass_with_a_changed_bit_or_length_is_invalid() {
        let pass = key().sign(&TERMS, "spring", "phone");
        for bit in 0..pass.len() * 8 {
            let mut bent = pass.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert!(!holds(&bent, &key(), "spring", "phone"), "{bit}");
        }
        for len in 0..pass.len() {
            assert!(!holds(&pass[..len], &key(), "spring", "phone"), "{len}");
        }
        assert!(!holds(&[pass.as_slice(), b"x"].concat(), &key(), "spring", "phone"));
        assert!(UnverifiedPass::parse(&[1; 4_096]).is_none());
    }
}
