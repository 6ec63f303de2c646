//! The claims of an ID token, and the role that they give.

use aws_lc_rs::digest::{SHA256, digest};
use doorbuster_api::admin::keys::Role;
use doorbuster_config::OidcSettings;
use serde_json::{Map, Value};

use super::OidcError;
use crate::claims::LEEWAY_SECS;

/// If a token's subject has more bytes than this, the person's id contains the subject's hash
/// instead.
const SUBJECT_BYTES_MAX: usize = 100;
const NAME_CHARS_MAX: usize = 100;

/// A person whom the issuer signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedIn {
    /// `oidc:`, followed by the token's subject or by the subject's hash. The issuer never changes
    /// a person's subject.
    pub id: String,
    /// The name, for display.
    pub name: String,
    /// What the person may do.
    pub role: Role,
}

/// Checks the claims of an ID token, and returns the person. The caller must have verified the
/// token's signature.
pub(super) fn check(
    json: &[u8],
    settings: &OidcSettings,
    nonce: &str,
    now_secs: i64,
) -> Result<SignedIn, OidcError> {
    let claims: Map<String, Value> = serde_json::from_slice(json)
        .map_err(|_| OidcError::Invalid("the claims are not an object"))?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    let secs = |name: &str| claims.get(name).and_then(Value::as_f64).map(|secs| secs as i64);
    if text("iss") != settings.issuer {
        return Err(OidcError::Invalid("the token is from another issuer"));
    }
    let audiences = texts(claims.get("aud"));
    if !audiences.contains(&settings.client_id.as_str()) {
        return Err(OidcError::Invalid("the token is for another client"));
    }
    let needs_party = audiences.len() > 1 || claims.contains_key("azp");
    if needs_party && text("azp") != settings.client_id {
        return Err(OidcError::Invalid("the token was issued to another client"));
    }
    if secs("exp").is_none_or(|exp| exp.saturating_add(LEEWAY_SECS) < now_secs) {
        return Err(OidcError::Invalid("the token has expired"));
    }
    let is_early = |name| secs(name).is_some_and(|at| at > now_secs.saturating_add(LEEWAY_SECS));
    if secs("iat").is_none() || is_early("iat") || is_early("nbf") {
        return Err(OidcError::Invalid("the token is not valid yet"));
    }
    if text("nonce") != nonce {
        return Err(OidcError::Invalid("the token's nonce belongs to another sign-in"));
    }
    let subject = text("sub");
    if subject.is_empty() {
        return Err(OidcError::Invalid("the token names no subject"));
    }
    let id = person_id(subject);
    let name = ["name", "preferred_username", "email"].map(text);
    let name = name.into_iter().find(|name| !name.is_empty()).unwrap_or(subject);
    let name = name.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect();
    match role(claim(&claims, &settings.role_claim), &settings.roles) {
        Some(role) => Ok(SignedIn { id, name, role }),
        None => Err(OidcError::NoRole(id)),
    }
}

/// Returns the id by which the log of actions names a person.
fn person_id(subject: &str) -> String {
    let is_plain =
        subject.len() <= SUBJECT_BYTES_MAX && subject.bytes().all(|byte| byte.is_ascii_graphic());
    if is_plain {
        return format!("oidc:{subject}");
    }
    let hash = digest(&SHA256, subject.as_bytes());
    let digits = hash.as_ref()[..16].iter().map(|byte| format!("{byte:02x}"));
    format!("oidc:sha256:{}", digits.collect::<String>())
}

/// Returns the claim with this name. If there is no such claim, the name is read as a path: `a.b`
/// names the member `b` of the object `a`.
fn claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| {
        let mut parts = name.split('.');
        let first = claims.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    })
}

