//! All strategies, in the sequence of `lab list` and of the report.

pub use crate::contract::StrategyEntry;
use crate::contract::{Claim, Family, StrategyKind};
use crate::shape::Shape;
use crate::strategies::{
    check_then_update, combined, conditional_update, lock_and_cache, optimistic_version,
    partitioned_redis, pessimistic_lock, redis_check_then_set, redis_incrby, redis_lock,
    redis_lock_fenced, redis_lock_unsafe, redis_lua, redis_lua_outbox, redis_lua_queue,
    redis_then_database, single_consumer_queue, staging_table, sub_domains, unit_rows,
    unsafe_update,
};

/// All strategies.
pub static ENTRIES: [StrategyEntry; 24] = [
    unsafe_update::ENTRY,
    check_then_update::ENTRY,
    pessimistic_lock::ENTRY,
    conditional_update::ENTRY,
    optimistic_version::ENTRY,
    staging_table::ENTRY,
    single_consumer_queue::ENTRY,
    unit_rows::ENTRY,
    redis_check_then_set::ENTRY,
    redis_incrby::ENTRY,
    redis_lock_unsafe::ENTRY,
    redis_lock::ENTRY,
    redis_lock_fenced::ENTRY,
    redis_lua::ENTRY,
    redis_lua_queue::ENTRY,
    redis_lua_outbox::ENTRY,
    lock_and_cache::ENTRY,
    redis_then_database::ENTRY,
    partitioned_redis::ENTRY,
    sub_domains::ENTRY,
    combined::ENTRY,
    product(
        "doorbuster-embedded",
        "Doorbuster, one process",
        "Any crowd on one machine; no other server is needed",
        Shape::Embedded,
    ),
    product(
        "doorbuster-postgres",
        "Doorbuster with PostgreSQL",
        "Any crowd; several nodes on one database",
        Shape::Postgres,
    ),
    product(
        "doorbuster-cluster",
        "Doorbuster with Redis and PostgreSQL",
        "Any crowd; several nodes that share one hot item",
        Shape::Cluster,
    ),
];

const fn product(
    id: &'static str,
    title: &'static str,
    suits: &'static str,
    shape: Shape,
) -> StrategyEntry {
    StrategyEntry {
        id,
        family: Family::Doorbuster,
        title,
        claim: Claim::Safe,
        source: "this product; docs/protocol.md",
        suits,
        text: shape.header(),
        lua: &[],
        kind: StrategyKind::Product(shape),
    }
}

/// Returns the strategy with this id.
#[must_use]
pub fn find(id: &str) -> Option<&'static StrategyEntry> {
    ENTRIES.iter().find(|entry| entry.id == id)
}
