//! The token of a challenge. The token is encrypted and authenticated, and contains everything that
//! a node must know about the challenge. A token can be decrypted only together with the buyer and
//! the sale for which it was created. All tokens have the same length, so the length reveals
//! nothing about the answer.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorbuster_base::master_keys::MasterKeys;
use doorbuster_core::{IdKey, Millis};

/// The number of bytes that are encrypted: an id, a kind, an expiry time and an answer.
const SEALED_BYTES: usize = 16 + 1 + 8 + ANSWER_BYTES;
pub(super) const ANSWER_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
/// The number of bytes of a whole token, before it is encoded as text.
const TOKEN_BYTES: usize = NONCE_LEN + SEALED_BYTES + TAG_BYTES;
const CONTEXT: &str = "doorbuster: challenges";

doorbuster_core::labels! {
    /// The kinds of challenges.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum PuzzleKind {
        /// The buyer reads characters in an image.
        Image = "image",
        /// The buyer slides a piece into its gap.
        Slider = "slider",
        /// The buyer's device does computing work.
        Work = "pow",
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) id: [u8; 16],
    pub(super) kind: PuzzleKind,
    pub(super) until: Millis,
    pub(super) answer: [u8; ANSWER_BYTES],
}

impl Sealed {
    /// Returns the correct answer to an image challenge. Returns `None` if the token contains no
    /// text.
    pub(super) fn text(&self) -> Option<&str> {
        let len = self.answer.iter().position(|byte| *byte == 0)?;
        std::str::from_utf8(&self.answer[..len]).ok().filter(|text| !text.is_empty())
    }

    /// Returns the correct answer to a slider challenge: the horizontal position of the piece.
    pub(super) fn slider_answer(&self) -> u16 {
        u16::from_be_bytes([self.answer[0], self.answer[1]])
    }

    fn bytes(&self) -> [u8; SEALED_BYTES] {
        let mut bytes = [0; SEALED_BYTES];
        bytes[..16].copy_from_slice(&self.id);
        bytes[16] = self.kind as u8;
        bytes[17..25].copy_from_slice(&self.until.0.to_be_bytes());
        bytes[25..].copy_from_slice(&self.answer);
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; SEALED_BYTES] = bytes.try_into().ok()?;
        Some(Self {
            id: bytes[..16].try_into().ok()?,
            kind: *PuzzleKind::ALL.get(usize::from(bytes[16]))?,
            until: Millis(i64::from_be_bytes(bytes[17..25].try_into().ok()?)),
            answer: bytes[25..].try_into().ok()?,
        })
    }
}

/// The keys that encrypt and decrypt tokens. The first key encrypts, and every key can decrypt.
pub(super) struct ChallengeSealer {
    keys: Box<[LessSafeKey]>,
    names: [u8; 32],
}

impl fmt::Debug for ChallengeSealer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ChallengeSealer({})", self.keys.len())
    }
}

impl ChallengeSealer {
    pub(super) fn new(masters: &MasterKeys, id_key: &IdKey) -> Self {
        let key = |bytes: [u8; 32]| {
            let key = UnboundKey::new(&AES_256_GCM_SIV, &bytes)
                .expect("the key has the length that the cipher requires");
            LessSafeKey::new(key)
        };
        // The secret is the hash that a buyer with this name would have. No buyer can have this
        // name, because a buyer's name contains no spaces.
        let secret = id_key.buyer_hash("who answers challenges").to_be_bytes();
        let names = blake3::derive_key("doorbuster: who answers challenges", &secret);
        Self { keys: masters.keys(CONTEXT).map(key).collect(), names }
    }

