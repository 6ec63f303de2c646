//! The data of the console: actions, sessions, nodes, and a sale's statistics.
use doorbuster_core::{Millis, NodeId};

use crate::actions;
use crate::contract::{
    ActionQuery, ActionRow, Hash, NewAction, NodeRow, Page, Person, PointQuery, Role,
    SaleSeriesRow, SessionOwner, StoreServer,
};
use crate::failure::Done;
use crate::limits::{LEASE_END_MAX_MS, PAGE_ROWS_MAX};
use crate::sql::{Row, Statement, as_limit, bad_row, statement, values};
use crate::transaction::RetryUnknown;

use super::{Store, StoreResult};

macro_rules! actions_in_order {
    ($beyond:literal, $order:literal) => {
        statement(concat!(
            "SELECT seq, at, actor, action, subject, changes, address, request_id FROM action
             WHERE (CAST($1 AS text) IS NULL OR actor = $1)
               AND (CAST($2 AS text) IS NULL OR action = $2)
               AND (CAST($3 AS text) IS NULL OR subject = $3)
               AND (CAST($4 AS bigint) IS NULL OR seq ",
            $beyond,
            " $4) ORDER BY seq ",
            $order,
            " LIMIT $5"
        ))
    };
}
const NEWEST_ACTIONS_FIRST: Statement = actions_in_order!("<", "DESC");
const OLDEST_ACTIONS_FIRST: Statement = actions_in_order!(">", "ASC");
const DELETE_EXPIRED_SESSIONS: Statement =
    statement("DELETE FROM console_session WHERE until <= $1");
const INSERT_SESSION: Statement = statement(
    "INSERT INTO console_session (hash, key_hash, until, person, person_name, person_role)
     VALUES ($1, $2, $3, $4, $5, $6)",
);
const SESSION: Statement = statement(
    "SELECT key_hash, until, person, person_name, person_role FROM console_session
     WHERE hash = $1 AND until > $2
       AND (person IS NOT NULL OR key_hash = $3
            OR EXISTS (SELECT 1 FROM admin_key WHERE admin_key.hash = key_hash))",
);
const DELETE_SESSION: Statement = statement("DELETE FROM console_session WHERE hash = $1");
const COUNT_WRONG_KEY: Statement = statement(
    "INSERT INTO wrong_key (network, minute, wrong) VALUES ($1, $2, 1)
     ON CONFLICT (network) DO UPDATE SET
         minute = CASE WHEN excluded.minute > wrong_key.minute THEN excluded.minute
                       ELSE wrong_key.minute END,
         wrong = CASE WHEN excluded.minute > wrong_key.minute THEN 1 ELSE wrong_key.wrong + 1 END
     RETURNING wrong",
);
const TAKE_BACK_WRONG_KEY: Statement = statement(
    "UPDATE wrong_key SET wrong = wrong - 1 WHERE network = $1 AND minute = $2 AND wrong > 0",
);
const NODES: Statement = statement(
    "SELECT n.node, n.until, l.node IS NOT NULL, n.about FROM node n
     LEFT JOIN leader l ON l.node = n.node AND l.until > $1 AND l.until <= $2
     WHERE n.until > $1 AND n.until <= $2 ORDER BY n.node",
);
const NODES_GONE: Statement =
    statement("SELECT count(*) FROM node WHERE until > $1 AND (until <= $2 OR until > $3)");
const RENEW_NODE_LEASE: Statement = statement(
    "INSERT INTO node (node, until, about) VALUES ($1, $2, $3)
     ON CONFLICT (node) DO UPDATE SET until = excluded.until, about = excluded.about",
);
const INSERT_POINT: Statement = statement(
    "INSERT INTO sale_point (sale_id, step_secs, at, node, point) VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT DO NOTHING",
);
const REPLACE_POINT: Statement = statement(
    "INSERT INTO sale_point (sale_id, step_secs, at, node, point) VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (sale_id, step_secs, at, node) DO UPDATE SET point = excluded.point
     WHERE sale_point.point <> excluded.point",
);
const POINTS: Statement = statement(
    "SELECT at, node, point FROM sale_point
     WHERE sale_id = $1 AND step_secs = $2 AND at >= $3 AND at < $4 ORDER BY at, node",
);

fn action(row: Row<'_>) -> Done<ActionRow> {
    let changes = actions::changes_from_json(row.text(5, "changes")?);
    Ok(ActionRow {
        seq: row.get(0)?,
        at: Millis(row.get(1)?),
        action: NewAction {
            by: row.get(2)?,
            action: row.get(3)?,
            subject: row.get(4)?,
            changes: changes.ok_or_else(|| bad_row("changes"))?,
            address: row.get(6)?,
            request_id: row.get(7)?,
        },
    })
}

fn session(row: Row<'_>) -> Done<(SessionOwner, Millis)> {
    let owner = match row.get(2)? {
        None => SessionOwner::Key(row.bytes(0, "hash")?),
        Some(id) => {
            let role = row.parse(4, "role", Role::parse)?;
            SessionOwner::Person(Person { id, name: row.get(3)?, role })
        }
    };
    Ok((owner, Millis(row.get(1)?)))
}

fn node(row: Row<'_>) -> Done<NodeRow> {
    Ok(NodeRow {
        node: NodeId(row.number_u32(0, "node")?),
        lease_until: Millis(row.get(1)?),
        leader: row.get(2)?,
        about: row.get(3)?,
    })
}

impl Store {
    /// Returns a page of operators' actions. [`crate::recorded`] records them.
    pub async fn actions(&self, query: ActionQuery) -> StoreResult<Page<ActionRow>> {
        let ActionQuery { by, action: name, subject, after, oldest_first, limit } = query;
        let sql = if oldest_first { OLDEST_ACTIONS_FIRST } else { NEWEST_ACTIONS_FIRST };
        let limit = limit.min(PAGE_ROWS_MAX);
        let values = values![by, name, subject, after, as_limit(limit + 1)];
        Ok(Page::of(self.all(sql, values, action).await?, limit, |row| row.seq))
    }

    /// Adds a session, and deletes expired sessions. Records the caller's action.
    pub async fn insert_session(
        &self,
        hash: Hash,
        owner: SessionOwner,
        until: Millis,
    ) -> StoreResult<()> {
        self.job(RetryUnknown::Never, move |tx| {
            tx.run(DELETE_EXPIRED_SESSIONS, &values![tx.now()])?;
            let (key, person) = (owner.key_hash(), owner.person());
            let id = person.map(|person| &person.id);
            let name = person.map(|person| &person.name);
            let role = person.map(|person| person.role.as_str());
            tx.run(INSERT_SESSION, &values![&hash, &key, until, id, name, role])?;
            tx.record(&[])
        })
        .await
    }

    /// Returns the owner and the end of a session. Returns `None` if the session does not exist,
    /// has expired, or belongs to a deleted key. `configured` is the hash of the key in the
    /// settings, because the store does not contain this key.
    pub async fn session(
        &self,
        hash: Hash,
        configured: Hash,
    ) -> StoreResult<Option<(SessionOwner, Millis)>> {
        let values = values![hash.to_vec(), self.now(), configured.to_vec()];
        self.one(SESSION, values, session).await
    }

    /// Ends a session. Returns false if there is no such session. Records the caller's action.
    pub async fn delete_session(&self, hash: Hash) -> StoreResult<bool> {
        self.job(RetryUnknown::Never, move |tx| {
            let deleted = tx.run(DELETE_SESSION, &values![&hash])? > 0;
            tx.record_if(deleted)
        })
        .await
    }

    /// Counts a wrong key from this network. Returns how many wrong keys all nodes together
    /// received from the network in this minute. `minute` counts from the Unix epoch. If `minute`
    /// is before the network's newest counted minute, the key counts in that newest minute.
    pub async fn count_wrong_key(&self, network: String, minute: i64) -> StoreResult<u64> {
        self.job(RetryUnknown::Allowed, move |tx| {
            let wrong = tx.one(COUNT_WRONG_KEY, &values![&network, minute], |row| row.number(0))?;
            wrong.ok_or_else(|| bad_row("wrong_key"))
        })
        .await
    }

    /// Subtracts one wrong key that [`Self::count_wrong_key`] counted in `minute`.
    pub async fn take_back_wrong_key(&self, network: String, minute: i64) -> StoreResult<()> {
        self.job(RetryUnknown::Never, move |tx| {
            tx.run(TAKE_BACK_WRONG_KEY, &values![&network, minute])?;
            Ok(())
        })
        .await
    }

    /// Returns every node with a valid lease, sorted by number.
    pub async fn nodes(&self) -> StoreResult<Vec<NodeRow>> {
        let now = self.now();
        self.all(NODES, values![now, now.plus(LEASE_END_MAX_MS)], node).await
    }

    /// Returns the number of nodes that had a lease after `since` and have none now.
    pub async fn nodes_gone_since(&self, since: Millis) -> StoreResult<u64> {
        let now = self.now();
        let values = values![since, now, now.plus(LEASE_END_MAX_MS)];
        let gone = self.one(NODES_GONE, values, |row| row.number(0)).await?;
        Ok(gone.unwrap_or(0))
    }

    /// Returns the kind and the version of the database server.
    pub async fn server(&self) -> StoreResult<StoreServer> {
        match self {
            Self::Sqlite(_) => {
                Ok(StoreServer { kind: "sqlite", version: rusqlite::version().to_owned() })
            }
            Self::Postgres(s) => Box::pin(s.server()).await,
        }
    }

    /// Takes or renews the node's own lease for `lease_ms` from now, by the store's time. `about`
    /// is the node's description of itself, as JSON.
    pub async fn renew_node_lease(
        &self,
        node: NodeId,
        lease_ms: i64,
        about: &str,
    ) -> StoreResult<()> {
        let about = about.to_owned();
        self.lease_job(move |tx| {
            let until = tx.now().plus(lease_ms);
            tx.run(RENEW_NODE_LEASE, &values![node, until, &about]).map(drop)
        })
        .await
    }

    /// Adds the statistics of past time steps. Statistics that this node has already stored stay
    /// unchanged.
    pub async fn insert_points(&self, points: Vec<SaleSeriesRow>) -> StoreResult<()> {
        self.write_points(INSERT_POINT, points).await
    }

    /// Adds the statistics of past time steps, or replaces the stored statistics of these steps.
    pub async fn replace_points(&self, points: Vec<SaleSeriesRow>) -> StoreResult<()> {
        self.write_points(REPLACE_POINT, points).await
    }

    async fn write_points(&self, sql: Statement, points: Vec<SaleSeriesRow>) -> StoreResult<()> {
        self.job(RetryUnknown::Allowed, move |tx| {
            for SaleSeriesRow { sale, step, at, node, point } in &points {
                tx.run(sql, &values![sale, step.secs(), *at, *node, point])?;
            }
            Ok(())
        })
        .await
    }

    /// Returns the statistics of all nodes, sorted by time and node.
    pub async fn points(&self, query: PointQuery) -> StoreResult<Vec<SaleSeriesRow>> {
        let PointQuery { sale, step, from, to } = query;
        let values = values![sale.clone(), step.secs(), from, to];
        let point = move |row: Row<'_>| {
            let (at, node) = (Millis(row.get(0)?), NodeId(row.number_u32(1, "node")?));
            Ok(SaleSeriesRow { sale: sale.clone(), step, at, node, point: row.get(2)? })
        };
        self.all(POINTS, values, point).await
    }
}
