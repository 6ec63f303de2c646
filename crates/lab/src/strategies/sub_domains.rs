//! Partitions with two sub-domains each, a scheduler, a pool and a detail table.
//!
//! How it works: a partition sells from its active sub-domain. When its units fall below the
//! threshold, the scheduler refills the other sub-domain from the pool and switches to it. Every
//! sale leaves a detail record. A task writes the details into the database after 100 records or
//! one second. When the pool is empty, remaining units are merged, first of sub-domains, then of
//! partitions.
//! Where it comes from: published designs for very hot items (initial 400, threshold 380, refill
//! 100).
//! When it holds: while Redis keeps its data.
//! How it breaks: a restart of Redis loses details that were not written, and their stock. There
//! are many parts: if the scheduler is down, partitions run out of units.

use std::time::{Duration, Instant};

use redis::{Script, cmd, pipe};

use crate::backends::{Backends, execute, parse_order};
use crate::contract::{
    Answer, Claim, Family, Order, Step, Strategy, StrategyEntry, StrategyInfo, StrategySource,
};

/// The entry for the list and the report.
pub const ENTRY: StrategyEntry = StrategyEntry {
    info: StrategyInfo {
        id: "sub-domains",
        family: Family::Combined,
        title: "Partitions with sub-domains",
        claim: Claim::SafeWithoutFaults,
        source: "published designs for very hot items",
        suits: "One very hot item on several Redis servers",
    },
    text: include_str!("sub_domains.rs"),
    lua: Some(include_str!("sub_domains.lua")),
    make: StrategySource::Strategy(|backends| Box::new(SubDomains { backends: backends.clone() })),
};

const PARTITIONS: i64 = 2;
/// Units of a new partition, the threshold for a refill, and the units of one refill.
const INITIAL: i64 = 400;
const THRESHOLD: i64 = 380;
const REFILL: i64 = 100;
/// The task writes the details when this number of details waits, or after this time.
const DETAILS: usize = 100;
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// How often the scheduler runs.
const SCHEDULE_EVERY: Duration = Duration::from_millis(5);
const BOOK: &str = include_str!("sub_domains.lua");
const SCHEDULE: &str = include_str!("sub_domains_schedule.lua");
const GATHER: &str = include_str!("sub_domains_gather.lua");
const TABLES: &str = "CREATE TABLE orders (id bigserial PRIMARY KEY,
    buyer bigint NOT NULL UNIQUE, units bigint NOT NULL)";
const WRITE: &str = "INSERT INTO orders (buyer, units)
    SELECT * FROM unnest($1::bigint[], $2::bigint[]) ON CONFLICT (buyer) DO NOTHING";

struct SubDomains {
    backends: Backends,
}

fn key(partition: i64) -> String {
    format!("partition:{partition}")
}

impl SubDomains {
    async fn book(&self, partition: i64, buyer: i64, units: i64) -> anyhow::Result<bool> {
        let script = Script::new(BOOK);
        let mut call = script.key(key(partition));
        let call = call.key("buyers").key("details").arg(buyer).arg(units);
        Ok(self.backends.redis().script::<i64>(call).await? == 1)
    }

    /// Merges all remaining units into one partition. Returns their number.
    async fn gather(&self) -> anyhow::Result<i64> {
        let script = Script::new(GATHER);
        let mut call = script.prepare_invoke();
        for partition in 0..PARTITIONS {
            call.key(key(partition));
        }
        self.backends.redis().script(call.key("pool")).await
    }

    /// Writes the oldest details into the database, and then removes them from the list. If a crash
    /// makes it write the same details again, the rows stay the same.
    async fn write_details(&self) -> anyhow::Result<()> {
        let redis = self.backends.redis();
        let lines: Vec<String> =
            redis.run(cmd("LRANGE").arg("details").arg(0).arg(DETAILS - 1)).await?;
        let orders: anyhow::Result<Vec<Order>> =
            lines.iter().map(|line| parse_order(line)).collect();
        let (buyers, units): (Vec<i64>, Vec<i64>) =
            orders?.iter().map(|order| (order.buyer, order.units)).unzip();
        execute(&self.backends.db().await?, WRITE, &[&buyers, &units]).await?;
        redis.run(cmd("LTRIM").arg("details").arg(lines.len()).arg(-1)).await
    }
}

impl Strategy for SubDomains {
    fn prepare(&self, stock: i64) -> Step<'_, ()> {
        Box::pin(async move {
            self.backends.create_tables(TABLES).await?;
            let (mut commands, mut pool) = (pipe(), stock);
            commands.cmd("FLUSHALL").ignore();
            for partition in 0..PARTITIONS {
                let part = INITIAL.min(stock / PARTITIONS);
                pool -= part;
                commands.cmd("HSET").arg(key(partition)).arg("active").arg("a");
                commands.arg("a").arg(part).arg("b").arg(0).ignore();
            }
            commands.cmd("SET").arg("pool").arg(pool).ignore();
            self.backends.redis().run_all(&commands).await
        })
    }

    fn take(&self, buyer: i64, units: i64) -> Step<'_, Answer> {
        Box::pin(async move {
            for step in 0..PARTITIONS {
                if self.book((buyer + step) % PARTITIONS, buyer, units).await? {
                    return Ok(Answer::Sold);
                }
            }
            let pool: Option<i64> = self.backends.redis().run(cmd("GET").arg("pool")).await?;
            if pool.unwrap_or(0) >= units {
                // The scheduler is about to refill a partition.
                return Ok(Answer::Busy);
            }
            let enough = self.gather().await? >= units;
            Ok(if enough { Answer::Busy } else { Answer::SoldOut })
        })
    }

    fn background(&self, leads: bool) -> Step<'_, ()> {
        Box::pin(async move {
            let script = Script::new(SCHEDULE);
            let mut written = Instant::now();
            if !leads {
                return std::future::pending().await;
            }
            loop {
                for partition in 0..PARTITIONS {
                    let mut call = script.key(key(partition));
                    let call = call.key("pool").arg(THRESHOLD).arg(REFILL);
                    self.backends.redis().script::<i64>(call).await?;
                }
                let details: usize = self.backends.redis().run(cmd("LLEN").arg("details")).await?;
                if details >= DETAILS || details > 0 && written.elapsed() > WRITE_EVERY {
                    self.write_details().await?;
                    written = Instant::now();
                }
                tokio::time::sleep(SCHEDULE_EVERY).await;
            }
        })
    }

    fn waiting(&self) -> Step<'_, u64> {
        Box::pin(async move { self.backends.redis().run(cmd("LLEN").arg("details")).await })
    }

    fn orders(&self) -> Step<'_, Vec<Order>> {
        Box::pin(self.backends.order_rows())
    }
}
