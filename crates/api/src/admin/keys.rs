//! Operators' keys.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::body::{self, read};
use crate::problem::Problem;
use crate::value::Time;

/// The rights of a key; each role includes the rights of the roles before it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// May read all operators' data.
    Viewer,
    /// May also change sales, stock and orders.
    Operator,
    /// May also create and delete keys.
    Admin,
}

impl Role {
    /// Every role, from the weakest to the strongest.
    pub const ALL: [Role; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// The role's name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role with this name.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

/// A key to create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"name": "night shift", "role": "operator"})))]
pub struct NewKey {
    /// The owner or the purpose.
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
            let role = body.required("role", read::one_of(&["viewer", "operator", "admin"]));
            // The reader `one_of` accepts only names of roles.
            Some(Self { name: name?, role: Role::parse(role?)? })
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
    /// The owner or the purpose.
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
    /// The owner or the purpose.
    pub name: String,
    /// The key's role.
    pub role: Role,
    /// When the key was created.
    pub created_at: Time,
}

/// The keys that were created with this API, without the configured key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyList {
    /// The keys, oldest first.
    pub keys: Vec<Key>,
}
