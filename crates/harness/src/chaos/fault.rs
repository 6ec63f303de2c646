//! The faults and their names.

use crate::cluster::Shape;

/// Defines the faults, each with its name and its description.
macro_rules! faults {
    ($($(#[$about:meta])* $fault:ident = $name:literal, $description:literal;)*) => {
        /// The fault of a round.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $($(#[$about])* $fault,)*
        }

        impl Fault {
            /// Every fault.
            const ALL: &[Self] = &[$(Self::$fault),*];

            /// Returns the name of the fault.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$fault => $name,)*
                }
            }

            /// Returns the description of the fault.
            pub fn description(self) -> &'static str {
                match self {
                    $(Self::$fault => $description,)*
                }
            }
        }
    };
}

faults! {
    /// No fault is injected. The results of the other rounds are compared with this round.
    #[default]
    NoFault = "calm", "no fault";
    /// A node is killed and started again.
    NodeKill = "node-kill", "a node is killed and started again";
    /// A node is stopped for a while, as if its machine hung. Then the node continues.
    NodePause = "node-pause", "a node hangs for a while (SIGSTOP, SIGCONT)";
    /// Every node in turn is stopped cleanly and started again, as in an upgrade. If the plan has
    /// another build of the program, each node switches to the other build.
    NodeRoll = "node-roll", "every node in turn is stopped and started again, as in an upgrade";
    /// A node's wall clock is set an hour forward or back, and is corrected later.
    NodeClock = "node-clock", "a node's wall clock is wrong by an hour for a while";
    /// PostgreSQL ends as in a crash and is started again.
    PostgresCrash = "postgres-crash", "PostgreSQL ends at once and is started again";
    /// The nodes and PostgreSQL cannot reach each other: the network delivers no data, or the
    /// connections break.
    PostgresCut = "postgres-cut", "nodes are cut off from PostgreSQL";
    /// The data between nodes and PostgreSQL arrives late.
    PostgresSlow = "postgres-slow", "the network to PostgreSQL is slow";
    /// PostgreSQL ends as in a crash, and its standby is promoted.
    PostgresFailover = "postgres-failover", "PostgreSQL fails over to its standby";
    /// Commits no longer wait for the standby, and the standby is disconnected. Buyers continue to
    /// buy. Then PostgreSQL ends as in a crash, and the standby, which lacks the last orders, is
    /// promoted.
    PostgresFailoverAsync = "postgres-failover-async",
        "PostgreSQL fails over to a standby that lacks the last orders";
    /// PostgreSQL fails over to its standby. Then the old primary starts again with its old data,
    /// and every node restarts. No node may use the old primary.
    PostgresOldPrimaryReturns = "postgres-old-primary-returns",
        "the old PostgreSQL primary starts again after a failover";
    /// The standby is stopped for a while. During this time, commits wait for the standby's
    /// confirmation.
    PostgresStandbyAway = "postgres-standby-away", "the synchronous standby is stopped";
    /// The disk of PostgreSQL is full for a while.
    PostgresDiskFull = "postgres-disk-full", "the disk of PostgreSQL is full for a while";
    /// All nodes and PostgreSQL are stopped, and PostgreSQL starts again from an older backup. The
    /// orders since the backup are lost.
    Restore = "restore", "PostgreSQL is restored from a backup of the running sale";
    /// A Redis primary is killed, and its replica takes over.
    RedisPrimaryKill = "redis-primary-kill",
        "a Redis primary is killed, and its replica takes over";
    /// A Redis primary is stopped until its replica has taken over. Then the old primary continues.
    RedisPrimaryPause = "redis-primary-pause",
        "a Redis primary hangs until its replica has taken over";
    /// A Redis primary is killed and restarts empty before its replica takes over.
    RedisRestartEmpty = "redis-restart-empty",
        "a Redis primary is killed, and restarts at once without data";
    /// A Redis primary is killed and restarts with an old snapshot.
    RedisSnapshot = "redis-snapshot",
        "a Redis primary is killed, and restarts with an old snapshot";
    /// A Redis primary loads an old snapshot while it runs.
    RedisReload = "redis-reload", "a Redis primary loads an old snapshot while it runs";
    /// A Redis replica takes over, although it lacks the latest tickets.
    RedisStaleFailover = "redis-stale-failover",
        "a Redis replica takes over, although it lacks the latest tickets";
    /// A Redis replica is killed and started again.
    RedisReplicaKill = "redis-replica-kill", "a Redis replica is killed and started again";
    /// A Redis replica is stopped for a while and continues.
    RedisReplicaPause = "redis-replica-pause", "a Redis replica hangs for a while";
    /// Every Redis primary is emptied.
    RedisFlush = "redis-flush", "FLUSHALL on every Redis primary";
    /// Every Redis server forgets its scripts.
    RedisScriptFlush = "redis-script-flush", "SCRIPT FLUSH on every Redis server";
    /// The servers of a Redis shard cannot be reached: the network delivers no data, or the
    /// connections break.
    RedisCut = "redis-cut", "the network to the servers of a Redis shard is interrupted";
    /// The data to and from the servers of a Redis shard arrives late.
    RedisSlow = "redis-slow", "the network to the servers of a Redis shard is slow";
}

