//! VAPID (RFC 8292): signed tokens that identify the shop to a push service. Each token expires
//! soon.

use std::fmt;

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorbuster_core::Millis;
use serde::Serialize;

/// How long a token is valid, in seconds. RFC 8292 allows at most 24 hours.
const TOKEN_SECS: i64 = 12 * 3_600;
/// The header of every token: `{"typ":"JWT","alg":"ES256"}`.
const HEADER: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiJ9";

/// The shop's key pair for push services.
pub struct VapidKey {
    pair: EcdsaKeyPair,
    public: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    exp: i64,
    sub: &'a str,
}

impl VapidKey {
    /// Parses a private key: 32 bytes in base64url. Returns `None` if the text is not such a key.
    pub fn parse(private: &str) -> Option<Self> {
        let private = URL_SAFE_NO_PAD.decode(private.trim().trim_end_matches('=')).ok()?;
        let key = PrivateKey::from_private_key(&ECDH_P256, &private).ok()?;
        let public = key.compute_public_key().ok()?;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &private,
            public.as_ref(),
        );
        Some(Self { pair: pair.ok()?, public: URL_SAFE_NO_PAD.encode(public.as_ref()) })
    }

    /// Returns the public key in base64url, as browsers need it to subscribe.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// Returns the value of the header `Authorization` for requests to the push service at
    /// `origin`. At the address `contact`, the operator of the push service can reach the shop.
    /// Returns `None` if the token cannot be signed.
    pub fn authorization(&self, origin: &str, contact: &str, now: Millis) -> Option<String> {
        let exp = now.0.div_euclid(1_000) + TOKEN_SECS;
        let signed = signing_input(&Claims { aud: origin, exp, sub: contact });
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).ok()?;
        let signature = URL_SAFE_NO_PAD.encode(signature.as_ref());
        Some(format!("vapid t={signed}.{signature}, k={}", self.public))
    }
}

fn signing_input(claims: &Claims<'_>) -> String {
    let claims = serde_json::to_vec(claims).expect("claims serialise into memory");
    format!("{HEADER}.{}", URL_SAFE_NO_PAD.encode(claims))
}

impl fmt::Debug for VapidKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "VapidKey({})", self.public)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    /// Returns whether the key in the header verifies the signature of the token in the header.
    fn verifies(authorization: &str) -> bool {
        let (token, key) = authorization
            .strip_prefix("vapid t=")
            .and_then(|rest| rest.split_once(", k="))
            .expect("a token and a key");
        let (signed, signature) = token.rsplit_once('.').expect("a signature");
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("base64url");
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, decode(key));
        key.verify(signed.as_bytes(), &decode(signature)).is_ok()
    }

    /// The example of RFC 8292, section 2.4.
    const CLAIMS: &str = "eyJhdWQiOiJodHRwczovL3B1c2guZXhhbXBsZS5uZXQiLCJleHAiOjE0NTM1MjM3NjgsInN1Yi\
                          I6Im1haWx0bzpwdXNoQGV4YW1wbGUuY29tIn0";
    const SIGNATURE: &str =
        "i3CYb7t4xfxCDquptFOepC9GAu_HLGkMlMuCGSK2rpiUfnK9ojFwDXb1JrErtmysazNjjvW2L9OkSSHzvoD1oA";
    const KEY: &str =
        "BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs";

    #[test]
    fn a_token_is_written_as_in_the_example_of_rfc_8292() {
        let claims = Claims {
            aud: "https://push.example.net",
            exp: 1_453_523_768,
            sub: "mailto:push@example.com",
        };
        let signed = format!("{HEADER}.{CLAIMS}");
        assert_eq!(signing_input(&claims), signed);
        assert!(verifies(&format!("vapid t={signed}.{SIGNATURE}, k={KEY}")));
    }

    #[test]
    fn a_token_is_signed_by_the_key_that_it_names() {
        // The private key from the example in RFC 8291.
        let key = VapidKey::parse("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw").expect("a key");
        let contact = "mailto:shop@example.com";
        let header =
            key.authorization("https://push.example", contact, Millis(1_000)).expect("one");
        assert!(verifies(&header), "{header}");
        assert!(header.ends_with(key.public()));
        let other = header.replace(key.public(), KEY);
        assert!(!verifies(&other));
        for wrong in ["", "AAAA", "not base64url!", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
            assert!(VapidKey::parse(wrong).is_none(), "{wrong}");
        }
    }
}
