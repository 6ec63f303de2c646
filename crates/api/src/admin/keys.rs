//! Operators' keys.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::body::{self, read};
use crate::problem::Problem;
use crate::value::Time;

pub use doorbuster_types::Role;

/// A key to create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"name": "night shift", "role": "operator"})))]
pub struct NewKey {
    /// The owner or the purpose of the key.
    #[schema(schema_with = crate::admin::schema::title)]
    pub name: String,
    /// The key's role.
    pub role: Role,
}

impl NewKey {
    /// Reads the body of `POST /v1/admin/keys`.
    ///
    /// # Errors
    /// `400` or `422`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Problem> {
        body::object(bytes, &["name", "role"], |body| {
            let name = body.required("name", read::title);
            let role = body.required("role", read::word(&Role::ALL, Role::as_str));
            Some(Self { name: name?, role: role? })
        })
    }
}

/// A created key. The server shows `key` only in this response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "id": "key_8Qm2Zr", "key": "dbk_0d7c9f5b1e3a48e2a6c4f1b09d8e7a65", "name": "night shift", "role": "operator",
    "created_at": "2026-11-20T09:00:00.000Z"
})))]
pub struct CreatedKey {
    /// The key's id.
    pub id: String,
    /// The secret key. The server does not store it.
    pub key: String,
    /// The owner or the purpose of the key.
    pub name: String,
    /// The key's role.
    pub role: Role,
    /// When the key was created.
    pub created_at: Time,
}

/// A key without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Key {
    /// The key's id.
    pub id: String,
    /// The owner or the purpose of the key.
    pub name: String,
    /// The key's role.
    pub role: Role,
    /// When the key was created.
    pub created_at: Time,
}

/// The keys that were created with this API. The configured key is not in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyList {
    /// The keys, oldest first.
    pub keys: Vec<Key>,
}
