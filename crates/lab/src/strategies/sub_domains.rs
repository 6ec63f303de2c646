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

use crate::backends::{Backends, insert_orders};
use crate::contract::{Answer, Claim, Family, Order, Step, Strategy, StrategyEntry, StrategyKind};

/// The entry for the list and the report.
pub const ENTRY: StrategyEntry = StrategyEntry {
    id: "sub-domains",
    family: Family::Combined,
    title: "Partitions with sub-domains",
    claim: Claim::SafeWithoutFaults,
    source: "published designs for very hot items",
    suits: "One very hot item on several Redis servers",
    text: include_str!("sub_domains.rs"),
    lua: &[
        include_str!("sub_domains.lua"),
        include_str!("sub_domains_schedule.lua"),
        include_str!("sub_domains_gather.lua"),
    ],
    kind: StrategyKind::Worker(|backends| Box::new(SubDomains(backends.clone()))),
};

const PARTITIONS: i64 = 2;
/// Units of a new partition, the threshold for a refill, and the units of one refill.
const INITIAL: i64 = 400;
const THRESHOLD: i64 = 380;
const REFILL: i64 = 100;
/// The task writes the details when this number of details waits, or after this time.
const DETAILS: u64 = 100;
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// How often the scheduler runs.
const SCHEDULE_EVERY: Duration = Duration::from_millis(5);
const TABLES: &str = "CREATE TABLE orders (id bigserial PRIMARY KEY,
    buyer bigint NOT NULL UNIQUE, units bigint NOT NULL)";

struct SubDomains(Backends);

impl Strategy for SubDomains {
    fn prepare(&self, stock: i64) -> Step<'_, ()> {
        Box::pin(async move {
            self.0.create_tables(TABLES).await?;
            let (mut commands, mut pool) = (pipe(), stock);
            for partition in 0..PARTITIONS {
                let part = INITIAL.min(stock / PARTITIONS);
                pool -= part;
                commands.cmd("HSET").arg(format!("partition:{partition}")).arg("active").arg("a");
                commands.arg("a").arg(part).arg("b").arg(0).ignore();
            }
            commands.cmd("SET").arg("pool").arg(pool).ignore();
            self.0.redis().run_all(&commands).await
        })
    }

    fn take(&self, buyer: i64, units: i64) -> Step<'_, Answer> {
        Box::pin(async move {
            let book = Script::new(include_str!("sub_domains.lua"));
            for step in 0..PARTITIONS {
                let mut call = book.key(format!("partition:{}", (buyer + step) % PARTITIONS));
                let call = call.key("buyers").key("details").arg(buyer).arg(units);
                if self.0.redis().script::<i64>(call).await? == 1 {
                    return Ok(Answer::Sold);
                }
            }
            let gather = Script::new(include_str!("sub_domains_gather.lua"));
            let mut call = gather.prepare_invoke();
            for partition in 0..PARTITIONS {
                call.key(format!("partition:{partition}"));
            }
            let available: i64 = self.0.redis().script(call.key("pool").arg(units)).await?;
            Ok(if available >= units { Answer::Busy } else { Answer::SoldOut })
        })
    }

    fn background(&self) -> Step<'_, bool> {
        Box::pin(async move {
            let refill = Script::new(include_str!("sub_domains_schedule.lua"));
            let until = Instant::now() + WRITE_EVERY;
            while Instant::now() < until && self.waiting().await? < DETAILS {
                for partition in 0..PARTITIONS {
                    let mut call = refill.key(format!("partition:{partition}"));
                    let call = call.key("pool").arg(THRESHOLD).arg(REFILL);
                    self.0.redis().script::<i64>(call).await?;
                }
                tokio::time::sleep(SCHEDULE_EVERY).await;
            }
            // If a crash makes the task write the same details again, the rows stay the same.
            let orders = self.0.listed_orders("details", DETAILS as isize - 1).await?;
            insert_orders(&self.0.db().await?, &orders).await?;
            self.0.redis().run::<()>(cmd("LTRIM").arg("details").arg(orders.len()).arg(-1)).await?;
            Ok(true)
        })
    }

    fn waiting(&self) -> Step<'_, u64> {
        Box::pin(async move { self.0.redis().run(cmd("LLEN").arg("details")).await })
    }

    fn orders(&self) -> Step<'_, Vec<Order>> {
        Box::pin(self.0.order_rows())
    }
}
