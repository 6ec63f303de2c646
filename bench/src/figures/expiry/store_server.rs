//! The server of D5 and its store: SQLite or PostgreSQL. At the end of a round, the bench audits
//! the store.
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use doorbuster_harness::audit;
use doorbuster_harness::cluster::{Cluster, ClusterPlan, Shape};
use doorbuster_harness::load::read_secret;
use rusqlite::Connection;
use serde_json::Value;

use crate::config::BenchConfig;
use crate::server::{BUYER_SECRET, NewSale, Server, StockRow};
use crate::temp_dir::TempDir;

/// How long the bench's SQL statements wait for a lock that the server holds.
const SQL_WITHIN: Duration = Duration::from_secs(60);

/// The kind of store.
#[derive(Clone, Copy, Debug)]
pub enum StoreKind {
    /// SQLite in a directory.
    Sqlite,
    /// PostgreSQL beside the server.
    Postgres,
}

impl StoreKind {
    /// Returns the store's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// When the holds end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldExpiry {
    /// All holds end at one instant.
    AtOnce,
    /// The holds end in the sequence in which their orders were created, and at the same intervals.
    AsSold,
}

const HELD_ITEMS: &str = "(SELECT id FROM item WHERE sale_id = 'held')";

/// A server and its store.
pub struct StoreServer {
    kind: Installation,
    _dir: TempDir,
}

enum Installation {
    SingleServer(Server),
    ClusterNode(Box<Cluster>),
}

impl StoreServer {
    /// Starts a server with this kind of store.
    pub fn open(config: &BenchConfig, store_kind: StoreKind) -> Result<Self> {
        let dir = config.temp_dir("expiry")?;
        let kind = match store_kind {
            StoreKind::Sqlite => {
                Installation::SingleServer(config.server(&dir.path().join("data"), None, None)?)
            }
            StoreKind::Postgres => {
                let mut plan =
                    ClusterPlan::new(&config.program, &dir.path().join("cluster"), Shape::Postgres);
                plan.nodes = 1;
                Installation::ClusterNode(Box::new(Cluster::start(&plan)?))
            }
        };
        Ok(Self { kind, _dir: dir })
    }

    /// Returns the server's address.
    pub fn addr(&self) -> SocketAddr {
        match &self.kind {
            Installation::SingleServer(server) => server.addr(),
            Installation::ClusterNode(cluster) => cluster.nodes[0].addr(),
        }
    }

    /// Returns the secret that signs buyers' tokens.
    pub fn secret(&self) -> Result<Vec<u8>> {
        match &self.kind {
            Installation::SingleServer(_) => Ok(BUYER_SECRET.as_bytes().to_vec()),
            Installation::ClusterNode(cluster) => Ok(read_secret(cluster.buyer_secret())?),
        }
    }

    fn operate(&self, method: &str, path: &str, body: &str, status: u16) -> Result<Value> {
        match &self.kind {
            Installation::SingleServer(server) => server.operate(method, path, body, status),
            Installation::ClusterNode(cluster) => {
                let reply = cluster.admin(method, path, body)?;
                ensure!(reply.status == status, "{method} {path}: {} {}", reply.status, reply.body);
                Ok(reply.json())
            }
        }
    }

    /// Creates a sale and opens it.
    pub fn open_sale(&self, sale: &NewSale<'_>) -> Result<()> {
        self.operate("POST", "/v1/admin/sales", &sale.json(), 201)?;
        self.operate("POST", &format!("/v1/admin/sales/{}/open", sale.id), "", 200).map(drop)
    }

    /// Returns how many units of a sale's only item are in each state.
    pub fn stock(&self, sale: &str) -> Result<StockRow> {
        StockRow::read(&self.operate("GET", &format!("/v1/admin/sales/{sale}/stock"), "", 200)?)
    }

    /// Returns the available units of a sale: the units in its slots and in the pool. Does not
    /// count units that are on their way between a slot and the pool.
    pub fn units_returned(&self, sale: &str) -> Result<u64> {
        let shown = self.operate("GET", &format!("/v1/admin/sales/{sale}/slots"), "", 200)?;
        let slots = shown["slots"]
            .as_array()
            .context("no slots in the answer")?
            .iter()
            .filter(|slot| slot["open"] == true);
        let units = |available: &Value| match available {
            Value::Object(counters) => counters.values().filter_map(Value::as_u64).sum(),
            one => one.as_u64().unwrap_or(0),
        };
        let at_hand: u64 = slots.map(|slot| units(&slot["available"])).sum();
        Ok(at_hand + self.stock(sale)?.pool)
    }

