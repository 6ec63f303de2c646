//! The draw: the order in which a waiting room admits the visitors who came before the sale opened.
//!
//! 1. When the first visitor arrives, the server creates a seed of 32 random bytes. It immediately
//!    publishes the commitment, which is the SHA-256 hash of the seed.
//! 2. After the sale opens, the server publishes the seed.
//! 3. Each participant's lot is `HMAC-SHA-256(key = seed, message = buyer id)`. If each item has
//!    its own waiting room, the message is the item's name, a zero byte and the buyer's id.
//! 4. Participants are ranked by their lots: the smallest lot is first. A lot is compared as a
//!    number of 256 bits.
//!
//! The seed is fixed before the participants are known, and secret until the sale opens. Anyone
//! with the seed and the list of participants can repeat the draw. So the draw proves that the seed
//! was not changed. It does not prove that the seed stayed secret: the server's operator can read
//! the seed before the opening.
use std::fmt::{self, Write as _};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// The published name of the algorithm that makes lots.
pub const ALGORITHM: &str = "hmac-sha256";

const BYTES: usize = 32;
const COMMITMENT_PREFIX: &str = "sha256:";

/// The seed of a draw. It is secret until the sale opens.
#[derive(Clone, PartialEq, Eq)]
pub struct DrawSeed([u8; BYTES]);

/// A participant's lot. The participant with the smallest lot is admitted first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DrawLot([u8; BYTES]);

impl DrawSeed {
    /// Creates a seed from 32 random bytes.
    #[must_use]
    pub fn new(random: [u8; BYTES]) -> Self {
        Self(random)
    }

    /// Returns the bytes that the store keeps.
    #[must_use]
    pub fn bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    /// Returns the seed in hexadecimal, as it is published after the opening.
    #[must_use]
    pub fn text(&self) -> String {
        hex(&self.0)
    }

    /// Returns the commitment: `sha256:` and the hash of the seed's bytes.
    #[must_use]
    pub fn commitment(&self) -> String {
        format!("{COMMITMENT_PREFIX}{}", hex(&Sha256::digest(self.0)))
    }

    /// Returns the buyer's lot in the waiting room of this item. `None` stands for the waiting room
    /// of the whole sale.
    #[must_use]
    pub fn lot(&self, item: Option<&str>, buyer: &str) -> DrawLot {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        if let Some(item) = item {
            mac.update(item.as_bytes());
            mac.update(b"\0");
        }
        mac.update(buyer.as_bytes());
        DrawLot(mac.finalize().into_bytes().into())
    }
}

/// Does not print the seed, which may still be secret.
impl fmt::Debug for DrawSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DrawSeed").field(&self.commitment()).finish()
    }
}

impl DrawLot {
    /// Restores a lot from stored bytes.
    #[must_use]
    pub fn new(bytes: [u8; BYTES]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes that the store keeps. If rows are sorted by these bytes, they are in the
    /// order of admission.
    #[must_use]
    pub fn bytes(&self) -> &[u8; BYTES] {
        &self.0
    }
}

impl fmt::Debug for DrawLot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0[..8]))
    }
}

/// Returns the participants in the order in which they are admitted.
#[must_use]
pub fn drawn_order<'a>(
    seed: &DrawSeed,
    item: Option<&str>,
    participants: impl IntoIterator<Item = &'a str>,
) -> Vec<&'a str> {
    let mut drawn: Vec<(DrawLot, &str)> =
        participants.into_iter().map(|buyer| (seed.lot(item, buyer), buyer)).collect();
    drawn.sort_unstable();
    drawn.into_iter().map(|(_, buyer)| buyer).collect()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected values come from Python's `hmac` and `hashlib`. They must never change, because
    /// buyers must be able to repeat draws that were published earlier.
    #[test]
    fn a_draw_matches_the_published_example() {
        let seed = DrawSeed::new(std::array::from_fn(|at| u8::try_from(at).expect("below 32")));
        assert_eq!(seed.text(), "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
        assert_eq!(
            seed.commitment(),
            "sha256:630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd"
        );
        assert_eq!(hex(seed.lot(None, "alice").bytes()), ALICE);
        let buyers = ["alice", "bob", "carol", "dave", "erin"];
        assert_eq!(drawn_order(&seed, None, buyers), ORDER);
        assert_eq!(hex(seed.lot(Some("phone"), "alice").bytes()), ALICE_PHONE);
        assert_eq!(drawn_order(&seed, Some("phone"), buyers), ORDER_PHONE);
    }

    const ALICE: &str = "6eefad2bed97b6d93ee663d67a44b46016b3d79dcad54ada39b61a1d14874d1b";
    const ALICE_PHONE: &str = "cdea7ed2c8abff4322dcd85038f6ea6632bd4d7666179079e4c82c82ccd2c30e";
    const ORDER_PHONE: [&str; 5] = ["erin", "bob", "dave", "alice", "carol"];
    const ORDER: [&str; 5] = ["erin", "alice", "carol", "bob", "dave"];

    #[test]
    fn the_order_of_arrival_does_not_affect_the_draw() {
        let seed = DrawSeed::new([7; 32]);
        let names: Vec<String> = (0..1_000).map(|n| format!("buyer-{n}")).collect();
        let forth = drawn_order(&seed, None, names.iter().map(String::as_str));
        let back = drawn_order(&seed, None, names.iter().rev().map(String::as_str));
        assert_eq!(forth, back);
        let other = drawn_order(&DrawSeed::new([8; 32]), None, names.iter().map(String::as_str));
        assert_ne!(forth, other);
        // A fair draw puts about half of the first 500 arrivals into the first half of the order.
        let first: usize = forth[..500]
            .iter()
            .filter(|name| names[..500].iter().any(|early| early == **name))
            .count();
        assert!((180..320).contains(&first), "{first}");
    }

    #[test]
    fn debug_output_does_not_show_the_seed() {
        let shown = format!("{:?}", DrawSeed::new([0xab; 32]));
        assert!(shown.contains("sha256:") && !shown.contains("abab"), "{shown}");
    }
}
