//! Web push: the subscription with which a buyer's browser gets messages.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::body::{self, Faults, read};
use crate::limits::PUSH_ENDPOINT_BYTES_MAX;
use crate::problem::Problem;

/// 65 bytes in base64url.
const PUBLIC_KEY_CHARS: usize = 87;
/// 16 bytes in base64url.
const AUTH_CHARS: usize = 22;

/// A browser's subscription, as `PushManager.subscribe` returns it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({
    "endpoint": "https://push.example/p/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV",
    "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
    "auth": "BTBZMqHH6r4Tts7J_aSIgg"
})))]
pub struct NewPushSubscription {
    /// The URL to which the server sends messages. It is an `https` URL of the browser's push
    /// service.
    #[schema(pattern = "^https://[!-~]+$", max_length = 2_048)]
    pub endpoint: String,
    /// The browser's public key: 65 bytes in base64url.
    #[schema(pattern = "^[A-Za-z0-9_-]{87}$")]
    pub p256dh: String,
    /// The browser's authentication secret: 16 bytes in base64url.
    #[schema(pattern = "^[A-Za-z0-9_-]{22}$")]
    pub auth: String,
}

impl NewPushSubscription {
    /// Reads the body of `POST /v1/push-subscriptions`.
    ///
    /// # Errors
    /// `400` or `422`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Problem> {
        body::object(bytes, &["endpoint", "p256dh", "auth"], |body| {
            let endpoint = body.required("endpoint", endpoint);
            let p256dh = body.required("p256dh", base64url(PUBLIC_KEY_CHARS));
            let auth = body.required("auth", base64url(AUTH_CHARS));
            Some(Self { endpoint: endpoint?, p256dh: p256dh?, auth: auth? })
        })
    }
}

fn endpoint(raw: &RawValue, pointer: &str, faults: &mut Faults) -> Option<String> {
    let text = read::string(raw, pointer, faults)?;
    let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    let has_host = ["https://", "http://"]
        .iter()
        .any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
    if !is_visible || !has_host {
        faults.refuse(pointer, "must be an https address in visible ASCII")
    } else if text.len() > PUSH_ENDPOINT_BYTES_MAX {
        faults.refuse(pointer, format!("must have at most {PUSH_ENDPOINT_BYTES_MAX} bytes"))
    } else {
        Some(text.into_owned())
    }
}

fn base64url(
    chars: usize,
) -> impl for<'a> FnOnce(&'a RawValue, &str, &mut Faults) -> Option<String> {
    move |raw, pointer, faults| {
        let text = read::string(raw, pointer, faults)?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if text.len() == chars && text.bytes().all(fits) {
            return Some(text.into_owned());
        }
        faults.refuse(pointer, format!("must have {chars} characters of base64url"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_has_an_address_and_two_keys_of_fixed_length() {
        let key = "B".repeat(PUBLIC_KEY_CHARS);
        let auth = "A".repeat(AUTH_CHARS);
        let read = |endpoint: &str, p256dh: &str, auth: &str| {
            let body =
                format!(r#"{{"endpoint":"{endpoint}","p256dh":"{p256dh}","auth":"{auth}"}}"#);
            let read = NewPushSubscription::from_json(body.as_bytes());
            read.map(drop).map_err(|problem| problem.faults().len())
        };
        assert_eq!(read("https://push.example/p/1", &key, &auth), Ok(()));
        assert_eq!(read("ftp://push.example/", &key, &auth), Err(1));
        assert_eq!(read("https://", &key[1..], &format!("{auth}=")), Err(3));
    }
}
