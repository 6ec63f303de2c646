//! The keys of operators.
use doorbuster_core::Millis;

use crate::actions;
use crate::contract::{AdminKey, Role};
use crate::failure::{Done, Failure};
use crate::sql::{Row, Statement, statement, values};
use crate::transaction::RetryUnknown;

use super::{Store, StoreResult};

const LIST: Statement =
    statement("SELECT id, name, role, hash, created_at FROM admin_key ORDER BY created_at, id");
const ONE: Statement =
    statement("SELECT id, name, role, hash, created_at FROM admin_key WHERE id = $1");
const INSERT: Statement = statement(
    "INSERT INTO admin_key (id, name, role, hash, created_at) VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT DO NOTHING",
);
const DELETE: Statement = statement("DELETE FROM admin_key WHERE id = $1");

fn key(row: Row<'_>) -> Done<AdminKey> {
    Ok(AdminKey {
        id: row.get(0)?,
        name: row.get(1)?,
        role: row.parse(2, "role", Role::parse)?,
        hash: row.bytes(3, "hash")?,
        created_at: Millis(row.get(4)?),
    })
}

impl Store {
    /// Returns every operator's key, oldest first.
    pub async fn keys(&self) -> StoreResult<Vec<AdminKey>> {
        self.all(LIST, [], key).await
    }

    /// Adds a key.
    pub async fn insert_key(&self, key: AdminKey) -> StoreResult<()> {
        self.job(RetryUnknown::Never, move |tx| {
            let role = key.role.as_str();
            let values = values![&key.id, &key.name, role, &key.hash, key.created_at];
            if tx.run(INSERT, &values)? == 0 {
                let id = &key.id;
                let exists = format!("an existing key has the id {id} or the same hash");
                return Err(Failure::Row(exists));
            }
            tx.record(&actions::changed_key(None, Some(&key)))
        })
        .await
    }

    /// Deletes a key. Returns false if there is no such key.
    pub async fn delete_key(&self, id: &str) -> StoreResult<bool> {
        let id = id.to_owned();
        self.job(RetryUnknown::Never, move |tx| {
            let before = tx.one(ONE, &values![&id], key)?;
            let deleted = tx.run(DELETE, &values![&id])? > 0;
            if deleted {
                tx.record(&actions::changed_key(before.as_ref(), None))?;
            }
            Ok(deleted)
        })
        .await
    }
}
