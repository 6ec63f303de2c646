//! One file for each strategy. The header of the file says how the strategy works, where it comes
//! from, when it holds, and how it breaks. The main function is `take`.

pub mod check_then_update;
pub mod combined;
pub mod conditional_update;
pub mod lock_and_cache;
pub mod optimistic_version;
pub mod partitioned_redis;
pub mod pessimistic_lock;
pub mod redis_check_then_set;
pub mod redis_incrby;
pub mod redis_lock;
pub mod redis_lock_fenced;
pub mod redis_lock_unsafe;
pub mod redis_lua;
pub mod redis_lua_outbox;
pub mod redis_lua_queue;
pub mod redis_then_database;
pub mod single_consumer_queue;
pub mod staging_table;
pub mod sub_domains;
pub mod unit_rows;
pub mod unsafe_update;

#[cfg(test)]
mod tests;