impl Fault {
    /// Returns all faults of an installation of this shape, in a fixed order.
    pub fn all_for(shape: Shape) -> Vec<Self> {
        let all = Self::ALL.iter().copied();
        all.filter(|fault| shape == Shape::Cluster || !fault.name().starts_with("redis")).collect()
    }

    /// Finds a fault by its name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|fault| fault.name() == name)
    }

    /// Returns whether the fault can be injected only if PostgreSQL has a standby.
    pub fn needs_standby(self) -> bool {
        self == Self::PostgresStandbyAway || (self.ends_standby() && self != Self::Restore)
    }

    /// Returns whether PostgreSQL has lost its standby after the fault. The harness then creates a
    /// new standby.
    pub fn ends_standby(self) -> bool {
        use Fault::{PostgresFailover, PostgresFailoverAsync, PostgresOldPrimaryReturns, Restore};
        matches!(
            self,
            PostgresFailover | PostgresFailoverAsync | PostgresOldPrimaryReturns | Restore
        )
    }

    /// Returns whether the database may lack orders after the fault, although the server confirmed
    /// these orders.
    pub fn loses_orders(self) -> bool {
        matches!(self, Self::PostgresFailoverAsync | Self::Restore)
    }

    /// Returns whether a final answer of this kind is correct in a round with this fault. In a
    /// round, each buyer sends one request within the limit, the sale does not end, and no order
    /// ends. After a fault, the server may refuse a queued request as `unavailable`.
    pub(super) fn allows_answer(self, kind: &str) -> bool {
        match kind {
            "reserved" | "sold_out" | "unavailable" => true,
            "paused" => self.loses_orders(),
            _ => false,
        }
    }

    /// Returns whether the fault may make a slot fail, so that the nodes replace the slot. Such a
    /// fault makes Redis lose data, or makes the database lose rows that a slot has applied.
    /// `redis-cut` is not such a fault, because the Redis servers still reach each other, and no
    /// replica takes over.
    pub fn may_cost_a_slot(self) -> bool {
        self.loses_orders()
            || matches!(
                self,
                Self::RedisPrimaryKill
                    | Self::RedisPrimaryPause
                    | Self::RedisRestartEmpty
                    | Self::RedisSnapshot
                    | Self::RedisReload
                    | Self::RedisStaleFailover
                    | Self::RedisFlush
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_its_own_name() {
        for fault in Fault::ALL {
            assert_eq!(Fault::parse(fault.name()), Some(*fault));
        }
        assert_eq!(Fault::all_for(Shape::Postgres).len(), 14);
        assert_eq!(Fault::all_for(Shape::Cluster).len(), Fault::ALL.len());
    }

    #[test]
    fn only_lost_data_excuses_a_replaced_slot_or_a_pause() {
        for fault in Fault::all_for(Shape::Postgres) {
            assert_eq!(fault.may_cost_a_slot(), fault.loses_orders(), "{}", fault.name());
            assert_eq!(fault.allows_answer("paused"), fault.loses_orders(), "{}", fault.name());
            assert!(fault.allows_answer("sold_out") && !fault.allows_answer("limit_reached"));
        }
        for fault in [Fault::RedisCut, Fault::RedisSlow, Fault::RedisReplicaKill] {
            assert!(!fault.may_cost_a_slot(), "{}", fault.name());
        }
        assert!(Fault::RedisFlush.may_cost_a_slot());
    }
}
