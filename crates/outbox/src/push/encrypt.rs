//! Encrypts a message for one browser: RFC 8291 (Web Push), as one record of `aes128gcm` (RFC
//! 8188).

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The number of bytes of a public key: an uncompressed point of P-256.
pub(super) const PUBLIC_KEY_BYTES: usize = 65;
/// The number of bytes of a browser's authentication secret.
pub(super) const AUTH_BYTES: usize = 16;
/// The maximum number of bytes of a message before encryption. Every push service accepts messages
/// of this length.
pub const MESSAGE_BYTES_MAX: usize = 2_048;
const SALT_BYTES: usize = 16;
const CONTENT_KEY_BYTES: usize = 16;
/// The record size in the header of `aes128gcm`. It is larger than every message, so a message is
/// one record.
const RECORD_BYTES: u32 = 4_096;
/// The byte that marks the end of the last record.
const LAST_RECORD: u8 = 2;

/// The keys that a browser created for one subscription.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BrowserKeys {
    /// The public key: a point of the curve P-256.
    pub public: [u8; PUBLIC_KEY_BYTES],
    /// A secret that the browser and the shop share. Only a sender with this secret can send
    /// messages to the browser.
    pub auth: [u8; AUTH_BYTES],
}

/// Returns the body of the request to the push service. Returns `None` if the browser's key is not
/// a point of the curve, or if the message is too long.
pub fn encrypt(browser: &BrowserKeys, message: &[u8]) -> Option<Vec<u8>> {
    let ours = PrivateKey::generate(&ECDH_P256).ok()?;
    encrypt_with(browser, message, &ours, rand::random())
}

fn encrypt_with(
    browser: &BrowserKeys,
    message: &[u8],
    ours: &PrivateKey,
    salt: [u8; SALT_BYTES],
) -> Option<Vec<u8>> {
    if message.len() > MESSAGE_BYTES_MAX {
        return None;
    }
    let our_public = ours.compute_public_key().ok()?;
    let theirs = UnparsedPublicKey::new(&ECDH_P256, browser.public);
    let shared = agree(ours, theirs, (), |secret| Ok(secret.to_vec())).ok()?;
    let (key, nonce) = content_keys(browser, our_public.as_ref(), &shared, &salt);

    let mut body = Vec::with_capacity(message.len() + 128);
    body.extend_from_slice(&salt);
    body.extend_from_slice(&RECORD_BYTES.to_be_bytes());
    body.push(u8::try_from(our_public.as_ref().len()).ok()?);
    body.extend_from_slice(our_public.as_ref());
    let mut record = [message, &[LAST_RECORD]].concat();
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).ok()?);
    let nonce = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce, Aad::empty(), &mut record).ok()?;
    body.append(&mut record);
    Some(body)
}

/// Derives the key and the nonce that encrypt the message. `shared` is the result of the key
/// agreement between the browser's key and the server's key.
fn content_keys(
    browser: &BrowserKeys,
    our_public: &[u8],
    shared: &[u8],
    salt: &[u8],
) -> ([u8; CONTENT_KEY_BYTES], [u8; NONCE_LEN]) {
    let info: &[&[u8]] = &[b"WebPush: info\0", &browser.public, our_public, &[1]];
    let input = mac(&mac(&browser.auth, &[shared]), info);
    let mixed = mac(salt, &[&input]);
    let key = mac(&mixed, &[b"Content-Encoding: aes128gcm\0", &[1]]);
    let nonce = mac(&mixed, &[b"Content-Encoding: nonce\0", &[1]]);
    (first(&key), first(&nonce))
}

/// Computes HMAC-SHA-256. One call does a whole step of HKDF (RFC 5869), because no step needs more
/// output than one hash.
fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("any length is a key");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn first<const N: usize>(bytes: &[u8; 32]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]);
    out
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).expect(text)
    }

    fn browser() -> BrowserKeys {
        let public = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRp\
                      kNtoIAiw4";
        BrowserKeys {
            public: bytes(public).try_into().expect("a point"),
            auth: bytes("BTBZMqHH6r4Tts7J_aSIgg").try_into().expect("a secret"),
        }
    }

    #[test]
    fn a_message_is_encrypted_as_in_the_example_of_rfc_8291() {
        let ours = bytes("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw");
        let ours = PrivateKey::from_private_key(&ECDH_P256, &ours).expect("a key");
        let salt = bytes("DGv6ra1nlYgDCS1FRnbzlw").try_into().expect("a salt");
        let message = b"When I grow up, I want to be a watermelon";
        let body = encrypt_with(&browser(), message, &ours, salt).expect("a body");
        assert_eq!(
            URL_SAFE_NO_PAD.encode(body),
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocI\
             nmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWG\
             NWQexSgSxsj_Qulcy4a-fN"
        );
    }

    #[test]
    fn a_key_that_is_no_point_and_a_message_that_is_too_long_give_no_body() {
        let wrong = BrowserKeys { public: [4; PUBLIC_KEY_BYTES], ..browser() };
        assert_eq!(encrypt(&wrong, b"x"), None);
        assert_eq!(encrypt(&browser(), &[0; MESSAGE_BYTES_MAX + 1]), None);
        assert!(encrypt(&browser(), &[0; MESSAGE_BYTES_MAX]).is_some());
    }
}
