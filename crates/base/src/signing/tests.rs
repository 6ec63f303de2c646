//! Tests signatures with an example from the official Python library of Standard Webhooks, and with
//! every kind of invalid message.
use super::*;

/// The library signed the example message (`ID`, `AT` and `BODY`) with this secret.
const SECRET: &str = "whsec_ZG9vcmJ1c3RlciBzaWducyB3aXRoIHRoaXMh";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const AT: i64 = 1_614_265_330;
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const SIGNATURE: &str = "v1,06K5ed7xcfMl1Lbe3C7uBmkJ9oyisOO0dVUPgYljN1k=";

fn key() -> SigningKey {
    SigningKey::parse(SECRET).expect("a secret")
}

fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in of {
        headers.append(*name, value.parse().expect("a header"));
    }
    headers
}

fn check(
    id: &str,
    at: &str,
    signature: &str,
    body: &[u8],
    now_secs: i64,
) -> Result<String, SignatureError> {
    let headers =
        headers(&[(ID_HEADER, id), (TIMESTAMP_HEADER, at), (SIGNATURE_HEADER, signature)]);
    verify(&headers, body, &[key()], Millis(now_secs * 1_000), TOLERANCE_MS).map(str::to_owned)
}

#[test]
fn a_message_is_signed_as_the_official_library_signs_it() {
    assert_eq!(sign(ID, AT, BODY, &[key()]), SIGNATURE);
    assert_eq!(check(ID, &AT.to_string(), SIGNATURE, BODY, AT), Ok(ID.to_owned()));
}

#[test]
fn a_changed_message_is_rejected() {
    let at = AT.to_string();
    assert_eq!(check("msg_other", &at, SIGNATURE, BODY, AT), Err(SignatureError::Forged));
    assert_eq!(check(ID, &(AT + 1).to_string(), SIGNATURE, BODY, AT), Err(SignatureError::Forged));
    assert_eq!(
        check(ID, &at, SIGNATURE, br#"{"test": 2432232315}"#, AT),
        Err(SignatureError::Forged)
    );
    assert_eq!(
        check(ID, &at, &SIGNATURE.replace("v1,", "v2,"), BODY, AT),
        Err(SignatureError::Forged)
    );
    assert_eq!(check(ID, &at, "v1,", BODY, AT), Err(SignatureError::Forged));
    assert_eq!(check(ID, &at, "nonsense", BODY, AT), Err(SignatureError::Forged));
    let truncated =
        format!("v1,{}", BASE64.encode(&BASE64.decode(&SIGNATURE[3..]).expect("base64")[..16]));
    assert_eq!(check(ID, &at, &truncated, BODY, AT), Err(SignatureError::Forged));
}

#[test]
fn a_message_outside_the_time_tolerance_is_rejected() {
    let at = AT.to_string();
    for (now, is_good) in [(AT + 300, true), (AT - 300, true), (AT + 301, false), (AT - 301, false)]
    {
        assert_eq!(check(ID, &at, SIGNATURE, BODY, now).is_ok(), is_good, "{now}");
    }
    let wrong = ["-5", "+1614265330", "1614265330.0", "1614265330 ", "99999999999999999999", "x"];
    for at in wrong.into_iter().chain(["1614265330000", "2021-02-25T15:02:10Z", "1614265330s"]) {
        let result = check(ID, at, SIGNATURE, BODY, AT);
        assert_eq!(result, Err(SignatureError::Time), "{at}");
    }
    assert_eq!(check(ID, "999999999999", SIGNATURE, BODY, AT), Err(SignatureError::Stale));
}

#[test]
fn each_header_is_required_exactly_once() {
    let at = AT.to_string();
    let all = [(ID_HEADER, ID), (TIMESTAMP_HEADER, at.as_str()), (SIGNATURE_HEADER, SIGNATURE)];
    let now = Millis(AT * 1_000);
    for left_out in 0..3 {
        let mut some = all.to_vec();
        let twice = some.remove(left_out);
        assert_eq!(
            verify(&headers(&some), BODY, &[key()], now, TOLERANCE_MS),
            Err(SignatureError::Headers)
        );
        some.extend([twice, twice]);
        assert_eq!(
            verify(&headers(&some), BODY, &[key()], now, TOLERANCE_MS),
            Err(SignatureError::Headers)
        );
    }
    for empty in [("", at.as_str(), SIGNATURE), (ID, "", SIGNATURE), (ID, at.as_str(), "")] {
        assert_eq!(
            check(empty.0, empty.1, empty.2, BODY, AT),
            Err(SignatureError::Headers),
            "{empty:?}"
        );
    }
}

#[test]
fn a_header_fault_is_reported_whether_or_not_the_signature_matches() {
    let at = AT.to_string();
    let long = "x".repeat(ID_MAX + 1);
    for (id, at, expected) in [
        (long.as_str(), at.as_str(), SignatureError::LongId),
        ("msg 1", at.as_str(), SignatureError::OddId),
        (ID, "1614265330000", SignatureError::Time),
    ] {
        let fits = SigningKey::new(&[7; 32]);
        let proof = sign(id, AT, BODY, std::slice::from_ref(&fits));
        for proof in [proof.as_str(), "v1,bm9uZQ=="] {
            let headers =
                headers(&[(ID_HEADER, id), (TIMESTAMP_HEADER, at), (SIGNATURE_HEADER, proof)]);
            let result = verify(
                &headers,
                BODY,
                std::slice::from_ref(&fits),
                Millis(AT * 1_000),
                TOLERANCE_MS,
            );
            assert_eq!(result, Err(expected));
        }
    }
    assert_eq!(
        SignatureError::LongId.to_string(),
        "webhook-id is too long: it must have at most 256 characters"
    );
    let key = [key()];
    let signed = sign(&long[1..], AT, BODY, &key);
    assert_eq!(check(&long[1..], &at, &signed, BODY, AT), Ok(long[1..].to_owned()));
}

#[test]
fn a_header_that_is_not_ascii_is_reported_by_its_own_rule() {
    let at = AT.to_string();
    let check = |name: &'static str, expected: SignatureError| {
        let mut all =
            headers(&[(ID_HEADER, ID), (TIMESTAMP_HEADER, &at), (SIGNATURE_HEADER, SIGNATURE)]);
        all.insert(
            name,
            HeaderValue::from_bytes("mß".as_bytes()).expect("a header may contain the value"),
        );
        assert_eq!(
            verify(&all, BODY, &[key()], Millis(AT * 1_000), TOLERANCE_MS),
            Err(expected),
            "{name}"
        );
    };
    check(ID_HEADER, SignatureError::OddId);
    check(TIMESTAMP_HEADER, SignatureError::Time);
    check(SIGNATURE_HEADER, SignatureError::Forged);
}

