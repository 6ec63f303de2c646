//! The buyers of a run: their names, request keys and tokens. These are not stored as text.
//!
//! A token consists of header, claims and signature. Header and claims follow from the buyer's
//! number, so only the 32 bytes of the signature are stored. A million buyers take 32 MB. The
//! tokens are signed before the run, on all cores.

use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// How long a buyer's token is valid. This is longer than any run.
const TOKEN_LIFE: Duration = Duration::from_secs(6 * 3600);
/// The text `{"alg":"HS256","typ":"JWT"}` in base64url, and the dot after it.
const HEADER: &[u8] = b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.";
/// The number of digits of a buyer's number in the name.
const DIGITS: usize = 7;
/// A size above the longest claims: name (25 bytes), expiry, and the JSON text around them.
const CLAIMS_MAX: usize = 96;
/// A size above that of header, claims and signature in base64url.
const TOKEN_MAX: usize = 256;

/// All buyers of one run, by number.
#[derive(Debug)]
pub(super) struct Buyers {
    prefix: String,
    /// The claims of buyer 0; other numbers overwrite its digits.
    claims: Vec<u8>,
    digits_at: usize,
    signatures: Vec<[u8; 32]>,
}

impl Buyers {
    /// Signs the tokens of `count` buyers with `secret`.
    pub fn mint(secret: &[u8], seed: u64, count: u32) -> Self {
        let prefix = format!("s{seed:x}-");
        // If the clock is before 1970, the tokens have expired and the server refuses them.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let exp = (now + TOKEN_LIFE).as_secs();
        let claims = format!(r#"{{"sub":"{prefix}0000000","exp":{exp}}}"#).into_bytes();
        let digits_at = br#"{"sub":""#.len() + prefix.len();
        let mut buyers =
            Self { prefix, claims, digits_at, signatures: vec![[0; 32]; count as usize] };
        let mut signatures = std::mem::take(&mut buyers.signatures);
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let share = signatures.len().div_ceil(threads).max(1);
        std::thread::scope(|scope| {
            for (chunk, out) in signatures.chunks_mut(share).enumerate() {
                let (buyers, key) = (&buyers, &key);
                scope.spawn(move || buyers.sign(key, chunk * share, out));
            }
        });
        buyers.signatures = signatures;
        buyers
    }

    fn sign(&self, key: &hmac::Key, first: usize, out: &mut [[u8; 32]]) {
        let mut text = [0; TOKEN_MAX];
        for (offset, signature) in out.iter_mut().enumerate() {
            // The number fits, because BUYERS_MAX is ten million.
            let len = self.write_signed_part((first + offset) as u32, &mut text);
            signature.copy_from_slice(hmac::sign(key, &text[..len]).as_ref());
        }
    }

    /// Returns the length of every token of this run in bytes.
    pub fn token_len(&self) -> usize {
        self.signed_len() + 1 + 43
    }

    /// Returns the length of every buyer's name and of every key in bytes.
    pub fn name_len(&self) -> usize {
        self.prefix.len() + DIGITS
    }

    /// Writes the buyer's token into `out`, which has [`Self::token_len`] bytes.
    pub fn write_token(&self, buyer: u32, out: &mut [u8]) {
        let signed = self.write_signed_part(buyer, out);
        out[signed] = b'.';
        URL_SAFE_NO_PAD
            .encode_slice(self.signatures[buyer as usize], &mut out[signed + 1..])
            .expect("token_len includes the 43 characters of the signature");
    }

    /// Writes the buyer's name into `out`, which has [`Self::name_len`] bytes.
    pub fn write_name(&self, buyer: u32, out: &mut [u8]) {
        let (prefix, digits) = out.split_at_mut(self.prefix.len());
        prefix.copy_from_slice(self.prefix.as_bytes());
        write_digits(buyer, digits);
    }

    /// Returns the buyer's name.
    pub fn name(&self, buyer: u32) -> String {
        format!("{}{buyer:07}", self.prefix)
    }

    /// Writes the buyer's request key into `out`, which has [`Self::name_len`] bytes.
    pub fn write_key(&self, buyer: u32, out: &mut [u8]) {
        self.write_name(buyer, out);
        out[0] = b'k';
    }

    /// Returns the buyer's request key.
    pub fn key(&self, buyer: u32) -> String {
        format!("k{}", &self.name(buyer)[1..])
    }

    fn signed_len(&self) -> usize {
        HEADER.len() + (self.claims.len() * 4).div_ceil(3)
    }

    fn write_signed_part(&self, buyer: u32, out: &mut [u8]) -> usize {
        let mut claims = [0; CLAIMS_MAX];
        let claims = &mut claims[..self.claims.len()];
        claims.copy_from_slice(&self.claims);
        write_digits(buyer, &mut claims[self.digits_at..self.digits_at + DIGITS]);
        out[..HEADER.len()].copy_from_slice(HEADER);
        let written = URL_SAFE_NO_PAD
            .encode_slice(claims, &mut out[HEADER.len()..])
            .expect("out has room for a whole token");
        HEADER.len() + written
    }
}

fn write_digits(mut number: u32, out: &mut [u8]) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Claims {
        sub: String,
    }

    #[test]
    fn a_token_is_accepted_by_another_implementation_and_names_its_buyer() {
        let secret = b"0123456789abcdef0123456789abcdef";
        for seed in [0, 7, u64::MAX] {
            let buyers = Buyers::mint(secret, seed, 1_001);
            for buyer in [0, 9, 10, 1_000] {
                let mut token = vec![0; buyers.token_len()];
                buyers.write_token(buyer, &mut token);
                let decoded = jsonwebtoken::decode::<Claims>(
                    std::str::from_utf8(&token).expect("base64url is text"),
                    &jsonwebtoken::DecodingKey::from_secret(secret),
                    &jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256),
                )
                .expect("a valid token");
                assert_eq!(decoded.claims.sub, buyers.name(buyer));
                assert!(decoded.claims.sub.len() <= 64);
            }
        }
    }

    #[test]
    fn written_names_and_keys_equal_the_formatted_ones() {
        let buyers = Buyers::mint(&[1; 32], 0xab, 3);
        let mut name = vec![0; buyers.name_len()];
        buyers.write_name(2, &mut name);
        assert_eq!(name, buyers.name(2).into_bytes());
        assert_eq!(name, b"sab-0000002");
        let mut key = vec![0; buyers.name_len()];
        buyers.write_key(2, &mut key);
        assert_eq!(key, buyers.key(2).into_bytes());
        assert_eq!(key, b"kab-0000002");
    }
}
