//! Ticket ids, which are also order ids. An id contains all values of its ticket that the store
//! needs, and a MAC. So the store can decide the ticket even if its slot lost the ticket.
use std::fmt;

use crate::ticket::{RequestHash, Ticket};
use crate::value::{BuyerId, GrantId, Millis, RequestKey, TicketN, Token, Units};

const BYTES: usize = 39;
const SIGNED_BYTES: usize = 31;
const PREFIX: &str = "ord_";
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const TEXT_BYTES: usize = PREFIX.len() + BYTES / 3 * 4;

/// The id of a ticket, and of the order that the ticket may become.
///
/// An id has 39 bytes, big-endian (byte counts in parentheses): `decide_by` in milliseconds (6),
/// token (6), grant (8), `n` (5), units (3), the first bytes of the request's hash (3), and a keyed
/// MAC of these fields and the buyer (8). Ids sort by `decide_by`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TicketId([u8; BYTES]);

/// The values in a ticket id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TicketParts {
    /// See [`Ticket::decide_by`].
    pub decide_by: Millis,
    /// See [`Ticket::token`].
    pub token: Token,
    /// The grant that the ticket was issued from.
    pub grant: GrantId,
    /// The ticket's number under that grant.
    pub n: TicketN,
    /// The units that the ticket deducted.
    pub units: Units,
    /// The first 3 bytes of the request's hash.
    pub request: u32,
}

impl TicketId {
    /// Parses the text form without verifying the MAC.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let body = text.strip_prefix(PREFIX)?.as_bytes();
        if body.len() != TEXT_BYTES - PREFIX.len() {
            return None;
        }
        let mut bytes = [0; BYTES];
        for (four, three) in body.chunks_exact(4).zip(bytes.chunks_exact_mut(3)) {
            let mut word = 0u32;
            for &c in four {
                word = word << 6 | u32::from(sextet(c)?);
            }
            three.copy_from_slice(&word.to_be_bytes()[1..]);
        }
        Some(Self(bytes))
    }

    /// Returns the text form, without allocating.
    #[must_use]
    pub fn text(&self) -> TicketIdText {
        let mut text = [0; TEXT_BYTES];
        text[..PREFIX.len()].copy_from_slice(PREFIX.as_bytes());
        for (three, four) in self.0.chunks_exact(3).zip(text[PREFIX.len()..].chunks_exact_mut(4)) {
            let word = u32::from_be_bytes([0, three[0], three[1], three[2]]);
            for (i, c) in four.iter_mut().enumerate() {
                *c = ALPHABET[(word >> (18 - 6 * i) & 63) as usize];
            }
        }
        TicketIdText(text)
    }

    /// Returns the values in the id, without verifying the MAC. Returns `None` if the number of
    /// units is out of range, because no valid id has such a number.
    #[must_use]
    pub fn parts(&self) -> Option<TicketParts> {
        let b = &self.0;
        Some(TicketParts {
            decide_by: Millis(from_be_bytes(&b[0..6]) as i64),
            token: Token(from_be_bytes(&b[6..12])),
            grant: GrantId(from_be_bytes(&b[12..20])),
            n: TicketN(from_be_bytes(&b[20..25])),
            units: Units::new(from_be_bytes(&b[25..28]) as u32)?,
            request: from_be_bytes(&b[28..31]) as u32,
        })
    }
}

fn from_be_bytes(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |acc, &b| acc << 8 | u64::from(b))
}

fn sextet(c: u8) -> Option<u8> {
    Some(match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    })
}

impl fmt::Display for TicketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_str())
    }
}

impl fmt::Debug for TicketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text form of a [`TicketId`], without a heap allocation.
#[derive(Clone, Copy)]
pub struct TicketIdText([u8; TEXT_BYTES]);

impl TicketIdText {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("the alphabet is ASCII")
    }
}

/// The deployment's key for ids and request hashes. Every node and every settler has the same key.
#[derive(Clone)]
pub struct IdKey([u8; 32]);

