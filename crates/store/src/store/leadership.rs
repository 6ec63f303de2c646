//! The lease of the leader. At most one node has this lease at a time.
use crate::limits::LEASE_END_MAX_MS;
use crate::sql::{Statement, statement, values};

use super::{Store, StoreResult};

/// Takes the leader's lease if this node has the lease already, or if the lease has expired or is
/// void ([`LEASE_END_MAX_MS`]).
const TAKE_LEADER_LEASE: Statement = statement(
    "INSERT INTO leader (one, node, until) VALUES (1, $1, $2)
     ON CONFLICT (one) DO UPDATE SET node = excluded.node, until = excluded.until
     WHERE leader.node = excluded.node OR leader.until <= $3
        OR leader.until > $4",
);

impl Store {
    /// Takes or renews the lease of the leader for `lease_ms`. Returns whether this node has the
    /// lease now.
    pub async fn take_leader_lease(&self, node: u32, lease_ms: i64) -> StoreResult<bool> {
        self.lease_job(move |tx| {
            let now = tx.now();
            let values = values![node, now.plus(lease_ms), now, now.plus(LEASE_END_MAX_MS)];
            Ok(tx.run(TAKE_LEADER_LEASE, &values)? > 0)
        })
        .await
    }
}
