//! Tests that each kind of public key accepts only tokens that its private key signed.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use doorbuster_config::BuyerKeys;
use doorbuster_testkit::TempDir;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::buyers::BuyerTokenVerifier;

fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn signed(alg: &str, kid: Option<&str>, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let mut header = json!({"alg": alg});
    if let Some(kid) = kid {
        header["kid"] = kid.into();
    }
    let message =
        format!("{}.{}", b64(header.to_string().as_bytes()), b64(br#"{"sub":"anna","exp":9999}"#));
    format!("{message}.{}", b64(&sign(message.as_bytes())))
}

struct Shop {
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
    rsa: RsaKeyPair,
}

impl Shop {
    fn new() -> Self {
        let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let ed = Ed25519KeyPair::generate().expect("a key");
        let rsa = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).expect("a key");
        Self { ec, ed, rsa }
    }

    fn ec(&self, message: &[u8]) -> Vec<u8> {
        self.ec.sign(&SystemRandom::new(), message).expect("the key signs").as_ref().to_vec()
    }

    fn ed(&self, message: &[u8]) -> Vec<u8> {
        self.ed.sign(message).as_ref().to_vec()
    }

    fn rsa(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.rsa.public_modulus_len()];
        self.rsa
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .expect("the key signs");
        signature
    }

    fn set(&self) -> Value {
        let point = self.ec.public_key().as_ref();
        let rsa = self.rsa.public_key();
        json!({"keys": [
            {"kty": "EC", "crv": "P-256", "kid": "ec", "use": "sig", "x": b64(&point[1..33]), "y": b64(&point[33..])},
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": b64(self.ed.public_key().as_ref())},
            {"kty": "RSA", "kid": "rsa", "alg": "RS256", "n": b64(rsa.modulus().big_endian_without_leading_zero()),
             "e": b64(rsa.exponent().big_endian_without_leading_zero())},
            {"kty": "RSA", "kid": "enc", "use": "enc", "n": "AQAB", "e": "AQAB"},
            {"kty": "oct", "kid": "secret", "k": b64(b"0123456789012345678901234567890123456789")},
            {"kty": "new", "kid": "odd"}
        ]})
    }
}

async fn of_file(scratch: &TempDir, set: &Value) -> Jwks {
    let path = scratch.path().join("jwks.json");
    std::fs::write(&path, set.to_string()).expect("writable");
    let jwks = Jwks::new(JwksSource::File(path));
    jwks.refresh().await.expect("a set");
    jwks
}

#[tokio::test]
async fn each_kind_of_key_accepts_only_its_own_tokens() {
    let (scratch, shop) = (TempDir::new(), Shop::new());
    let jwks = of_file(&scratch, &shop.set()).await;
    let expected = ExpectedClaims::default();
    let check = |token: &str| jwks.check(token, &expected, 1_000);
    for token in [
        signed("ES256", Some("ec"), |message| shop.ec(message)),
        signed("ES256", None, |message| shop.ec(message)),
        signed("EdDSA", Some("ed"), |message| shop.ed(message)),
        signed("RS256", Some("rsa"), |message| shop.rsa(message)),
    ] {
        assert_eq!(
            check(&token).map(|buyer| buyer.name.as_str().to_owned()),
            Ok("anna".to_owned())
        );
        assert!(matches!(
            check(&format!("{}AAAA", &token[..token.len() - 4])),
            Err(AuthenticationError::Bad(_))
        ));
    }
    let secret = aws_lc_rs::hmac::Key::new(
        aws_lc_rs::hmac::HMAC_SHA256,
        b"0123456789012345678901234567890123456789",
    );
    let hmac = |message: &[u8]| aws_lc_rs::hmac::sign(&secret, message).as_ref().to_vec();
    for token in [
        signed("HS256", Some("secret"), hmac),
        signed("none", None, |_| Vec::new()),
        signed("ES256", Some("ec"), |message| shop.ed(message)),
        signed("ES384", Some("ec"), |message| shop.ec(message)),
    ] {
        assert!(matches!(check(&token), Err(AuthenticationError::Bad(_))), "{token}");
    }
    for token in [
        signed("ES256", Some("other"), |message| shop.ec(message)),
        signed("RS256", Some("ec"), |message| shop.rsa(message)),
        signed("RS256", Some("enc"), |message| shop.rsa(message)),
    ] {
        assert_eq!(check(&token), Err(AuthenticationError::Unknown), "{token}");
    }
}

