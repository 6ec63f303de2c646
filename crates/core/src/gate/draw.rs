//! The draw: in which order those are called who came before a sale opened.
//!
//! A seed of 32 random bytes is made when the first of them comes. Its SHA-256, the commitment, is
//! shown from then on; the seed itself is shown once the sale has opened. Each participant's lot is
//! `HMAC-SHA-256(key = seed, message = buyer id)`, and the line is in the order of the lots, read
//! as numbers of 256 bits, the smallest first. So nobody knows the order before the opening, nobody
//! can choose a seed after having seen the participants, and everybody who has the seed and the
//! list can make the order again.
//!
//! Whoever runs the server can read the seed before: what the draw shows is that it was not
//! changed, not that nobody looked.
use std::fmt::{self, Write as _};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// What a lot is made by, as it is published.
pub const ALGORITHM: &str = "hmac-sha256";

const BYTES: usize = 32;
const COMMITMENT_PREFIX: &str = "sha256:";

/// What a draw is made from; a secret until the sale opens.
#[derive(Clone, PartialEq, Eq)]
pub struct Seed([u8; BYTES]);

/// A participant's lot: the smaller one is called first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lot([u8; BYTES]);

impl Seed {
    /// From 32 random bytes.
    #[must_use]
    pub fn new(random: [u8; BYTES]) -> Self {
        Self(random)
    }

    /// The bytes, as they are kept.
    #[must_use]
    pub fn bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    /// The seed in hexadecimal, as it is shown after the opening.
    #[must_use]
    pub fn text(&self) -> String {
        hex(&self.0)
    }

    /// What is shown before: `sha256:` and the hash of the seed's bytes.
    #[must_use]
    pub fn commitment(&self) -> String {
        format!("{COMMITMENT_PREFIX}{}", hex(&Sha256::digest(self.0)))
    }

    /// The lot of this buyer.
    #[must_use]
    pub fn lot(&self, buyer: &str) -> Lot {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(buyer.as_bytes());
        Lot(mac.finalize().into_bytes().into())
    }
}

/// Says nothing of the seed: it may be a secret still.
impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Seed").field(&self.commitment()).finish()
    }
}

impl Lot {
    /// From bytes that were kept.
    #[must_use]
    pub fn new(bytes: [u8; BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes, as they are kept. Their order is that of the line.
    #[must_use]
    pub fn bytes(&self) -> &[u8; BYTES] {
        &self.0
    }
}

impl fmt::Debug for Lot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0[..8]))
    }
}

/// Participants in the order in which they are called.
#[must_use]
pub fn drawn_order<'a>(
    seed: &Seed,
    participants: impl IntoIterator<Item = &'a str>,
) -> Vec<&'a str> {
    let mut drawn: Vec<(Lot, &str)> =
        participants.into_iter().map(|buyer| (seed.lot(buyer), buyer)).collect();
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

    /// Made with Python's `hmac` and `hashlib`: nobody else's order may change when this file does.
    #[test]
    fn a_draw_is_what_was_published_of_it() {
        let seed = Seed::new(std::array::from_fn(|at| u8::try_from(at).expect("below 32")));
        assert_eq!(seed.text(), "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
        assert_eq!(
            seed.commitment(),
            "sha256:630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd"
        );
        assert_eq!(hex(seed.lot("alice").bytes()), ALICE);
        assert_eq!(drawn_order(&seed, ["alice", "bob", "carol", "dave", "erin"]), ORDER);
    }

    const ALICE: &str = "6eefad2bed97b6d93ee663d67a44b46016b3d79dcad54ada39b61a1d14874d1b";
    const ORDER: [&str; 5] = ["erin", "alice", "carol", "bob", "dave"];

    #[test]
    fn the_order_of_arrival_says_nothing() {
        let seed = Seed::new([7; 32]);
        let names: Vec<String> = (0..1_000).map(|n| format!("buyer-{n}")).collect();
        let forth = drawn_order(&seed, names.iter().map(String::as_str));
        let back = drawn_order(&seed, names.iter().rev().map(String::as_str));
        assert_eq!(forth, back);
        let other = drawn_order(&Seed::new([8; 32]), names.iter().map(String::as_str));
        assert_ne!(forth, other);
        // A fair draw puts about half of those who came first into the first half of the line.
        let first: usize = forth[..500]
            .iter()
            .filter(|name| names[..500].iter().any(|early| early == **name))
            .count();
        assert!((180..320).contains(&first), "{first}");
    }

    #[test]
    fn a_seed_does_not_show_itself() {
        let shown = format!("{:?}", Seed::new([0xab; 32]));
        assert!(shown.contains("sha256:") && !shown.contains("abab"), "{shown}");
    }
}
