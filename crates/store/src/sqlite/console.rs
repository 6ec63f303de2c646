//! Sessions, nodes, and a sale's statistics for each second, in SQLite.
use rusqlite::params;

use doorbuster_core::{Millis, NodeId};

use crate::contract::{
    Hash, NodeRow, Person, PointQuery, Role, SalePoint, SessionOwner, StoreServer,
};
use crate::store::StoreResult;

use super::Sqlite;
use super::failure::Failure;

impl Sqlite {
    pub(crate) async fn insert_session(
        &self,
        hash: Hash,
        owner: SessionOwner,
        until: Millis,
    ) -> StoreResult<()> {
        self.job(move |ledger| {
            let now = ledger.now;
            ledger.sql.run("DELETE FROM console_session WHERE until <= ?1", params![now.0])?;
            let key = owner.key_hash();
            let person = owner.person();
            ledger.sql.run(
                "INSERT INTO console_session (hash, key_hash, until, person, person_name,
                 person_role) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    hash,
                    key,
                    until.0,
                    person.map(|person| &person.id),
                    person.map(|person| &person.name),
                    person.map(|person| person.role.as_str()),
                ],
            )?;
            ledger.record(&[])
        })
        .await
    }

    pub(crate) async fn session(&self, hash: Hash) -> StoreResult<Option<(SessionOwner, Millis)>> {
        const SQL: &str = "SELECT key_hash, until, person, person_name, person_role
                           FROM console_session WHERE hash = ?1 AND until > ?2";
        let now = self.now();
        self.read(move |sql| {
            sql.one(SQL, params![hash, now.0], |row| {
                let person: Option<String> = row.get(2)?;
                let owner = match person {
                    None => SessionOwner::Key(row.get(0)?),
                    Some(id) => {
                        let role: String = row.get(4)?;
                        let role = Role::parse(&role)
                            .ok_or_else(|| Failure::Row(format!("unknown role {role:?}")))?;
                        SessionOwner::Person(Person { id, name: row.get(3)?, role })
                    }
                };
                Ok((owner, Millis(row.get(1)?)))
            })
        })
        .await
    }

    pub(crate) async fn delete_session(&self, hash: Hash) -> StoreResult<bool> {
        self.job(move |ledger| {
            let sql = "DELETE FROM console_session WHERE hash = ?1";
            let deleted = ledger.sql.run(sql, params![hash])? > 0;
            ledger.record_if(deleted)
        })
        .await
    }

    pub(crate) async fn nodes(&self) -> StoreResult<Vec<NodeRow>> {
        const SQL: &str = "SELECT n.node, n.until, l.node IS NOT NULL, n.about FROM node n
             LEFT JOIN leader l ON l.node = n.node AND l.until > ?1
             WHERE n.until > ?1 ORDER BY n.node";
        let now = self.now();
        self.read(move |sql| {
            sql.all(SQL, params![now.0], |row| {
                Ok(NodeRow {
                    node: NodeId(row.get(0)?),
                    lease_until: Millis(row.get(1)?),
                    leader: row.get(2)?,
                    about: row.get(3)?,
                })
            })
        })
        .await
    }

    pub(crate) async fn nodes_gone_since(&self, since: Millis) -> StoreResult<u64> {
        const SQL: &str = "SELECT count(*) FROM node WHERE until > ?1 AND until <= ?2";
        let now = self.now();
        let gone = self
            .read(move |sql| sql.one(SQL, params![since.0, now.0], |row| Ok(row.get::<_, i64>(0)?)))
            .await?;
        Ok(gone.unwrap_or(0).cast_unsigned())
    }

    pub(crate) async fn server(&self) -> StoreResult<StoreServer> {
        Ok(StoreServer { kind: "sqlite", version: rusqlite::version().to_owned() })
    }

    pub(crate) async fn renew_node_lease(
        &self,
        node: NodeId,
        lease_ms: i64,
        about: &str,
    ) -> StoreResult<()> {
        let about = about.to_owned();
        self.job(move |ledger| {
            let until = ledger.now.plus(lease_ms);
            ledger.sql.run(
                "INSERT INTO node (node, until, about) VALUES (?1, ?2, ?3)
                 ON CONFLICT (node) DO UPDATE SET until = excluded.until, about = excluded.about",
                params![node.0, until.0, about],
            )?;
            Ok(())
        })
        .await
    }

    pub(crate) async fn insert_points(&self, points: Vec<SalePoint>) -> StoreResult<()> {
        self.job(move |ledger| {
            for SalePoint { sale, step, at, node, point } in &points {
                ledger.sql.run(
                    "INSERT INTO sale_point (sale_id, step_secs, at, node, point)
                     VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
                    params![sale, step.secs(), at.0, node.0, point],
                )?;
            }
            Ok(())
        })
        .await
    }

    pub(crate) async fn points(&self, query: PointQuery) -> StoreResult<Vec<SalePoint>> {
        const SQL: &str = "SELECT at, node, point FROM sale_point
             WHERE sale_id = ?1 AND step_secs = ?2 AND at >= ?3 AND at < ?4 ORDER BY at, node";
        self.read(move |sql| {
            let PointQuery { sale, step, from, to } = &query;
            sql.all(SQL, params![sale, step.secs(), from.0, to.0], |row| {
                Ok(SalePoint {
                    sale: sale.clone(),
                    step: *step,
                    at: Millis(row.get(0)?),
                    node: NodeId(row.get(1)?),
                    point: row.get(2)?,
                })
            })
        })
        .await
    }
}