#[test]
fn only_the_first_sixteen_signatures_are_checked() {
    let at = AT.to_string();
    let behind = |others: usize| format!("{}{SIGNATURE}", "v1,bm9uZQ== ".repeat(others));
    assert!(check(ID, &at, &behind(SIGNATURES_MAX - 1), BODY, AT).is_ok());
    assert_eq!(check(ID, &at, &behind(SIGNATURES_MAX), BODY, AT), Err(SignatureError::Forged));
    assert_eq!(SIGNATURES_MAX, 16, "docs/payments.md must name the same number");
}

#[test]
fn during_a_replacement_both_secrets_sign_and_either_signature_is_accepted() {
    let (old, new) = (key(), SigningKey::new(&[7; 32]));
    let both = sign(ID, AT, BODY, &[new.clone(), old.clone()]);
    assert_eq!(both.split(' ').count(), 2);
    let at = AT.to_string();
    let headers = headers(&[(ID_HEADER, ID), (TIMESTAMP_HEADER, &at), (SIGNATURE_HEADER, &both)]);
    let now = Millis(AT * 1_000);
    for keys in [vec![old.clone()], vec![new.clone()], vec![SigningKey::new(&[8; 32]), new]] {
        assert_eq!(verify(&headers, BODY, &keys, now, TOLERANCE_MS), Ok(ID));
    }
    assert_eq!(
        verify(&headers, BODY, &[SigningKey::new(&[8; 32])], now, TOLERANCE_MS),
        Err(SignatureError::Forged)
    );
    assert_eq!(verify(&headers, BODY, &[], now, TOLERANCE_MS), Err(SignatureError::Forged));
    assert_eq!(check(ID, &at, &format!("v1a,xyz v2,abc {SIGNATURE}"), BODY, AT), Ok(ID.to_owned()));
}

#[test]
fn a_secret_is_base64_with_a_prefix_and_optional_padding() {
    let secret = format_secret(&[9; 32]);
    let signed = |secret: &str| sign(ID, AT, BODY, &[SigningKey::parse(secret).expect("a secret")]);
    assert_eq!(signed(&secret), sign(ID, AT, BODY, &[SigningKey::new(&[9; 32])]));
    assert_eq!(
        signed(secret.trim_end_matches('=')),
        signed(&secret),
        "a secret without padding must be valid"
    );
    for wrong in [
        "",
        "whsec_",
        "whsec_***",
        "secret",
        "whsec_c2hvcnQ=",
        &format_secret(&[1; 65]),
        &secret[6..],
    ] {
        assert!(SigningKey::parse(wrong).is_none(), "{wrong}");
    }
}
