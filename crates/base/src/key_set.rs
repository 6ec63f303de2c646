//! Reads a JSON Web Key Set: the public keys with which a shop's tokens are verified.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

/// The maximum size of a key set, in bytes. A larger set is an error.
pub const BYTES_MAX: usize = 256 * 1024;
/// The maximum number of usable keys that are read from a set. All later keys are ignored.
const KEYS_MAX: usize = 64;

/// A public key of a set.
pub struct PublicKey {
    /// The key's id, which a token can name.
    pub kid: Option<String>,
    /// The algorithm of the key's signatures.
    pub algorithm: Algorithm,
    /// The key.
    pub key: DecodingKey,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<serde_json::Value>,
}

/// Returns the error for a set that is larger than [`BYTES_MAX`].
#[must_use]
pub fn too_large() -> String {
    format!("the set is larger than {BYTES_MAX} bytes")
}

/// Reads a file that contains a key set.
///
/// # Errors
///
/// If the file cannot be read or is too large. The error is the reason.
pub fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let why = |error: std::io::Error| error.to_string();
    if std::fs::metadata(path).map_err(why)?.len() > BYTES_MAX as u64 {
        return Err(too_large());
    }
    std::fs::read(path).map_err(why)
}

/// Checks that a file contains a usable key set.
///
/// # Errors
///
/// If the file contains no usable key set. The error is the reason.
pub fn check_file(path: &Path) -> Result<(), String> {
    read_file(path).and_then(|bytes| parse(&bytes)).map(drop)
}

/// Returns the usable keys of a set. Leaves out invalid keys, and keys that are not for signatures.
///
/// # Errors
///
/// If the bytes are not a key set, or if no key is usable. The error is the reason.
pub fn parse(bytes: &[u8]) -> Result<Vec<PublicKey>, String> {
    let set: KeySet = serde_json::from_slice(bytes)
        .map_err(|error| format!("the content is not a JSON Web Key Set: {error}"))?;
    let keys: Vec<PublicKey> = set.keys.into_iter().filter_map(parse_key).take(KEYS_MAX).collect();
    if keys.is_empty() {
        return Err("the set contains no key for RS256, ES256 or EdDSA".to_owned());
    }
    Ok(keys)
}

/// The y coordinates of all Ed25519 points of low order (an order that divides 8), in little-endian
/// form without the sign bit. The last two entries are alternative encodings of 0 and 1. Source:
/// <https://datatracker.ietf.org/doc/html/rfc8032#section-5.1> and the list in libsodium.
const LOW_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    first_byte(1),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    below_field(0xec),
    below_field(0xed),
    below_field(0xee),
];

const fn first_byte(byte: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0] = byte;
    bytes
}

/// Returns the encoding of a number near 2^255 − 19, the prime of the field. `first` is the
/// number's lowest byte.
const fn below_field(first: u8) -> [u8; 32] {
    let mut bytes = [0xff; 32];
    bytes[0] = first;
    bytes[31] = 0x7f;
    bytes
}

/// Returns whether a public key is a point of low order. With such a key, anyone can forge
/// signatures.
fn is_low_order(x: &str) -> bool {
    let Ok(bytes) = URL_SAFE_NO_PAD.decode(x) else { return false };
    let Ok(mut point) = <[u8; 32]>::try_from(bytes) else { return false };
    point[31] &= 0x7f;
    LOW_ORDER.contains(&point)
}

fn parse_key(value: serde_json::Value) -> Option<PublicKey> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(of) if of.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        AlgorithmParameters::OctetKeyPair(of) if of.curve == EllipticCurve::Ed25519 => {
            Algorithm::EdDSA
        }
        _ => return None,
    };
    let said = jwk.common.key_algorithm.map(|said| said.to_string());
    let fits = said.is_none_or(|said| said == format!("{algorithm:?}"));
    let signs = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
    if let AlgorithmParameters::OctetKeyPair(pair) = &jwk.algorithm
        && is_low_order(&pair.x)
    {
        tracing::warn!(
            kid = jwk.common.key_id,
            event = "auth.weak_key_ignored",
            "ignored a weak public key, because anyone can forge its signatures; replace it"
        );
        return None;
    }
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    (fits && signs).then_some(PublicKey { kid: jwk.common.key_id, algorithm, key })
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_weak_ed25519_key_is_ignored() {
        let set = |x: &[u8; 32]| {
            let x = URL_SAFE_NO_PAD.encode(x);
            json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "weak", "x": x}]}).to_string()
        };
        for mut point in LOW_ORDER {
            for sign in [0, 0x80] {
                point[31] ^= sign;
                assert!(parse(set(&point).as_bytes()).is_err(), "{point:02x?}");
            }
        }
        let good = Ed25519KeyPair::generate().expect("a key");
        let good = <[u8; 32]>::try_from(good.public_key().as_ref()).expect("32 bytes");
        assert_eq!(parse(set(&good).as_bytes()).expect("a key").len(), 1);
    }
}
