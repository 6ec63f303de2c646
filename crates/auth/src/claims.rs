//! The claims of a buyer's token, and their checks.

use std::borrow::Cow;
use std::fmt;

use doorbuster_core::gate::pass::Membership;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::AuthenticationError;

/// The server accepts a token up to this many seconds before the token becomes valid and after it
/// expires. The clock of the token's issuer may differ from the server's clock.
pub(crate) const LEEWAY_SECS: i64 = 30;

pub use doorbuster_core::BuyerName;

/// The buyer whom a valid token names, and other claims of that token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedBuyer {
    /// The buyer.
    pub name: BuyerName,
    /// The membership and the level in the token. If the token lacks these claims, the buyer has no
    /// membership and no level.
    pub membership: Membership,
    /// When the token expires, in seconds since 1970.
    pub expires_secs: i64,
}

/// The issuer and the audience that every token must name.
#[derive(Clone, Debug, Default)]
pub struct ExpectedClaims {
    /// The issuer, if one is configured.
    pub issuer: Option<String>,
    /// The audience, if one is configured.
    pub audience: Option<String>,
}

/// The claims that the server reads from a token. If the token has one of these claims twice, the
/// token is invalid.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Claims<'a> {
    #[serde(borrow)]
    sub: Cow<'a, str>,
    exp: Seconds,
    #[serde(default)]
    nbf: Option<Seconds>,
    #[serde(borrow, default)]
    iss: Option<Cow<'a, str>>,
    #[serde(default)]
    aud: Option<Audience>,
    #[serde(default)]
    member: Option<bool>,
    #[serde(default)]
    level: Option<u8>,
}

/// A time in seconds since 1970, without fractions. A value outside `i64` becomes the nearest
/// `i64`.
#[derive(Clone, Copy, Debug)]
struct Seconds(i64);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Seconds;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a number of seconds")
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Seconds, E> {
                Ok(Seconds(number))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Seconds, E> {
                Ok(Seconds(i64::try_from(number).unwrap_or(i64::MAX)))
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<Seconds, E> {
                Ok(Seconds(number as i64))
            }
        }
        deserializer.deserialize_i64(Number)
    }
}

