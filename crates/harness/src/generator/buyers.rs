//! Buyers, and the purchase request of each buyer. Each buyer has a token, signed as a shop signs
//! its buyers' tokens.
//!
//! Only the signatures of the tokens are stored, so a million buyers take 32 MB. All requests are
//! copies of one template, in which the generator overwrites the token, the request key and the
//! sale's number.
use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The text `{"alg":"HS256","typ":"JWT"}` in base64url, and the dot after it.
const HEADER: &[u8] = b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.";
/// How long a token is valid. This is longer than any run.
const TOKEN_LIFE: Duration = Duration::from_secs(12 * 3600);
/// The number of digits with which a buyer's number is written.
const DIGITS: usize = 8;
/// The length of a signature in base64url.
const SIGNATURE_TEXT: usize = 43;

/// A set of buyers.
#[derive(Debug)]
pub struct Buyers {
    /// The claims of the token of buyer 0. For any other buyer, the buyer's number overwrites the
    /// digits in the name.
    claims: Vec<u8>,
    digits_at: usize,
    series: String,
    signatures: Vec<[u8; 32]>,
}

impl Buyers {
    /// Signs tokens for `count` buyers whose names begin with `series`.
    #[must_use]
    pub fn new(secret: &[u8], series: &str, count: u32) -> Self {
        // With a clock before 1970, `now` is 0, so the tokens have expired and the server refuses
        // them.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let exp = (now + TOKEN_LIFE).as_secs();
        let claims = format!(r#"{{"sub":"{series}-00000000","exp":{exp}}}"#).into_bytes();
        let digits_at = br#"{"sub":""#.len() + series.len() + 1;
        let series = series.to_owned();
        let mut buyers = Self { claims, digits_at, series, signatures: Vec::new() };
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let mut signatures = vec![[0; 32]; count as usize];
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let share = signatures.len().div_ceil(threads).max(1);
        std::thread::scope(|scope| {
            for (part, out) in signatures.chunks_mut(share).enumerate() {
                let (buyers, key) = (&buyers, &key);
                scope.spawn(move || {
                    let mut claims = buyers.claims.clone();
                    let mut signed = HEADER.to_vec();
                    signed.resize(buyers.signed_len(), b'.');
                    for (at, signature) in out.iter_mut().enumerate() {
                        // `count` is a u32, so every buyer's number fits a u32.
                        buyers.write_claims((part * share + at) as u32, &mut claims, &mut signed);
                        signature.copy_from_slice(hmac::sign(key, &signed).as_ref());
                    }
                });
            }
        });
        buyers.signatures = signatures;
        buyers
    }

    /// Returns the number of buyers.
    #[must_use]
    pub fn count(&self) -> u32 {
        // This number fits, because `new` got the number of buyers as a u32.
        self.signatures.len() as u32
    }

    /// Returns the buyer's token.
    #[must_use]
    pub fn token(&self, buyer: u32) -> String {
        let mut token = HEADER.to_vec();
        token.resize(self.signed_len(), b'.');
        self.write_claims(buyer, &mut self.claims.clone(), &mut token);
        token.push(b'.');
        token.extend_from_slice(URL_SAFE_NO_PAD.encode(self.signatures[buyer as usize]).as_bytes());
        String::from_utf8(token).expect("base64url and dots are ASCII")
    }

    /// Returns the buyer's name in the token.
    #[must_use]
    pub fn name(&self, buyer: u32) -> String {
        format!("{}-{buyer:0DIGITS$}", self.series)
    }

    /// Returns the `Idempotency-Key` of the buyer's request. `keys` is the prefix of all keys of
    /// one request template.
    #[must_use]
    pub fn key(&self, keys: &str, buyer: u32) -> String {
        format!("{keys}-{}-{buyer:0DIGITS$}", self.series)
    }

    /// Returns the length of a token's header and claims, in bytes. The signature covers both
    /// parts.
    fn signed_len(&self) -> usize {
        HEADER.len() + (self.claims.len() * 4).div_ceil(3)
    }

    /// Writes this buyer's number into `claims`, which may be the claims of another buyer. Then
    /// writes the claims in base64url into `token`, after the header.
    fn write_claims(&self, buyer: u32, claims: &mut [u8], token: &mut [u8]) {
        write_digits(buyer, &mut claims[self.digits_at..self.digits_at + DIGITS]);
        URL_SAFE_NO_PAD
            .encode_slice(claims, &mut token[HEADER.len()..])
            .expect("the token has room for the claims");
    }
}

/// The values of a request template.
#[derive(Clone, Debug)]
pub struct RequestOptions<'a> {
    /// The host and the port of the server.
    pub host: &'a str,
    /// The sale's name. If the requests go to several sales, the sale's number overwrites the last
    /// four digits of this name.
    pub sale: &'a str,
    /// The item.
    pub item: &'a str,
    /// The number of units.
    pub units: u32,
    /// Further header lines, each with `\r\n` at its end.
    pub headers: &'a str,
    /// The prefix of every request key. If the same buyers send requests with a new prefix, the
    /// server treats these as new requests, not as repetitions.
    pub keys: &'a str,
}