    pub(super) fn seal(&self, sealed: &Sealed, sale: &str, buyer: &str) -> String {
        // With this cipher, two tokens with the same nonce would reveal only whether their contents
        // are equal. The contents are never equal, because each token has a unique id. So a random
        // nonce is safe.
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut token = Vec::with_capacity(TOKEN_BYTES);
        token.extend_from_slice(&sealed.bytes());
        self.keys[0]
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                aad(sale, buyer),
                &mut token,
            )
            .expect("a few bytes can be sealed");
        token.splice(..0, nonce);
        URL_SAFE_NO_PAD.encode(token)
    }

    pub(super) fn open(&self, text: &str, sale: &str, buyer: &str) -> Option<Sealed> {
        let mut token = [0; TOKEN_BYTES];
        let len = URL_SAFE_NO_PAD.decode_slice(text, &mut token).ok()?;
        let (nonce, rest) = token.split_at(NONCE_LEN);
        let nonce: [u8; NONCE_LEN] = nonce.try_into().ok()?;
        self.keys.iter().filter(|_| len == TOKEN_BYTES).find_map(|key| {
            let mut rest = rest.to_vec();
            let nonce = Nonce::assume_unique_for_key(nonce);
            Sealed::parse(key.open_in_place(nonce, aad(sale, buyer), &mut rest).ok()?)
        })
    }

    /// Returns the name under which the store counts a buyer's wrong answers in a sale.
    pub(super) fn buyer_pseudonym(&self, sale: &str, buyer: &str) -> [u8; 16] {
        let hash = blake3::keyed_hash(&self.names, &binding(sale, buyer));
        let mut name = [0; 16];
        name.copy_from_slice(&hash.as_bytes()[..16]);
        name
    }
}

/// Encodes a sale and a buyer. Names contain no zero byte, so different pairs have different
/// encodings.
fn binding(sale: &str, buyer: &str) -> Vec<u8> {
    [sale.as_bytes(), b"\0", buyer.as_bytes()].concat()
}

fn aad(sale: &str, buyer: &str) -> Aad<Vec<u8>> {
    Aad::from(binding(sale, buyer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seals(masters: &[u8]) -> ChallengeSealer {
        ChallengeSealer::new(
            &MasterKeys::new(masters.iter().map(|byte| [*byte; 32]).collect())
                .expect("there is at least one key"),
            &IdKey::new([9; 32]),
        )
    }

    fn sealed(kind: PuzzleKind, answer: &[u8]) -> Sealed {
        let mut all = [0; ANSWER_BYTES];
        all[..answer.len()].copy_from_slice(answer);
        Sealed { id: rand::random(), kind, until: Millis(1_795_168_800_000), answer: all }
    }

    #[test]
    fn a_token_opens_only_for_its_buyer_and_sale() {
        let seals = seals(&[1]);
        let inside = sealed(PuzzleKind::Image, b"k7q2m");
        let token = seals.seal(&inside, "spring", "anna");
        let opened = seals
            .open(&token, "spring", "anna")
            .expect("the token was sealed for this buyer and sale");
        assert_eq!((opened.text(), &opened), (Some("k7q2m"), &inside));
        for (sale, buyer) in [
            ("spring", "bert"),
            ("autumn", "anna"),
            ("springa", "nna"),
            ("", ""),
            ("anna", "spring"),
        ] {
            assert_eq!(seals.open(&token, sale, buyer), None, "{sale} {buyer}");
        }
    }

    #[test]
    fn tokens_open_on_every_node_while_master_keys_change() {
        let token = seals(&[1]).seal(&sealed(PuzzleKind::Slider, &[0, 143]), "spring", "anna");
        assert_eq!(
            seals(&[2, 1]).open(&token, "spring", "anna").map(|sealed| sealed.slider_answer()),
            Some(143)
        );
        assert_eq!(seals(&[2]).open(&token, "spring", "anna"), None);
    }

    #[test]
    fn a_changed_or_forged_token_does_not_open() {
        let seals = seals(&[1]);
        let good = seals.seal(&sealed(PuzzleKind::Work, &[7; 32]), "spring", "anna");
        for at in 0..good.len() {
            let mut bad = good.clone().into_bytes();
            bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
            let bad = String::from_utf8(bad).expect("ASCII");
            assert_eq!(seals.open(&bad, "spring", "anna"), None, "at {at}");
        }
        let long = "A".repeat(10_000);
        for bad in [
            "",
            "A",
            "\u{e4}",
            &long,
            &good[1..],
            &good[..good.len() - 1],
            &format!("{good}A"),
            &format!("{good}="),
        ] {
            assert_eq!(seals.open(bad, "spring", "anna"), None, "{bad:.40}");
        }
    }

    #[test]
    fn tokens_have_equal_lengths_and_different_content() {
        let seals = seals(&[1]);
        let one = sealed(PuzzleKind::Image, b"k7q2m");
        let tokens: Vec<String> =
            [&one, &one, &sealed(PuzzleKind::Slider, &[1, 2]), &sealed(PuzzleKind::Work, &[9; 32])]
                .map(|sealed| seals.seal(sealed, "spring", "anna"))
                .into();
        assert!(tokens.iter().all(|token| token.len() == tokens[0].len()));
        assert_ne!(tokens[0], tokens[1]);
    }
}