#[derive(Debug, serde::Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Claims<'_> {
    /// Reads and checks the claims of a token whose signature is valid.
    pub(super) fn verify(
        json: &[u8],
        expected: &ExpectedClaims,
        now_secs: i64,
    ) -> Result<VerifiedBuyer, AuthenticationError> {
        // The claims must be an object. Without this check, the deserialiser would also accept a
        // list of the claims' values.
        let object = json.trim_ascii_start().starts_with(b"{").then_some(json);
        match object.and_then(|json| serde_json::from_slice::<Claims<'_>>(json).ok()) {
            Some(claims) => claims.verify_claims(expected, now_secs),
            None => Err(AuthenticationError::Bad(
                "the token's claims are invalid; sub (a string) and exp (a number) are required",
            )),
        }
    }

    fn verify_claims(
        &self,
        expected: &ExpectedClaims,
        now_secs: i64,
    ) -> Result<VerifiedBuyer, AuthenticationError> {
        if self.exp.0.saturating_add(LEEWAY_SECS) < now_secs {
            return Err(AuthenticationError::Bad("the token has expired"));
        }
        if self.nbf.is_some_and(|nbf| nbf.0 > now_secs.saturating_add(LEEWAY_SECS)) {
            return Err(AuthenticationError::Bad("the token is not valid yet"));
        }
        if expected.issuer.is_some() && self.iss.as_deref() != expected.issuer.as_deref() {
            return Err(AuthenticationError::Bad("the token is from another issuer"));
        }
        if let Some(wanted) = &expected.audience {
            let named = match &self.aud {
                Some(Audience::One(audience)) => audience == wanted,
                Some(Audience::Many(audiences)) => audiences.contains(wanted),
                None => false,
            };
            if !named {
                return Err(AuthenticationError::Bad("the token is for another audience"));
            }
        }
        let name = BuyerName::new(&self.sub)
            .ok_or(AuthenticationError::Bad("the token's sub is not a valid buyer name"))?;
        let membership =
            Membership { member: self.member.unwrap_or(false), level: self.level.unwrap_or(0) };
        Ok(VerifiedBuyer { name, membership, expires_secs: self.exp.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_accepted_up_to_thirty_seconds_outside_its_times() {
        let check = |json: &str, expected: Result<&str, &str>| {
            let found = Claims::verify(json.as_bytes(), &ExpectedClaims::default(), 1_000);
            match (&found, expected) {
                (Ok(buyer), Ok(wanted)) => assert_eq!(buyer.name.as_str(), wanted, "{json}"),
                (Err(AuthenticationError::Bad(why)), Err(word)) => {
                    assert!(why.contains(word), "{json}: {why}")
                }
                _ => panic!("{json}: {found:?}"),
            }
        };
        check(r#"{"sub":"anna","exp":1000}"#, Ok("anna"));
        check(r#"{"sub":"anna","exp":970}"#, Ok("anna"));
        check(r#"{"sub":"anna","exp":969}"#, Err("expired"));
        check(r#"{"sub":"anna","exp":1e300}"#, Ok("anna"));
        check(r#"{"sub":"anna","exp":1000.5}"#, Ok("anna"));
        check(r#"{"sub":"anna","exp":18446744073709551615}"#, Ok("anna"));
        check(r#"{"sub":"anna","exp":-1e300}"#, Err("expired"));
        check(r#"{"sub":"anna","exp":9999,"nbf":1030}"#, Ok("anna"));
        check(r#"{"sub":"anna","exp":9999,"nbf":1031}"#, Err("not valid yet"));
        check(r#"{"sub":"anna","exp":9999,"nbf":null,"iss":null,"aud":null}"#, Ok("anna"));
        check(
            r#"{"sub":"\u0061nna","exp":9999,"other":[1],"iss":"x","aud":["y"],"member":true,"level":255}"#,
            Ok("anna"),
        );
        check(r#"{"sub":"anna"}"#, Err("claims"));
        check(r#"{"exp":9999}"#, Err("claims"));
        check(r#"{"sub":"anna","exp":"9999"}"#, Err("claims"));
        check(r#"{"sub":"anna","exp":9999,"nbf":"1"}"#, Err("claims"));
        check(r#"{"sub":"anna","exp":9999,"exp":9999}"#, Err("claims"));
        check(r#"{"sub":"anna","sub":"bert","exp":9999}"#, Err("claims"));
        check(r#"{"sub":"anna","exp":9999,"member":"yes"}"#, Err("claims"));
        check(r#"{"sub":"anna","exp":9999,"level":256}"#, Err("claims"));
        check(r#"{"sub":7,"exp":9999}"#, Err("claims"));
        check(r#"{"sub":"a b","exp":9999}"#, Err("sub"));
        check(r#"{"sub":"","exp":9999}"#, Err("sub"));
        check(r#"{"sub":"erased:0123","exp":9999}"#, Err("sub"));
        check(r#"{"sub":"erased","exp":9999}"#, Ok("erased"));
        check(r#"["anna",9999]"#, Err("claims"));
        check("", Err("claims"));
    }

    #[test]
    fn membership_and_level_come_from_the_token_and_default_to_none() {
        let check = |json: &str, member, level| {
            let buyer = Claims::verify(json.as_bytes(), &ExpectedClaims::default(), 0).expect(json);
            assert_eq!(buyer.membership, Membership { member, level }, "{json}");
        };
        check(r#"{"sub":"a","exp":1}"#, false, 0);
        check(r#"{"sub":"a","exp":1,"member":null,"level":null}"#, false, 0);
        check(r#"{"sub":"a","exp":1,"member":true,"level":255}"#, true, 255);
        check(r#"{"sub":"a","exp":1,"member":false,"level":1}"#, false, 1);
    }

    #[test]
    fn issuer_and_audience_are_required_only_when_configured() {
        let wants = ExpectedClaims { issuer: Some("shop".into()), audience: Some("door".into()) };
        let check = |json: &str, holds: bool| {
            assert_eq!(Claims::verify(json.as_bytes(), &wants, 0).is_ok(), holds, "{json}");
        };
        check(r#"{"sub":"a","exp":1,"iss":"shop","aud":"door"}"#, true);
        check(r#"{"sub":"a","exp":1,"iss":"shop","aud":["x","door"]}"#, true);
        check(r#"{"sub":"a","exp":1,"iss":"shop","aud":["x"]}"#, false);
        check(r#"{"sub":"a","exp":1,"iss":"shop"}"#, false);
        check(r#"{"sub":"a","exp":1,"iss":"other","aud":"door"}"#, false);
        check(r#"{"sub":"a","exp":1,"aud":"door"}"#, false);
    }
}
