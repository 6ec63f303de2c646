//! The live consumers: the names under which the live nodes read queues.
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use doorbuster_core::NodeId;
use redis::Value;

use super::codec::{self, array, text};
use super::failure::RedisFailure;
use super::reader::consumer;

/// The names with which live nodes read the queues. The set is empty until this node knows which
/// nodes are live.
#[derive(Debug, Default)]
pub(super) struct LiveConsumers(Mutex<HashSet<String>>);

impl LiveConsumers {
    pub(super) fn set(&self, nodes: &[NodeId]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            nodes.iter().map(|node| consumer(*node)).collect();
    }

    /// Parses an answer to `XINFO CONSUMERS`. Returns the consumers of dead nodes that have
    /// unacknowledged entries. Returns no consumer until this node knows which nodes are live.
    pub(super) fn parse_dead_consumers(&self, reply: Value) -> Result<Vec<String>, RedisFailure> {
        let live = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if live.is_empty() {
            return Ok(Vec::new());
        }
        let mut lost = Vec::new();
        for entry in array(reply)? {
            let (name, pending) = parse_consumer(entry)?;
            if pending > 0 && !live.contains(&name) {
                lost.push(name);
            }
        }
        Ok(lost)
    }
}

/// Returns a consumer's name and the number of its unacknowledged entries.
fn parse_consumer(entry: Value) -> Result<(String, u64), RedisFailure> {
    let mut fields = match entry {
        Value::Map(pairs) => pairs,
        entry => {
            let mut flat = array(entry)?.into_iter();
            std::iter::from_fn(|| Some((flat.next()?, flat.next()?))).collect()
        }
    }
    .into_iter();
    let (mut name, mut pending) = (String::new(), 0);
    fields.try_for_each(|(field, value)| {
        match text(&field)? {
            "name" => name = text(&value)?.to_owned(),
            "pending" => pending = codec::number(&value)?,
            _ => {}
        }
        Ok::<_, RedisFailure>(())
    })?;
    Ok((name, pending))
}
