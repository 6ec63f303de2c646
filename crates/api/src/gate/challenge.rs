//! Challenges in JSON. A buyer solves a challenge to get a pass.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ChallengeKind;
use crate::body::{object, read};
use crate::problem::Problem;
use crate::value::Time;

/// A challenge for one buyer and one sale. The buyer can answer the challenge only once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schema(examples(json!({
    "kind": "slider", "challenge": "Zm9yIHlvdXIgZXllcyBvbmx5", "expires_at": "2026-11-20T10:02:00.000Z",
    "background": "data:image/png;base64,iVBORw0KGgo=", "piece": "data:image/png;base64,iVBORw0KGgo=",
    "width": 340, "height": 170, "piece_y": 61
})))]
pub enum Challenge {
    /// Five letters and digits in an image; the answer is `{"text": "k7q2m"}`.
    Image {
        /// The challenge as an encrypted text. The client sends this text back with the answer.
        challenge: String,
        /// When the challenge expires.
        expires_at: Time,
        /// The image: a PNG as a data URL.
        image: String,
        /// The image's width, in pixels.
        width: u32,
        /// The image's height, in pixels.
        height: u32,
    },
    /// A piece that the buyer slides into the matching gap. The answer is `{"x": 143}`: the
    /// distance of the piece from the picture's left edge, in pixels.
    Slider {
        /// The challenge as an encrypted text. The client sends this text back with the answer.
        challenge: String,
        /// When the challenge expires.
        expires_at: Time,
        /// The picture with several gaps, as a PNG in a data URL. One gap matches the piece.
        background: String,
        /// The piece: a square PNG as a data URL.
        piece: String,
        /// The picture's width, in pixels.
        width: u32,
        /// The picture's height, in pixels.
        height: u32,
        /// Distance of the piece's top edge from the picture's top edge, in pixels.
        piece_y: u16,
    },
    /// A proof of work by the ALTCHA protocol, version 2. The answer is `{"altcha": "<payload>"}`.
    /// The ALTCHA widget makes the payload.
    Pow {
        /// The challenge as an encrypted text. The client sends this text back with the answer.
        challenge: String,
        /// When the challenge expires.
        expires_at: Time,
        /// The challenge in the format of ALTCHA.
        #[schema(value_type = Object)]
        altcha: serde_json::Value,
        /// The largest number of keys that the browser tries. A page can show the progress as a
        /// share of this number.
        tries_max: u32,
    },
}

/// The request for a challenge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({}), json!({"kind": "pow"})))]
pub struct ChallengeRequest {
    /// The requested kind; by default the sale's kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = kinds, required = false)]
    pub kind: Option<ChallengeKind>,
}

const KINDS: &[ChallengeKind] = &[ChallengeKind::Image, ChallengeKind::Slider, ChallengeKind::Pow];

fn kinds() -> utoipa::openapi::Object {
    utoipa::openapi::ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::String)
        .enum_values(Some(KINDS.iter().map(|kind| kind.as_str())))
        .build()
}

impl ChallengeRequest {
    /// Reads the request. If the body is absent, the client asks for the kind of challenge that the
    /// sale sets.
    ///
    /// # Errors
    /// `400` or `422`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Problem> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        object(bytes, &["kind"], |body| {
            let kind = read::not_null(read::word(KINDS, ChallengeKind::as_str));
            Some(Self { kind: body.optional("kind", None, kind)? })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_may_be_requested() {
        let requested = |body: &str| {
            ChallengeRequest::from_json(body.as_bytes()).map(|requested| requested.kind)
        };
        assert_eq!(requested(""), Ok(None));
        assert_eq!(requested("{}"), Ok(None));
        assert_eq!(requested(r#"{"kind":"pow"}"#), Ok(Some(ChallengeKind::Pow)));
        for bad in
            [r#"{"kind":"off"}"#, r#"{"kind":null}"#, r#"{"kind":7}"#, r#"{"item":"phone"}"#, "[]"]
        {
            assert!(requested(bad).is_err(), "{bad}");
        }
    }
}
