//! Partitions with two sub-domains each, a scheduler, a pool and a detail table.
//!
//! How it works: a partition sells from its active sub-domain. When this sub-domain has fewer units
//! than a threshold, the scheduler refills the other sub-domain from the pool and makes it active.
//! Each purchase leaves a detail record in Redis. After 100 records or one second, one statement
//! writes the records as orders and deducts their units from the stock. If a buyer wants more than
//! a refill can bring, all remaining units move into one partition.
//! Where it comes from: published designs for very hot items. There, a new partition has 400 units,
//! the threshold is 380, and a refill has 100 units. Here, all three numbers are smaller if the
//! stock is small.
//! When it holds: while Redis keeps its data.
//! How it breaks: a restart of Redis loses the stock in Redis, and the records that are not written
//! yet. Each of the many parts can fail. For example, partitions run out of units while the
//! scheduler is down.

use std::time::{Duration, Instant};

use redis::{Script, cmd, pipe};

use crate::backends::{Backends, execute};
use crate::contract::{Answer, Claim, Family, Strategy, StrategyEntry, StrategyKind, Task};

/// The strategy's entry in the list of strategies and in the lab's report.
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
        include_str!("sub_domains_write.sql"),
    ],
    kind: StrategyKind::Worker(|backends| Box::new(SubDomains(backends.clone()))),
};

const PARTITIONS: i64 = 2;
/// The units of a new partition.
const INITIAL: i64 = 400;
/// If the active sub-domain has fewer units than this, the partition gets a refill.
const THRESHOLD: i64 = 380;
/// The units of one refill.
const REFILL: i64 = 100;
/// The scheduler writes the records when this many records wait, or after `WRITE_INTERVAL`.
const DETAILS: u64 = 100;
const WRITE_INTERVAL: Duration = Duration::from_secs(1);
const SCHEDULE_INTERVAL: Duration = Duration::from_millis(5);

struct SubDomains(Backends);

impl Strategy for SubDomains {
    fn prepare(&self, stock: i64) -> Task<'_, ()> {
        Box::pin(async move {
            self.0.prepare_stock(include_str!("sub_domains_tables.sql"), stock).await?;
            // At least half of the stock stays in the pool.
            let part = INITIAL.min(stock / (2 * PARTITIONS));
            let (threshold, refill) = (part * THRESHOLD / INITIAL, part * REFILL / INITIAL);
            let mut commands = pipe();
            for partition in 0..PARTITIONS {
                commands.cmd("HSET").arg(format!("partition:{partition}")).arg("active").arg("a");
                commands.arg("a").arg(part).arg("b").arg(0);
                commands.arg("threshold").arg(threshold).arg("refill").arg(refill.max(1)).ignore();
            }
            commands.cmd("SET").arg("pool").arg(stock - PARTITIONS * part).ignore();
            self.0.redis().run_all(&commands).await
        })
    }

    fn take(&self, buyer: i64, units: i64) -> Task<'_, Answer> {
        Box::pin(async move {
            let book = Script::new(include_str!("sub_domains.lua"));
            for step in 0..PARTITIONS {
                let partition = (buyer + step) % PARTITIONS;
                let mut call = book.key(format!("partition:{partition}"));
                let call = call.key("buyers").key("details").arg(buyer).arg(units).arg(partition);
                if self.0.redis().script::<i64>(call).await? == 1 {
                    return Ok(Answer::Sold);
                }
            }
            let gather = Script::new(include_str!("sub_domains_gather.lua"));
            let keys: Vec<String> = (0..PARTITIONS).map(|n| format!("partition:{n}")).collect();
            let left: i64 = self.0.redis().script(gather.key(keys).key("pool").arg(units)).await?;
            Ok(if left >= units { Answer::Busy } else { Answer::SoldOut })
        })
    }

    fn background(&self) -> Task<'_, bool> {
        Box::pin(async move {
            let refill = Script::new(include_str!("sub_domains_schedule.lua"));
            let until = Instant::now() + WRITE_INTERVAL;
            loop {
                for partition in 0..PARTITIONS {
                    let mut call = refill.key(format!("partition:{partition}"));
                    self.0.redis().script::<i64>(call.key("pool")).await?;
                }
                if Instant::now() > until || self.waiting().await? >= DETAILS {
                    break;
                }
                tokio::time::sleep(SCHEDULE_INTERVAL).await;
            }
            let details: Vec<String> =
                self.0.redis().run(cmd("LRANGE").arg("details").arg(0).arg(DETAILS - 1)).await?;
            // If the process dies before `LTRIM`, these records are written again after its
            // restart. The SQL statement then skips the records that the table already has.
            let db = self.0.db().await?;
            execute(&db, include_str!("sub_domains_write.sql"), &[&details]).await?;
            let written = details.len();
            self.0.redis().run::<()>(cmd("LTRIM").arg("details").arg(written).arg(-1)).await?;
            Ok(true)
        })
    }

    fn waiting(&self) -> Task<'_, u64> {
        Box::pin(async move { self.0.redis().run(cmd("LLEN").arg("details")).await })
    }
}
