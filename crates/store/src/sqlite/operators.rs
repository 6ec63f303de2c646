//! Rows of operators and nodes: keys, a log of actions, leases of the leader and of every node.
use rusqlite::params;

use doorbuster_core::{Millis, NodeId};

use crate::contract::{AdminKey, AdminRole};

use super::failure::Failure;
use super::ledger::SqliteLedger;
use super::statements::Statements;

type Done<T> = Result<T, Failure>;

const ROLES: [(AdminRole, &str); 3] =
    [(AdminRole::Viewer, "viewer"), (AdminRole::Operator, "operator"), (AdminRole::Admin, "admin")];

/// Every key, oldest first.
pub(super) fn keys(sql: &mut Statements<'_>) -> Done<Vec<AdminKey>> {
    sql.all(
        "SELECT id, name, role, hash, created_at FROM admin_key ORDER BY created_at, id",
        [],
        |row| {
            let word: String = row.get(2)?;
            let role = ROLES.iter().find(|(_, name)| *name == word);
            Ok(AdminKey {
                id: row.get(0)?,
                name: row.get(1)?,
                role: role.ok_or_else(|| Failure::Row(format!("unknown role {word:?}")))?.0,
                hash: row.get(3)?,
                created_at: Millis(row.get(4)?),
            })
        },
    )
}

/// Adds a key.
pub(super) fn insert_key(sql: &mut Statements<'_>, key: &AdminKey) -> Done<()> {
    let role = ROLES.iter().find(|(role, _)| *role == key.role).map(|(_, name)| *name);
    sql.run(
        "INSERT INTO admin_key (id, name, role, hash, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![key.id, key.name, role, key.hash, key.created_at.0],
    )?;
    Ok(())
}

/// Deletes a key.
pub(super) fn delete_key(sql: &mut Statements<'_>, id: &str) -> Done<bool> {
    Ok(sql.run("DELETE FROM admin_key WHERE id = ?1", params![id])? > 0)
}

/// Records an action.
pub(super) fn log_action(
    ledger: &mut SqliteLedger<'_>,
    actor: &str,
    action: &str,
    detail: &str,
) -> Done<()> {
    let now = ledger.now;
    ledger.sql.run(
        "INSERT INTO action_log (at, actor, action, detail) VALUES (?1, ?2, ?3, ?4)",
        params![now.0, actor, action, detail],
    )?;
    Ok(())
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

/// Renews the node's lease from now on.
pub(super) fn renew_node_lease(
    ledger: &mut SqliteLedger<'_>,
    node: NodeId,
    lease_ms: i64,
) -> Done<()> {
    let until = ledger.now.plus(lease_ms);
    ledger.sql.run(
        "INSERT INTO node (node, until) VALUES (?1, ?2) ON CONFLICT (node) DO UPDATE SET until = \
         excluded.until",
        params![node.0, until.0],
    )?;
    Ok(())
}

/// Nodes whose lease has not expired, by number.
pub(super) fn live_nodes(sql: &mut Statements<'_>, now: Millis) -> Done<Vec<NodeId>> {
    sql.all("SELECT node FROM node WHERE until > ?1 ORDER BY node", params![now.0], |row| {
        Ok(NodeId(row.get(0)?))
    })
}
