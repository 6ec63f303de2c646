//! Rows of operators and nodes: keys, actions, leases of the leader and of every node.
use rusqlite::params;

use doorbuster_core::{Millis, NodeId};

use crate::actions;
use crate::contract::{ActionQuery, ActionRow, AdminKey, FieldChange, NewAction, Role};

use super::failure::Failure;
use super::ledger::SqliteLedger;
use super::read::{Reader, as_limit};
use super::statements::Statements;

type Done<T> = Result<T, Failure>;

/// Returns every key, oldest first.
pub(super) fn keys(sql: &mut Statements<'_>) -> Done<Vec<AdminKey>> {
    sql.all(
        "SELECT id, name, role, hash, created_at FROM admin_key ORDER BY created_at, id",
        [],
        |row| {
            let word: String = row.get(2)?;
            Ok(AdminKey {
                id: row.get(0)?,
                name: row.get(1)?,
                role: Role::parse(&word)
                    .ok_or_else(|| Failure::Row(format!("unknown role {word:?}")))?,
                hash: row.get(3)?,
                created_at: Millis(row.get(4)?),
            })
        },
    )
}

/// Adds a key.
pub(super) fn insert_key(ledger: &mut SqliteLedger<'_>, key: &AdminKey) -> Done<()> {
    let role = key.role.as_str();
    ledger.sql.run(
        "INSERT INTO admin_key (id, name, role, hash, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![key.id, key.name, role, key.hash, key.created_at.0],
    )?;
    ledger.record(&[FieldChange::set("/name", key.name.as_str()), FieldChange::set("/role", role)])
}

/// Deletes a key.
pub(super) fn delete_key(ledger: &mut SqliteLedger<'_>, id: &str) -> Done<bool> {
    let deleted = ledger.sql.run("DELETE FROM admin_key WHERE id = ?1", params![id])? > 0;
    ledger.record_if(deleted)
}

impl SqliteLedger<'_> {
    /// Records the operator's action of this job, with the changed fields. If the job has no
    /// operator, it does nothing.
    pub(super) fn record(&mut self, changes: &[FieldChange]) -> Done<()> {
        let Some(action) = &self.action else { return Ok(()) };
        self.sql.run(
            "INSERT INTO action (at, actor, action, subject, changes, address, request_id)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                self.now.0,
                action.by,
                action.action,
                action.subject,
                actions::changes_to_json(changes, action),
                action.address,
                action.request_id
            ],
        )?;
        Ok(())
    }

    /// Records the action if the job had an effect.
    pub(super) fn record_if(&mut self, is_effective: bool) -> Done<bool> {
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
             WHERE (?1 IS NULL OR actor = ?1) AND (?2 IS NULL OR action = ?2)
               AND (?3 IS NULL OR subject = ?3) AND (?4 IS NULL OR seq < ?4)
               AND (?5 IS NULL OR seq > ?5) ORDER BY seq ",
            $order,
            " LIMIT ?6"
        )
    };
}

/// Actions, newest first.
pub(super) const NEWEST_ACTIONS_FIRST: &str = actions_in_order!("DESC");
/// Actions, oldest first.
pub(super) const OLDEST_ACTIONS_FIRST: &str = actions_in_order!("ASC");

/// Actions, in the order of this statement.
pub(super) fn actions(
    sql: &mut Reader<'_>,
    statement: &'static str,
    query: &ActionQuery,
) -> Done<Vec<ActionRow>> {
    let ActionQuery { by, action, subject, before, after, limit } = query;
    sql.all(statement, params![by, action, subject, before, after, as_limit(*limit)], |row| {
        let changes: String = row.get(5)?;
        Ok(ActionRow {
            seq: row.get(0)?,
            at: Millis(row.get(1)?),
            action: NewAction {
                by: row.get(2)?,
                action: row.get(3)?,
                subject: row.get(4)?,
                changes: actions::changes_from_json(&changes)
                    .ok_or_else(|| Failure::Row("invalid changes of an action".to_owned()))?,
                address: row.get(6)?,
                request_id: row.get(7)?,
            },
        })
    })
}

/// Takes the lease if this node has it or it has expired.
pub(super) fn take_leader_lease(
    ledger: &mut SqliteLedger<'_>,
    node: u32,
    lease_ms: i64,
) -> Done<bool> {
    let now = ledger.now;
    let taken = ledger.sql.run(
        "INSERT INTO leader (one, node, until) VALUES (1, ?1, ?2)
         ON CONFLICT (one) DO UPDATE SET node = excluded.node, until = excluded.until
         WHERE leader.node = excluded.node OR leader.until <= ?3",
        params![node, now.plus(lease_ms).0, now.0],
    )?;
    Ok(taken > 0)
}

/// Returns the nodes whose lease has not expired, by number.
pub(super) fn live_nodes(sql: &mut Statements<'_>, now: Millis) -> Done<Vec<NodeId>> {
    sql.all("SELECT node FROM node WHERE until > ?1 ORDER BY node", params![now.0], |row| {
        Ok(NodeId(row.get(0)?))
    })
}