#[tokio::test]
async fn an_unknown_key_causes_a_read_of_the_set_at_a_bounded_rate() {
    let (scratch, shop) = (TempDir::new(), Shop::new());
    let mut set = shop.set();
    let ed = set["keys"].as_array_mut().expect("a list").remove(1);
    let jwks = of_file(&scratch, &set).await;
    let token = signed("EdDSA", Some("ed"), |message| shop.ed(message));
    let expected = ExpectedClaims::default();
    assert_eq!(jwks.check(&token, &expected, 0), Err(AuthenticationError::Unknown));
    std::fs::write(scratch.path().join("jwks.json"), json!({"keys": [ed]}).to_string())
        .expect("writable");
    jwks.refresh().await.expect("a refresh so soon must do nothing");
    assert_eq!(jwks.check(&token, &expected, 0), Err(AuthenticationError::Unknown));
    jwks.refresh_at(Instant::now() + MIN_REFRESH_INTERVAL).await.expect("a set");
    assert!(jwks.check(&token, &expected, 0).is_ok());
}

async fn accept_request(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let bytes = stream.read_buf(&mut head).await.expect("a request");
        assert_ne!(bytes, 0, "the client closed the connection before its request ended");
    }
    stream
}

#[tokio::test]
async fn a_read_that_did_not_end_delays_the_next_read_only_shortly() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let (jwks, body) = (Jwks::new(JwksSource::Url(url)), Shop::new().set().to_string());
    let start = Instant::now();
    // `select!` drops the refresh before the URL has answered. The server does the same if the
    // client whose request caused the refresh disconnects.
    tokio::select! {
        _ = jwks.refresh_at(start) => panic!("the read ended without an answer"),
        _ = accept_request(&listener) => {}
    }
    let answer = async {
        let mut stream = accept_request(&listener).await;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).await.expect("the client reads the answer");
        std::future::pending::<()>().await;
    };
    tokio::select! {
        read = jwks.refresh_at(start + UNFINISHED_READ_INTERVAL) => read.expect("a set"),
        () = answer => {}
    }
    assert!(jwks.len() > 0, "the second call did not read the set");
}

#[tokio::test]
async fn an_error_shows_no_secret_of_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let url = format!("http://hush:hush@{address}/jwks?key=hush#hush");
    let error = Jwks::new(JwksSource::Url(url)).read_now().await.expect_err("no server listens");
    let (text, shown) = (error.to_string(), format!("{error:?}"));
    assert!(text.contains(&format!("from http://{address}/jwks: ")), "{text}");
    assert!(!text.contains("hush") && !shown.contains("hush"), "{text} {shown}");
}

#[tokio::test]
async fn a_token_with_an_unknown_key_is_bad_only_if_the_last_read_found_keys() {
    let (scratch, shop) = (TempDir::new(), Shop::new());
    let mut set = shop.set();
    set["keys"].as_array_mut().expect("a list").remove(1);
    let token = signed("EdDSA", Some("ed"), |message| shop.ed(message));
    let (file, aside) = (scratch.path().join("jwks.json"), scratch.path().join("aside"));
    std::fs::write(&file, set.to_string()).expect("writable");
    let keys = BuyerKeys::JwksFile(file.clone());
    let buyers = BuyerTokenVerifier::with_keys(&keys, ExpectedClaims::default()).await;
    let buyers = buyers.unwrap_or_else(|error| panic!("{error}"));
    let checked = async || buyers.check_with_fresh_keys(&token, 0).await;
    assert!(matches!(checked().await, Err(AuthenticationError::Bad(_))));
    std::fs::rename(&file, &aside).expect("the file moves");
    buyers.reload_keys().await.expect_err("there is no file");
    assert_eq!(checked().await, Err(AuthenticationError::Unknown));
    std::fs::rename(&aside, &file).expect("the file moves");
    buyers.reload_keys().await.expect("a set");
    assert!(matches!(checked().await, Err(AuthenticationError::Bad(_))));
}