/// A request `POST /v1/orders` whose token, request key and sale can be overwritten.
#[derive(Debug)]
pub struct Template {
    bytes: Vec<u8>,
    claims: Vec<u8>,
    token_at: usize,
    key_digits_at: usize,
    sale_digits_at: usize,
}

impl Template {
    /// Returns a template of a purchase request. It has no buyer yet.
    #[must_use]
    pub fn new(buyers: &Buyers, options: &RequestOptions<'_>) -> Self {
        let RequestOptions { host, sale, item, units, headers, keys } = options;
        let body = format!(r#"{{"sale":"{sale}","item":"{item}","units":{units}}}"#);
        let mut bytes = format!(
            "POST /v1/orders HTTP/1.1\r\nHost: {host}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n{headers}\
             Authorization: Bearer ",
            body.len()
        )
        .into_bytes();
        let token_at = bytes.len();
        bytes.resize(token_at + buyers.signed_len() + 1 + SIGNATURE_TEXT, b'.');
        bytes[token_at..token_at + HEADER.len()].copy_from_slice(HEADER);
        bytes.extend_from_slice(
            format!("\r\nIdempotency-Key: {keys}-{}-", buyers.series).as_bytes(),
        );
        let key_digits_at = bytes.len();
        bytes.resize(key_digits_at + DIGITS, b'0');
        bytes.extend_from_slice(b"\r\n\r\n");
        let sale_digits_at = bytes.len() + br#"{"sale":""#.len() + sale.len().saturating_sub(4);
        bytes.extend_from_slice(body.as_bytes());
        Self { bytes, claims: buyers.claims.clone(), token_at, key_digits_at, sale_digits_at }
    }

    /// Returns the request of this buyer.
    pub fn for_buyer(&mut self, buyers: &Buyers, buyer: u32) -> &[u8] {
        write_digits(buyer, &mut self.bytes[self.key_digits_at..self.key_digits_at + DIGITS]);
        buyers.write_claims(buyer, &mut self.claims, &mut self.bytes[self.token_at..]);
        let signature_at = self.token_at + buyers.signed_len() + 1;
        URL_SAFE_NO_PAD
            .encode_slice(buyers.signatures[buyer as usize], &mut self.bytes[signature_at..])
            .expect("the template has room for a signature");
        &self.bytes
    }

    /// Writes the number of a sale into the template. All further requests are for this sale.
    pub fn set_sale(&mut self, number: u32) {
        write_digits(number, &mut self.bytes[self.sale_digits_at..self.sale_digits_at + 4]);
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

    #[test]
    fn a_request_carries_the_buyers_own_token_and_key() {
        let buyers = Buyers::new(&[7; 32], "r1", 12);
        let options = RequestOptions {
            host: "127.0.0.1:8080",
            sale: "sale-0000",
            item: "phone",
            units: 1,
            headers: "Prefer: wait=30\r\n",
            keys: "k",
        };
        let mut template = Template::new(&buyers, &options);
        for buyer in [0, 11] {
            template.set_sale(buyer);
            let text =
                String::from_utf8(template.for_buyer(&buyers, buyer).to_vec()).expect("ASCII");
            let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
            assert!(
                head.contains(&format!("\r\nAuthorization: Bearer {}\r\n", buyers.token(buyer))),
                "{head}"
            );
            let key = buyers.key("k", buyer);
            assert!(head.ends_with(&format!("\r\nIdempotency-Key: {key}")), "{head}");
            assert!(head.contains("\r\nHost: 127.0.0.1:8080\r\n"), "{head}");
            assert!(head.contains("\r\nPrefer: wait=30\r\n"), "{head}");
            assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
            assert_eq!(body, format!(r#"{{"sale":"sale-{buyer:04}","item":"phone","units":1}}"#));
        }
    }

    #[derive(serde::Deserialize)]
    struct Claims {
        sub: String,
    }

    #[test]
    fn a_token_is_accepted_by_another_implementation_and_names_its_buyer() {
        let secret = b"0123456789abcdef0123456789abcdef";
        for series in ["s0", "r1", "sffffffffffffffff"] {
            let buyers = Buyers::new(secret, series, 1_001);
            for buyer in [0, 9, 10, 1_000] {
                let decoded = jsonwebtoken::decode::<Claims>(
                    buyers.token(buyer),
                    &jsonwebtoken::DecodingKey::from_secret(secret),
                    &jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256),
                )
                .expect("a valid token");
                assert_eq!(decoded.claims.sub, buyers.name(buyer));
                assert!(decoded.claims.sub.len() <= 64);
            }
        }
    }
}
