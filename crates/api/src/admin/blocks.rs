//! Blocks of buyers and addresses.

use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::{ObjectBuilder, OneOfBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::body::{self, read};
use crate::limits::NAME_MAX;
use crate::problem::Problem;
use crate::value::Time;

pub use doorbuster_types::BlockKind;

/// A buyer, an address or a network to block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewBlock {
    /// Whether `value` is a buyer, or an address or network.
    pub kind: BlockKind,
    /// The buyer's id, an address, or a network such as `192.0.2.0/24`.
    pub value: String,
    /// The end of the block; absent or `null` for a block without an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// The reason, for other operators.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl PartialSchema for NewBlock {
    fn schema() -> RefOr<Schema> {
        let until = || {
            OneOfBuilder::new()
                .item(Time::schema())
                .item(ObjectBuilder::new().schema_type(Type::Null))
                .description(Some(
                    "The end of the block; absent or `null` for a block without an end.",
                ))
        };
        let block = |kind: BlockKind, value: Schema| {
            ObjectBuilder::new()
                .schema_type(Type::Object)
                .property(
                    "kind",
                    ObjectBuilder::new()
                        .schema_type(Type::String)
                        .enum_values(Some([kind.as_str()])),
                )
                .required("kind")
                .property("value", value)
                .required("value")
                .property("expires_at", until())
                .property("reason", super::schema::title())
                .additional_properties(Some(AdditionalProperties::FreeForm(false)))
        };
        let network = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^[0-9A-Fa-f:./]+$"))
            .max_length(Some(NAME_MAX))
            .description(Some("An address, or a network like `192.0.2.0/24`."));
        OneOfBuilder::new()
            .item(block(BlockKind::Buyer, super::schema::name()))
            .item(block(BlockKind::Ip, network.into()))
            .description(Some("A block of one buyer (by id), of one address, or of one network."))
            .examples([serde_json::json!({
                "kind": "ip", "value": "192.0.2.0/24", "expires_at": "2026-11-20T12:00:00.000Z",
                "reason": "a bot farm"
            })])
            .into()
    }
}

impl ToSchema for NewBlock {}

impl NewBlock {
    /// Reads the body of `POST /v1/admin/blocks`. The caller must check that `value` fits `kind`.
    ///
    /// # Errors
    /// `400` or `422`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Problem> {
        body::object(bytes, &["kind", "value", "expires_at", "reason"], |body| {
            let kind = body.required("kind", read::word(&BlockKind::ALL, BlockKind::as_str));
            let value = body.required("value", read::string);
            let expires_at = body.optional("expires_at", None, read::nullable(read::time));
            let reason = body.optional("reason", String::new(), read::title);
            let (kind, value) = (kind?, value?.into_owned());
            Some(Self { kind, value, expires_at: expires_at?, reason: reason? })
        })
    }
}

/// A block of a buyer, an address or a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "id": "blk_0c9d8e7a65b1", "kind": "ip", "value": "192.0.2.0/24", "expires_at": null, "reason": "a bot farm",
    "created_at": "2026-11-20T09:00:00.000Z"
})))]
pub struct Block {
    /// The block's id. All blocks of the same value have the same id, whenever they were added.
    pub id: String,
    /// Whether `value` is a buyer, or an address or network.
    pub kind: BlockKind,
    /// The buyer's id, or the network in canonical form.
    pub value: String,
    /// The end of the block; `null` for a block without an end.
    pub expires_at: Option<Time>,
    /// The reason, for other operators.
    pub reason: String,
    /// When the block was created or last changed.
    pub created_at: Time,
}

/// The blocks in effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlockList {
    /// The blocks that have not ended, newest first.
    pub blocks: Vec<Block>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_read_strictly() {
        let read = |json: &str| NewBlock::from_json(json.as_bytes());
        let block = read(r#"{"kind":"buyer","value":"robot"}"#).expect("a valid body");
        let expected = NewBlock {
            kind: BlockKind::Buyer,
            value: "robot".into(),
            expires_at: None,
            reason: String::new(),
        };
        assert_eq!(block, expected);
        let block = read(
            r#"{"kind":"ip","value":"::1","expires_at":"2026-11-20T12:00:00Z","reason":"why"}"#,
        );
        let block = block.expect("a valid body");
        assert_eq!((block.kind, block.reason.as_str()), (BlockKind::Ip, "why"));
        assert!(block.expires_at.is_some());
        for wrong in [
            r#"{"kind":"buyer"}"#,
            r#"{"value":"robot"}"#,
            r#"{"kind":"sale","value":"robot"}"#,
            r#"{"kind":"buyer","value":7}"#,
            r#"{"kind":"buyer","value":"robot","expires_at":"tomorrow"}"#,
            r#"{"kind":"buyer","value":"robot","reason":null}"#,
            r#"{"kind":"buyer","value":"robot","reason":" "}"#,
            r#"{"kind":"buyer","value":"robot","reason":"two\nlines"}"#,
            r#"{"kind":"buyer","value":"robot","until":null}"#,
        ] {
            assert_eq!(read(wrong).expect_err(wrong).status(), 422, "{wrong}");
        }
    }
}
