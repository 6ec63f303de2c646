//! Sessions, nodes, and a sale's statistics for each second, in PostgreSQL.
use tokio_postgres::Row;

use doorbuster_core::{Millis, NodeId};

use crate::contract::{
    Hash, NodeRow, Person, PointQuery, Role, SalePoint, SessionOwner, StoreServer,
};
use crate::store::StoreResult;

use super::Postgres;
use super::failure::Failure;
use super::ledger::PostgresLedger;
use super::rows;
use super::transaction::RetryUnknown;

impl Postgres {
    pub(crate) async fn insert_session(
        &self,
        hash: Hash,
        owner: SessionOwner,
        until: Millis,
    ) -> StoreResult<()> {
        let insert = move |ledger: &mut PostgresLedger<'_>| {
            ledger.run("DELETE FROM console_session WHERE until <= $1", &[&ledger.now.0])?;
            let (key, person) = (owner.key_hash(), owner.person());
            let sql = "INSERT INTO console_session (hash, key_hash, until, person, person_name,
                       person_role) VALUES ($1, $2, $3, $4, $5, $6)";
            let id = person.map(|person| &person.id);
            let name = person.map(|person| &person.name);
            let role = person.map(|person| person.role.as_str());
            ledger.run(sql, &[&hash.as_slice(), &key.as_slice(), &until.0, &id, &name, &role])?;
            ledger.record(&[])
        };
        self.job(RetryUnknown::Never, insert).await
    }

    pub(crate) async fn session(&self, hash: Hash) -> StoreResult<Option<(SessionOwner, Millis)>> {
        let sql = "SELECT key_hash, until, person, person_name, person_role FROM console_session
                   WHERE hash = $1 AND until > $2";
        self.one(sql, &[&hash.as_slice(), &self.now().0], |row| {
            let key: &[u8] = row.try_get(0)?;
            let owner = match row.try_get::<_, Option<String>>(2)? {
                None => SessionOwner::Key(key.try_into().map_err(|_| rows::bad_row("hash"))?),
                Some(id) => SessionOwner::Person(Person {
                    id,
                    name: row.try_get(3)?,
                    role: rows::parse_text(row, 4, "role", Role::parse)?,
                }),
            };
            Ok((owner, Millis(row.try_get(1)?)))
        })
        .await
    }

    pub(crate) async fn delete_session(&self, hash: Hash) -> StoreResult<bool> {
        let delete = move |ledger: &mut PostgresLedger<'_>| {
            let sql = "DELETE FROM console_session WHERE hash = $1";
            let deleted = ledger.run(sql, &[&hash.as_slice()])? > 0;
            ledger.record_if(deleted)
        };
        self.job(RetryUnknown::Never, delete).await
    }

    pub(crate) async fn nodes(&self) -> StoreResult<Vec<NodeRow>> {
        let sql = "SELECT n.node, n.until, l.node IS NOT NULL, n.about FROM node n
             LEFT JOIN leader l ON l.node = n.node AND l.until > $1
             WHERE n.until > $1 ORDER BY n.node";
        let node = |row: &Row| -> Result<NodeRow, Failure> {
            Ok(NodeRow {
                node: NodeId(rows::small(row, 0, "node")?),
                lease_until: Millis(row.try_get(1)?),
                leader: row.try_get(2)?,
                about: row.try_get(3)?,
            })
        };
        self.all(sql, &[&self.now().0], node).await
    }

    pub(crate) async fn nodes_gone_since(&self, since: Millis) -> StoreResult<u64> {
        let sql = "SELECT count(*) FROM node WHERE until > $1 AND until <= $2";
        let gone = self.one(sql, &[&since.0, &self.now().0], |row| rows::number(row, 0)).await?;
        Ok(gone.unwrap_or(0))
    }

    pub(crate) async fn server(&self) -> StoreResult<StoreServer> {
        let version = self.one("SHOW server_version", &[], |row| Ok(row.try_get(0)?)).await?;
        Ok(StoreServer { kind: "postgres", version: version.unwrap_or_default() })
    }

    pub(crate) async fn renew_node_lease(
        &self,
        node: NodeId,
        lease_ms: i64,
        about: &str,
    ) -> StoreResult<()> {
        let about = about.to_owned();
        let renew = move |ledger: &mut PostgresLedger<'_>| {
            let sql = "INSERT INTO node (node, until, about) VALUES ($1, $2, $3) ON CONFLICT (node)
                       DO UPDATE SET until = excluded.until, about = excluded.about";
            let until = ledger.now.plus(lease_ms).0;
            ledger.run(sql, &[&i64::from(node.0), &until, &about]).map(drop)
        };
        self.job(RetryUnknown::Allowed, renew).await
    }

    pub(crate) async fn insert_points(&self, points: Vec<SalePoint>) -> StoreResult<()> {
        let insert = move |ledger: &mut PostgresLedger<'_>| {
            for SalePoint { sale, step, at, node, point } in &points {
                let sql = "INSERT INTO sale_point (sale_id, step_secs, at, node, point)
                           VALUES ($1, $2::bigint, $3, $4, $5) ON CONFLICT DO NOTHING";
                ledger.run(sql, &[sale, &step.secs(), &at.0, &i64::from(node.0), point])?;
            }
            Ok(())
        };
        self.job(RetryUnknown::Allowed, insert).await
    }

    pub(crate) async fn points(&self, query: PointQuery) -> StoreResult<Vec<SalePoint>> {
        let sql = "SELECT at, node, point FROM sale_point
             WHERE sale_id = $1 AND step_secs = $2::bigint AND at >= $3 AND at < $4
             ORDER BY at, node";
        let PointQuery { sale, step, from, to } = &query;
        self.all(sql, &[sale, &step.secs(), &from.0, &to.0], |row| {
            Ok(SalePoint {
                sale: sale.clone(),
                step: *step,
                at: Millis(row.try_get(0)?),
                node: NodeId(rows::small(row, 1, "node")?),
                point: row.try_get(2)?,
            })
        })
        .await
    }
}
