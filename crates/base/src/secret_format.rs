//! The formats of secrets.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use doorbuster_core::IdKey;

use crate::signing::SigningKey;

/// The number of random bytes in a generated secret, and the smallest number of bytes in a secret
/// from the settings.
pub const SECRET_BYTES: usize = 32;
/// Creates a random secret. The format depends on the secret's name, such as `admin_key`.
pub fn generate(name: &str) -> String {
    match name {
        "admin_key" => format!("dbk_{}", URL_SAFE_NO_PAD.encode(random())),
        "webhook_secret" => format!("whsec_{}", STANDARD.encode(random())),
        "id_key" | "pass_key" => hex(random()),
        _ => URL_SAFE_NO_PAD.encode(random()),
    }
}

/// Returns whether a text has the format of the secret with this name, such as `admin_key`.
pub fn is_valid(name: &str, text: &str) -> bool {
    match name {
        "admin_key" => is_admin_key(text),
        "webhook_secret" => SigningKey::parse(text).is_some(),
        "id_key" | "pass_key" => parse_key(text).is_some(),
        _ => text.len() >= SECRET_BYTES,
    }
}

/// Returns whether a text is long enough for the operators' key, and contains only visible ASCII.
pub fn is_admin_key(text: &str) -> bool {
    text.len() >= SECRET_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Formats bytes as hexadecimal digits.
pub fn hex(bytes: [u8; SECRET_BYTES]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Parses the key that authenticates order ids, from hexadecimal digits.
pub fn parse_id_key(text: &str) -> Option<IdKey> {
    parse_key(text).map(IdKey::new)
}

/// Parses a key of [`SECRET_BYTES`] bytes from hexadecimal digits.
pub fn parse_key(text: &str) -> Option<[u8; SECRET_BYTES]> {
    let mut key = [0; SECRET_BYTES];
    let digit = |byte: u8| char::from(byte).to_digit(16);
    for (pair, byte) in text.as_bytes().chunks(2).zip(&mut key) {
        *byte = (digit(pair[0])? << 4 | digit(*pair.get(1)?)?) as u8;
    }
    (text.len() == 2 * SECRET_BYTES).then_some(key)
}

fn random() -> [u8; SECRET_BYTES] {
    rand::random()
}