fn texts(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Returns the highest role that the values of a claim give, or `None` if they give no role.
fn role(claim: Option<&Value>, roles: &[(String, Role)]) -> Option<Role> {
    let values = texts(claim);
    let given = roles.iter().filter(|(value, _)| values.contains(&value.as_str()));
    given.map(|(_, role)| *role).max()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(role_claim: &str) -> OidcSettings {
        OidcSettings {
            issuer: "https://id.example".into(),
            client_id: "doorbuster".into(),
            client_secret: "secret".into(),
            scopes: vec!["openid".into()],
            role_claim: role_claim.into(),
            roles: vec![("staff".into(), Role::Viewer), ("boss".into(), Role::Admin)],
        }
    }

    /// Returns valid claims, with the member `name` set to `value`. A null removes the member.
    fn claims(name: &str, value: Value) -> Vec<u8> {
        let mut claims = json!({
            "iss": "https://id.example", "aud": "doorbuster", "sub": "4711", "exp": 1_000,
            "iat": 990, "nonce": "n", "name": "Ann", "groups": ["staff"],
        });
        match value {
            Value::Null => drop(claims.as_object_mut().and_then(|all| all.remove(name))),
            value => claims[name] = value,
        }
        claims.to_string().into_bytes()
    }

    fn checked(name: &str, value: Value) -> Result<SignedIn, String> {
        let found = check(&claims(name, value), &settings("groups"), "n", 1_000);
        found.map_err(|error| error.to_string())
    }

    #[test]
    fn each_claim_of_the_standard_is_checked() {
        let ann = SignedIn { id: "oidc:4711".into(), name: "Ann".into(), role: Role::Viewer };
        assert_eq!(checked("extra", json!(1)), Ok(ann.clone()));
        for (name, value, word) in [
            ("iss", json!("https://id.example/"), "another issuer"),
            ("iss", Value::Null, "another issuer"),
            ("aud", json!("other"), "another client"),
            ("aud", json!([]), "another client"),
            ("aud", json!(["doorbuster", "other"]), "issued to another client"),
            ("azp", json!("other"), "issued to another client"),
            ("exp", json!(969), "expired"),
            ("exp", Value::Null, "expired"),
            ("iat", json!(1_031), "not valid yet"),
            ("iat", Value::Null, "not valid yet"),
            ("nbf", json!(1_031), "not valid yet"),
            ("nonce", json!("m"), "another sign-in"),
            ("nonce", Value::Null, "another sign-in"),
            ("sub", json!(""), "no subject"),
            ("groups", json!(["guests"]), "has no role"),
            ("groups", Value::Null, "has no role"),
        ] {
            let found = checked(name, value.clone());
            assert!(
                found.as_ref().is_err_and(|why| why.contains(word)),
                "{name} {value}: {found:?}"
            );
        }
        assert_eq!(checked("aud", json!(["doorbuster"])), Ok(ann.clone()));
        assert_eq!(checked("azp", json!("doorbuster")), Ok(ann));
        assert!(check(b"[]", &settings("groups"), "n", 0).is_err());
    }

    #[test]
    fn the_highest_role_counts_and_a_name_with_dots_leads_into_objects() {
        let role = |name: &str, value| {
            let mut claims = json!({ "groups": null });
            claims[name] = value;
            let claims = claims.as_object().cloned().expect("an object");
            role(claim(&claims, "realm.roles"), &settings("").roles)
        };
        assert_eq!(role("realm", json!({"roles": ["boss", "staff"]})), Some(Role::Admin));
        assert_eq!(role("realm", json!({"roles": "staff"})), Some(Role::Viewer));
        assert_eq!(role("realm.roles", json!(["staff"])), Some(Role::Viewer));
        assert_eq!(role("realm", json!({"roles": [1]})), None);
        assert_eq!(role("realm", json!("staff")), None);
    }

    #[test]
    fn a_long_or_unusual_subject_is_hashed() {
        assert_eq!(person_id("a|b@c"), "oidc:a|b@c");
        for subject in ["two words", &"x".repeat(101)] {
            let id = person_id(subject);
            assert!(id.starts_with("oidc:sha256:") && id.len() == 44, "{id}");
        }
    }
}
