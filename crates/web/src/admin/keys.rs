//! Lists, creates and deletes operators' keys. The server shows the text of a key only in the
//! response to `POST`.

use std::sync::Arc;

use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorbuster_api::admin::keys::{CreatedKey, Key, KeyList, NewKey};
use doorbuster_api::limits::ADMIN_BODY_BYTES_MAX;
use doorbuster_api::problem::Problem;
use doorbuster_auth::OperatorKeyVerifier;
use doorbuster_engine::api_conversion;
use doorbuster_store::{AdminKey, recorded};
use http::StatusCode;

use crate::App;
use crate::identity::OperatorIdentity;
use crate::limits::OPERATOR_KEYS_MAX;
use crate::path_names::PathNames;
use crate::reply::{HandlerError, HandlerResult, empty, json, ok};
use crate::request_body::JsonBody;

/// `GET /v1/admin/keys`
pub(crate) async fn list(State(app): State<Arc<App>>) -> HandlerResult {
    let keys = app.node.store().keys().await?;
    let shown = |key: &AdminKey| Key {
        id: key.id.clone(),
        name: key.name.clone(),
        role: key.role,
        created_at: api_conversion::time(key.created_at),
    };
    ok(&KeyList { keys: keys.iter().map(shown).collect() })
}

/// `POST /v1/admin/keys`
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    JsonBody(body): JsonBody<ADMIN_BODY_BYTES_MAX>,
) -> HandlerResult {
    let wanted = NewKey::from_json(&body)?;
    let _guard = app.keys.lock().await;
    if app.node.store().keys().await?.len() >= OPERATOR_KEYS_MAX {
        return Err(Problem::wrong_state(
            "full",
            "the limit of keys is reached; delete a key first",
        )
        .into());
    }
    let id = format!("key_{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 9]>()));
    let key = format!("dbk_{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
    let created_at = app.node.now();
    let row = AdminKey {
        id: id.clone(),
        name: wanted.name.clone(),
        role: wanted.role,
        hash: OperatorKeyVerifier::hash(&key),
        created_at,
    };
    let insert = app.node.store().insert_key(row);
    recorded(by.action("key.created", "key", &id), insert).await?;
    replace_keys(&app).await?;
    let created = CreatedKey {
        id,
        key,
        name: wanted.name,
        role: wanted.role,
        created_at: api_conversion::time(created_at),
    };
    Ok(json(StatusCode::CREATED, &created))
}

/// `DELETE /v1/admin/keys/{key}`
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    PathNames([key]): PathNames<1>,
) -> HandlerResult {
    let _guard = app.keys.lock().await;
    let delete = app.node.store().delete_key(&key);
    let is_deleted = recorded(by.action("key.deleted", "key", &key), delete).await?;
    // This node may still accept a key that is no longer in the store. For example, an earlier
    // request deleted the key, but the store's answer was lost.
    app.operators.remove_key(&key);
    if !is_deleted {
        return Err(Problem::not_found("there is no such key").into());
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Reads the keys from the store into memory. These keys replace the keys that this node read
/// before. The key in the settings stays valid.
async fn replace_keys(app: &App) -> Result<(), HandlerError> {
    let keys = app.node.store().keys().await?;
    app.operators.replace_keys(keys);
    Ok(())
}