    /// Sets the ends of the holds. The first hold ends at the time that `at` returns. With
    /// [`HoldExpiry::AtOnce`], all others end at the same time; with [`HoldExpiry::AsSold`], they
    /// follow at the intervals at which their orders were created. Returns the end of the first
    /// hold.
    pub fn expire_holds_from(
        &self,
        at: impl Fn() -> SystemTime,
        how: HoldExpiry,
    ) -> Result<SystemTime> {
        let millis = |at: SystemTime| {
            Ok::<_, anyhow::Error>(at.duration_since(SystemTime::UNIX_EPOCH)?.as_millis())
        };
        let first = self
            .sql(&format!("SELECT min(reserved_at) FROM orders WHERE item_id IN {HELD_ITEMS}"))?;
        let due = at();
        let (now, from) = (millis(SystemTime::now())?, millis(due)?);
        let pay_by = match how {
            HoldExpiry::AtOnce => from.to_string(),
            HoldExpiry::AsSold => format!("reserved_at - {first} + {from}"),
        };
        self.sql(&format!(
            "INSERT INTO event (type, grant_id, n, at, actor, pay_by)
             SELECT 'order.extended', grant_id, n, {now}, 'operator:bench', {pay_by} FROM orders WHERE item_id IN {HELD_ITEMS}"
        ))?;
        self.sql(&format!("UPDATE orders SET pay_by = {pay_by} WHERE item_id IN {HELD_ITEMS}"))?;
        self.warm_up_log()?;
        Ok(due)
    }

    /// Returns two durations in seconds. The first is from the end of the first hold to the end of
    /// the last hold. The second is the longest time from an order's `pay_by` to its expiry.
    pub fn spread_and_slowest(&self) -> Result<(f64, f64)> {
        let seconds = |of: &str| -> Result<f64> {
            let millis = self.sql(&format!(
                "SELECT {of} FROM orders WHERE item_id IN {HELD_ITEMS} AND state = 'expired'"
            ))?;
            Ok(millis.parse::<f64>()? / 1e3)
        };
        Ok((seconds("max(pay_by) - min(pay_by)")?, seconds("max(ended_at - pay_by)")?))
    }

    /// Runs a checkpoint in PostgreSQL before the measurement, so that PostgreSQL starts no other
    /// checkpoint during the measurement.
    pub fn warm_up_log(&self) -> Result<()> {
        match self.kind {
            Installation::SingleServer(_) => Ok(()),
            Installation::ClusterNode(_) => self.sql("CHECKPOINT").map(drop),
        }
    }

    fn sql(&self, sql: &str) -> Result<String> {
        match &self.kind {
            Installation::SingleServer(server) => {
                let db = Connection::open(server.store_file()?)?;
                db.busy_timeout(SQL_WITHIN)?;
                if sql.starts_with("SELECT") {
                    return Ok(db.query_row(sql, [], |row| row.get::<_, i64>(0))?.to_string());
                }
                db.execute(sql, []).context("cannot change the holds")?;
                Ok(String::new())
            }
            Installation::ClusterNode(cluster) => Ok(cluster.postgres.sql(sql)?.trim().to_owned()),
        }
    }

    /// Checks that all holds expired, and that each has exactly one event. `holds` is the number of
    /// holds. Then stops the server and audits the store, which must contain `others` orders in
    /// addition to the holds.
    pub fn close(self, holds: u64, others: u64) -> Result<()> {
        let row = self.stock("held")?;
        ensure!(
            row.adds_up() && row.held == 0 && row.pool + row.in_slots == holds,
            "not every unit is back: {row:?}"
        );
        let each = "SELECT DISTINCT grant_id, n FROM event WHERE type = 'order.expired'";
        for of in ["event WHERE type = 'order.expired'", &format!("({each}) AS each")] {
            let events = self.sql(&format!("SELECT count(*) FROM {of}"))?;
            ensure!(
                events == holds.to_string(),
                "{holds} holds ended, but there are {events} events about expired orders"
            );
        }
        let expired = self.sql("SELECT count(*) FROM orders WHERE state = 'expired'")?;
        ensure!(expired == holds.to_string(), "{holds} holds ended, but {expired} orders expired");
        let all = holds + others;
        match self.kind {
            Installation::SingleServer(server) => server.stop_and_audit(all..=all),
            Installation::ClusterNode(mut cluster) => {
                cluster.stop_nodes()?;
                let report = audit::run(&audit::StoreLocation::parse(&cluster.store_url())?, None)?;
                ensure!(report.audit.ok, "the auditor found {:?}", report.audit.findings);
                ensure!(
                    report.orders_checked == all,
                    "{all} orders were confirmed, but the store has {}",
                    report.orders_checked
                );
                cluster.stop().context("failed to stop the cluster after the round")
            }
        }
    }
}
