//! Rows of operators and nodes: keys, actions, leases of the leader and of every node.
use doorbuster_core::{Millis, NodeId};

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::actions;
use crate::contract::{ActionQuery, ActionRow, AdminKey, FieldChange, NewAction, Role};
use crate::store::StoreResult;

use super::Postgres;
use super::failure::Failure;
use super::ledger::PostgresLedger;
use super::read::as_limit;
use super::rows;
use super::transaction::RetryUnknown;

fn action_row(row: &Row) -> Result<ActionRow, Failure> {
    let changes = actions::changes_from_json(row.try_get(5)?);
    Ok(ActionRow {
        seq: row.try_get(0)?,
        at: Millis(row.try_get(1)?),
        action: NewAction {
            by: row.try_get(2)?,
            action: row.try_get(3)?,
            subject: row.try_get(4)?,
            changes: changes.ok_or_else(|| rows::bad_row("changes"))?,
            address: row.try_get(6)?,
            request_id: row.try_get(7)?,
        },
    })
}

impl PostgresLedger<'_> {
    /// Records the operator's action of this transaction, with the changed fields. If the
    /// transaction has no operator, it does nothing.
    pub(super) fn record(&self, changes: &[FieldChange]) -> Result<(), Failure> {
        let Some(action) = &self.action else { return Ok(()) };
        let sql = "INSERT INTO action (at, actor, action, subject, changes, address, request_id)
                   VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let NewAction { by, action: name, subject, address, request_id, .. } = &**action;
        let changes = actions::changes_to_json(changes, action);
        self.run(sql, &[&self.now.0, by, name, subject, &changes, address, request_id]).map(drop)
    }

    /// Records the action if the transaction had an effect.
    pub(super) fn record_if(&self, is_effective: bool) -> Result<bool, Failure> {
        if is_effective {
            self.record(&[])?;
        }
        Ok(is_effective)
    }
}

macro_rules! actions_in_order {
    ($order:literal) => {
        concat!(
            "SELECT seq, at, actor, action, subject, changes, address, request_id FROM action
             WHERE ($1::text IS NULL OR actor = $1) AND ($2::text IS NULL OR action = $2)
               AND ($3::text IS NULL OR subject = $3) AND ($4::bigint IS NULL OR seq < $4)
               AND ($5::bigint IS NULL OR seq > $5) ORDER BY seq ",
            $order,
            " LIMIT $6"
        )
    };
}

impl Postgres {
    pub(crate) async fn keys(&self) -> StoreResult<Vec<AdminKey>> {
        let sql = "SELECT id, name, role, hash, created_at FROM admin_key ORDER BY created_at, id";
        self.all(sql, &[], |row| {
            let hash: &[u8] = row.try_get(3)?;
            Ok(AdminKey {
                id: row.try_get(0)?,
                name: row.try_get(1)?,
                role: rows::parse_text(row, 2, "role", Role::parse)?,
                hash: hash.try_into().map_err(|_| rows::bad_row("hash"))?,
                created_at: Millis(row.try_get(4)?),
            })
        })
        .await
    }

    pub(crate) async fn insert_key(&self, key: AdminKey) -> StoreResult<()> {
        let insert = move |ledger: &mut super::PostgresLedger<'_>| {
            let role = key.role.as_str();
            let sql = "INSERT INTO admin_key (id, name, role, hash, created_at)
                       VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
            match ledger
                .run(sql, &[&key.id, &key.name, &role, &key.hash.as_slice(), &key.created_at.0])?
            {
                0 => Err(Failure::Row(format!(
                    "a key with the id {} or the same hash already exists",
                    key.id
                ))),
                _ => ledger.record(&[
                    FieldChange::set("/name", key.name.as_str()),
                    FieldChange::set("/role", role),
                ]),
            }
        };
        self.job(RetryUnknown::Never, insert).await
    }

    pub(crate) async fn delete_key(&self, id: &str) -> StoreResult<bool> {
        let id = id.to_owned();
        self.job(RetryUnknown::Never, move |ledger| {
            let deleted = ledger.run("DELETE FROM admin_key WHERE id = $1", &[&id])? > 0;
            ledger.record_if(deleted)
        })
        .await
    }

    pub(crate) async fn actions(&self, query: ActionQuery) -> StoreResult<Vec<ActionRow>> {
        self.actions_by(actions_in_order!("DESC"), &query).await
    }

    pub(crate) async fn actions_oldest_first(
        &self,
        query: ActionQuery,
    ) -> StoreResult<Vec<ActionRow>> {
        self.actions_by(actions_in_order!("ASC"), &query).await
    }

    async fn actions_by(
        &self,
        sql: &'static str,
        query: &ActionQuery,
    ) -> StoreResult<Vec<ActionRow>> {
        let ActionQuery { by, action, subject, before, after, limit } = query;
        let values: [&(dyn ToSql + Sync); 6] =
            [by, action, subject, before, after, &as_limit(*limit)];
        self.all(sql, &values, action_row).await
    }

    /// Takes the lease if this node has it or it has expired.
    pub(crate) async fn take_leader_lease(&self, node: u32, lease_ms: i64) -> StoreResult<bool> {
        let lead = move |ledger: &mut super::PostgresLedger<'_>| {
            let sql = "INSERT INTO leader (one, node, until) VALUES (1, $1, $2)
                 ON CONFLICT (one) DO UPDATE SET node = excluded.node, until = excluded.until
                 WHERE leader.node = excluded.node OR leader.until <= $3";
            let taken = ledger
                .run(sql, &[&i64::from(node), &ledger.now.plus(lease_ms).0, &ledger.now.0])?;
            Ok(taken > 0)
        };
        self.job(RetryUnknown::Allowed, lead).await
    }

    pub(crate) async fn live_nodes(&self) -> StoreResult<Vec<NodeId>> {
        let sql = "SELECT node FROM node WHERE until > $1 ORDER BY node";
        self.all(sql, &[&self.now().0], |row| Ok(NodeId(rows::small(row, 0, "node")?))).await
    }
}
