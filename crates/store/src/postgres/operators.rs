//! Rows of operators and nodes: keys, a log of actions, leases of the leader and of every node.
use doorbuster_core::{Millis, NodeId};

use crate::contract::{AdminKey, AdminRole};
use crate::store::StoreResult;

use super::Postgres;
use super::failure::Failure;
use super::rows;
use super::run::RetryUnknown;

const ROLES: [(AdminRole, &str); 3] =
    [(AdminRole::Viewer, "viewer"), (AdminRole::Operator, "operator"), (AdminRole::Admin, "admin")];

impl Postgres {
    pub(crate) async fn keys(&self) -> StoreResult<Vec<AdminKey>> {
        let sql = "SELECT id, name, role, hash, created_at FROM admin_key ORDER BY created_at, id";
        self.all(sql, &[], |row| {
            let role =
                |word: &str| ROLES.iter().find(|(_, name)| *name == word).map(|(role, _)| *role);
            let hash: &[u8] = row.try_get(3)?;
            Ok(AdminKey {
                id: row.try_get(0)?,
                name: row.try_get(1)?,
                role: rows::parse_text(row, 2, "role", role)?,
                hash: hash.try_into().map_err(|_| rows::bad_row("hash"))?,
                created_at: Millis(row.try_get(4)?),
            })
        })
        .await
    }

    pub(crate) async fn insert_key(&self, key: AdminKey) -> StoreResult<()> {
        let insert = move |ledger: &mut super::PostgresLedger<'_>| {
            let role = ROLES.iter().find(|(role, _)| *role == key.role).map(|(_, name)| *name);
            let sql = "INSERT INTO admin_key (id, name, role, hash, created_at)
                       VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
            match ledger
                .run(sql, &[&key.id, &key.name, &role, &key.hash.as_slice(), &key.created_at.0])?
            {
                0 => Err(Failure::Row(format!(
                    "a key with the id {} or the same hash already exists",
                    key.id
                ))),
                _ => Ok(()),
            }
        };
        self.job(RetryUnknown::Never, insert).await
    }

    pub(crate) async fn delete_key(&self, id: &str) -> StoreResult<bool> {
        let id = id.to_owned();
        self.job(RetryUnknown::Never, move |ledger| {
            Ok(ledger.run("DELETE FROM admin_key WHERE id = $1", &[&id])? > 0)
        })
        .await
    }

    pub(crate) async fn log_action(
        &self,
        actor: &str,
        action: &str,
        detail: &str,
    ) -> StoreResult<()> {
        let (actor, action, detail) = (actor.to_owned(), action.to_owned(), detail.to_owned());
        let log = move |ledger: &mut super::PostgresLedger<'_>| {
            let sql = "INSERT INTO action_log (at, actor, action, detail) VALUES ($1, $2, $3, $4)";
            ledger.run(sql, &[&ledger.now.0, &actor, &action, &detail]).map(drop)
        };
        self.job(RetryUnknown::Never, log).await
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

    pub(crate) async fn renew_node_lease(&self, node: NodeId, lease_ms: i64) -> StoreResult<()> {
        let beat = move |ledger: &mut super::PostgresLedger<'_>| {
            let sql = "INSERT INTO node (node, until) VALUES ($1, $2) ON CONFLICT (node) DO UPDATE
                       SET until = excluded.until";
            ledger.run(sql, &[&i64::from(node.0), &ledger.now.plus(lease_ms).0]).map(drop)
        };
        self.job(RetryUnknown::Allowed, beat).await
    }

    pub(crate) async fn live_nodes(&self) -> StoreResult<Vec<NodeId>> {
        let sql = "SELECT node FROM node WHERE until > $1 ORDER BY node";
        self.all(sql, &[&self.now().0], |row| Ok(NodeId(rows::small(row, 0, "node")?))).await
    }
}