impl IdKey {
    /// Makes a key from 32 secret bytes.
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// Returns the secret bytes. With them, another process of the deployment creates the same key.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0
    }

    /// Returns 16 hexadecimal digits that identify this key. The store keeps these digits, so that
    /// it recognizes a wrong key. Nobody can compute the key from the digits.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"fingerprint\0");
        format!("{:016x}", first_16_bytes(&hasher) >> 64)
    }

    /// Returns the keyed hash by which slots and nodes remember a buyer's request.
    #[must_use]
    pub fn request_hash(&self, buyer: &str, key: &str) -> RequestHash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"request\0").update(buyer.as_bytes()).update(b"\0").update(key.as_bytes());
        RequestHash(first_16_bytes(&hasher))
    }

    /// Returns the keyed hash by which a slot remembers a buyer, to count the buyer's units.
    #[must_use]
    pub fn buyer_hash(&self, buyer: &str) -> u64 {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"buyer\0").update(buyer.as_bytes());
        first_16_bytes(&hasher) as u64
    }

    /// Returns the name that replaces an erased buyer's name. The same buyer always gets the same
    /// name. Without this key, nobody can find out which buyer's name was replaced.
    #[must_use]
    pub fn erased_buyer(&self, buyer: &BuyerId) -> BuyerId {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"erased buyer\0").update(buyer.as_str().as_bytes());
        let name = format!("{}{:032x}", BuyerId::ERASED, first_16_bytes(&hasher));
        BuyerId::new(&name).expect("the erased name is valid")
    }

    /// Returns the text that replaces a request key of an erased buyer. Like names, request keys
    /// are replaced, because they may contain personal data.
    #[must_use]
    pub fn erased_key(&self, buyer: &BuyerId, key: &str) -> RequestKey {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher
            .update(b"erased key\0")
            .update(buyer.as_str().as_bytes())
            .update(b"\0")
            .update(key.as_bytes());
        let name = format!("{}{:032x}", BuyerId::ERASED, first_16_bytes(&hasher));
        RequestKey::new(&name).expect("39 visible bytes")
    }

    /// Returns the id of an issued ticket.
    #[must_use]
    pub fn id_of(&self, ticket: &Ticket) -> TicketId {
        let parts = TicketParts {
            decide_by: ticket.decide_by,
            token: ticket.token,
            grant: ticket.grant,
            n: ticket.n,
            units: ticket.units,
            request: self.request_hash(ticket.buyer.as_str(), ticket.key.as_str()).id_bits(),
        };
        self.sign(&parts, ticket.buyer.as_str())
    }

    /// Returns the id with these values, for this buyer.
    #[must_use]
    pub fn sign(&self, parts: &TicketParts, buyer: &str) -> TicketId {
        let mut b = [0; BYTES];
        b[0..6].copy_from_slice(&parts.decide_by.0.to_be_bytes()[2..]);
        b[6..12].copy_from_slice(&parts.token.0.to_be_bytes()[2..]);
        b[12..20].copy_from_slice(&parts.grant.0.to_be_bytes());
        b[20..25].copy_from_slice(&parts.n.0.to_be_bytes()[3..]);
        b[25..28].copy_from_slice(&parts.units.get().to_be_bytes()[1..]);
        b[28..31].copy_from_slice(&parts.request.to_be_bytes()[1..]);
        let mac = self.mac(&b[..SIGNED_BYTES], buyer);
        b[SIGNED_BYTES..].copy_from_slice(&mac);
        TicketId(b)
    }

    /// Verifies that the id's MAC is valid for this buyer. Returns the values in the id, or `None`
    /// if the MAC is invalid.
    #[must_use]
    pub fn open(&self, id: &TicketId, buyer: &str) -> Option<TicketParts> {
        let mac = self.mac(&id.0[..SIGNED_BYTES], buyer);
        // Runs in constant time: the loop does not stop at the first difference.
        let differ = mac.iter().zip(&id.0[SIGNED_BYTES..]).fold(0, |acc, (a, b)| acc | (a ^ b));
        if differ == 0 { id.parts() } else { None }
    }

    fn mac(&self, signed: &[u8], buyer: &str) -> [u8; BYTES - SIGNED_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"ticket\0").update(signed).update(buyer.as_bytes());
        let mut mac = [0; BYTES - SIGNED_BYTES];
        mac.copy_from_slice(&hasher.finalize().as_bytes()[..BYTES - SIGNED_BYTES]);
        mac
    }
}

fn first_16_bytes(hasher: &blake3::Hasher) -> u128 {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    u128::from_be_bytes(bytes)
}

impl fmt::Debug for IdKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdKey(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> TicketParts {
        TicketParts {
            decide_by: Millis(1_795_000_000_123),
            token: Token(0x1234_5678_9abc),
            grant: GrantId(0x7fff_ffff_ffff_fff1),
            n: TicketN(42),
            units: Units::new(1_000_000).expect("in range"),
            request: 0x00ab_cdef,
        }
    }

    #[test]
    fn an_id_parsed_from_its_text_has_the_same_contents() {
        let key = IdKey::new([7; 32]);
        let id = key.sign(&parts(), "anna");
        let text = id.text();
        assert_eq!(text.as_str().len(), 56);
        let again = TicketId::parse(text.as_str()).expect("the text of an id");
        assert_eq!(again, id);
        assert_eq!(key.open(&again, "anna"), Some(parts()));
    }

    #[test]
    fn an_id_is_refused_for_another_buyer_another_key_or_a_changed_byte() {
        let key = IdKey::new([7; 32]);
        let id = key.sign(&parts(), "anna");
        assert_eq!(key.open(&id, "bert"), None);
        assert_eq!(IdKey::new([8; 32]).open(&id, "anna"), None);
        for i in 0..BYTES {
            let mut bent = id;
            bent.0[i] ^= 1;
            assert_eq!(key.open(&bent, "anna"), None, "byte {i}");
        }
    }

    #[test]
    fn an_erased_buyer_always_has_the_same_name_under_one_key() {
        let buyer = |name: &str| BuyerId::new(name).expect("a name");
        let (key, anna) = (IdKey::new([7; 32]), buyer("anna"));
        let name = key.erased_buyer(&anna);
        assert!(name.is_erased() && !anna.is_erased() && name.as_str().len() == 39, "{name}");
        assert_eq!(key.erased_buyer(&anna), name);
        assert_ne!(key.erased_buyer(&buyer("bert")), name);
        assert_ne!(IdKey::new([8; 32]).erased_buyer(&anna), name);
        let request = key.erased_key(&anna, "k1");
        assert!(
            request.as_str().starts_with("erased:") && request.as_str() != name.as_str(),
            "{request}"
        );
        assert_eq!(key.erased_key(&anna, "k1"), request);
        for (who, word) in [("anna", "k2"), ("bert", "k1")] {
            assert_ne!(key.erased_key(&buyer(who), word), request);
        }
    }

    #[test]
    fn text_that_is_not_an_id_is_refused() {
        for bad in [
            "",
            "ord_",
            "ord_AAAA",
            "pay_",
            &format!("ord_{}", "*".repeat(52)),
            &format!("ord_{}", "A".repeat(53)),
        ] {
            assert_eq!(TicketId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn later_ids_sort_later() {
        let key = IdKey::new([7; 32]);
        let later =
            TicketParts { decide_by: parts().decide_by.plus(1), token: Token(0), ..parts() };
        assert!(key.sign(&parts(), "a") < key.sign(&later, "a"));
    }
}
