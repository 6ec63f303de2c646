//! Operators' keys.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::body::{self, read};
use crate::problem::Problem;
use crate::value::Time;

/// What a key allows; each role may do what the ones before it may.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads everything.
    Viewer,
    /// Also runs sales, stock and orders.
    Operator,
    /// Also makes and deletes keys.
    Admin,
}

impl Role {
    /// Every role, the weakest first.
    pub const ALL: [Role; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role that `one_of` names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

/// A key to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"name": "night shift", "role": "operator"})))]
pub struct NewKey {
    /// Whose or what for.
    #[schema(schema_with = crate::admin::schema::title)]
    pub name: String,
    /// What it allows.
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
            // The reader let only words of roles through.
            Some(Self { name: name?, role: Role::parse(role?)? })
        })
    }
}

/// A key just made: the only time that `key` is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "id": "key_8Qm2Zr", "key": "dbk_0d7c9f5b1e3a48e2a6c4f1b09d8e7a65", "name": "night shift", "role": "operator",
    "created_at": "2026-11-20T09:00:00.000Z"
})))]
pub struct CreatedKey {
    /// Its id, to delete it by.
    pub id: String,
    /// The key itself; it is not kept and cannot be shown again.
    pub key: String,
    /// Whose or what for.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// When it was made.
    pub created_at: Time,
}

/// A key as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Key {
    /// Its id, to delete it by.
    pub id: String,
    /// Whose or what for.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// When it was made.
    pub created_at: Time,
}

/// The keys that were made here; the configured one is not among them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyList {
    /// The keys, oldest first.
    pub keys: Vec<Key>,
}
