//! For tests: decrypts the solution of a challenge with the nodes' key.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Decrypts a challenge, and returns its solution in the form in which a buyer sends it.
pub fn solve_sealed(master: [u8; 32], challenge: &Value, sale: &str, buyer: &str) -> Value {
    let key = blake3::derive_key("doorbuster: challenges", &master);
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, &key).expect("32 bytes"));
    let text = challenge["challenge"].as_str().expect("the token is a text");
    let mut token = URL_SAFE_NO_PAD.decode(text).expect("base64");
    let mut sealed = token.split_off(12);
    let nonce = Nonce::try_assume_unique_for_key(&token).expect("12 bytes");
    let bound = format!("{sale}\0{buyer}");
    let inside = key
        .open_in_place(nonce, Aad::from(bound.as_bytes()), &mut sealed)
        .expect("the challenge belongs to this buyer");
    // The decrypted bytes contain the id, the kind and the expiry, and after them the solution.
    let answer = &inside[25..];
    match challenge["kind"].as_str() {
        Some("slider") => json!({"x": u16::from_be_bytes([answer[0], answer[1]])}),
        _ => {
            let text: Vec<u8> = answer.iter().copied().take_while(|byte| *byte != 0).collect();
            json!({"text": String::from_utf8(text).expect("letters")})
        }
    }
}
