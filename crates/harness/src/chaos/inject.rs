//! Injects a fault, keeps it for its duration, and then undoes it. After that, all servers run
//! again.

use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::SmallRng;

use super::limits::{
    CLOCK_STEP_MS, DISK_FULL, HANG, NETWORK_DELAY, OUTAGE, SNAPSHOT_AGE, TAKEOVER_WITHIN,
};
use super::round_state::random_duration;
use super::{Fault, restore};
use crate::cluster::{
    Cluster, ClusterError, NetworkCondition, Node, Postgres, Redis, Role, Signal,
};

/// Injects the fault. Returns a description of what it did, for the report.
pub(super) fn inject(
    cluster: &mut Cluster,
    fault: Fault,
    rng: &mut SmallRng,
) -> Result<String, ClusterError> {
    match fault {
        Fault::NoFault => Ok("nothing".into()),
        Fault::NodeKill | Fault::NodePause | Fault::NodeClock => node(cluster, fault, rng),
        Fault::NodeRoll => {
            cluster.nodes.iter_mut().chain(&mut cluster.edges).try_for_each(Node::upgrade)?;
            Ok("every node stopped and started again".into())
        }
        Fault::PostgresCrash => {
            let (pause, begun) = (random_duration(rng, OUTAGE), Instant::now());
            cluster.postgres.crash()?;
            std::thread::sleep(pause);
            cluster.postgres.start()?;
            Ok(format!(
                "PostgreSQL was stopped for {} ms, and was ready {} ms after the stop began",
                pause.as_millis(),
                begun.elapsed().as_millis()
            ))
        }
        Fault::PostgresCut | Fault::PostgresSlow => {
            let (condition, how) = condition(fault == Fault::PostgresSlow, rng);
            let pause = random_duration(rng, OUTAGE);
            // 0: the fault affects all nodes. Any other number: it affects only the node with this
            // number, and the other nodes must take over this node's work.
            let node_number = rng.random_range(0..=cluster.postgres_proxies.len());
            let proxies: Vec<usize> = (0..cluster.postgres_proxies.len())
                .filter(|node| node_number == 0 || *node + 1 == node_number)
                .collect();
            let set = |condition| {
                let proxies = proxies.iter().flat_map(|node| &cluster.postgres_proxies[*node]);
                proxies.for_each(|proxy| proxy.set_condition(condition));
            };
            set(condition);
            std::thread::sleep(pause);
            set(NetworkCondition::Normal);
            let target = if node_number == 0 {
                "all nodes".to_owned()
            } else {
                format!("node-{node_number}")
            };
            Ok(format!("{target} {how} for {} ms", pause.as_millis()))
        }
        Fault::PostgresFailover | Fault::PostgresOldPrimaryReturns => {
            fail_over(cluster, fault, random_duration(rng, OUTAGE))
        }
        Fault::PostgresFailoverAsync => {
            let sold_for = random_duration(rng, OUTAGE);
            cluster.cut_off_standby()?;
            std::thread::sleep(sold_for);
            cluster.postgres.crash()?;
            cluster.fail_over()?;
            Ok(format!("buyers bought for {} ms without the standby", sold_for.as_millis()))
        }
        Fault::PostgresStandbyAway => {
            let pause = random_duration(rng, OUTAGE);
            let Some(standby) = &mut cluster.standby else { return Ok("no standby".into()) };
            standby.stop()?;
            std::thread::sleep(pause);
            standby.start()?;
            Ok(format!("away for {} ms", pause.as_millis()))
        }
        Fault::PostgresDiskFull => fill_disk(cluster, rng),
        Fault::Restore => restore::restore(cluster, rng),
        _ => redis(cluster, fault, rng),
    }
}

/// Makes the disk of PostgreSQL full for a while. PostgreSQL then refuses some transactions. If it
/// needs a new WAL file, it stops, and the harness starts it again, as an operator would.
fn fill_disk(cluster: &mut Cluster, rng: &mut SmallRng) -> Result<String, ClusterError> {
    let postgres = &mut cluster.postgres;
    let (pause, before) = (random_duration(rng, DISK_FULL), postgres.disk_full_reports());
    let needs_file = rng.random_bool(0.5);
    postgres.set_disk_full(true)?;
    if needs_file {
        // PostgreSQL may end here, because the new WAL file does not fit on the disk. So an error
        // is ignored.
        let _ = postgres.sql("SELECT pg_switch_wal()");
    }
    std::thread::sleep(pause);
    if postgres.disk_full_reports() == before {
        // On a slow machine, buyers may write too little in this time to cause an error. This
        // statement needs more space and makes PostgreSQL report the full disk.
        let _ = postgres.sql("CREATE TABLE needs_space AS SELECT generate_series(1, 100000)");
    }
    postgres.set_disk_full(false)?;
    let reports = postgres.disk_full_reports() - before;
    let ended = postgres.recover()?;
    if reports == 0 {
        return Err(ClusterError::failed("filling the disk", "PostgreSQL reported no error"));
    }
    let how = if ended { "; PostgreSQL ended and was started again" } else { "" };
    Ok(format!("the disk was full for {} ms and caused {reports} errors{how}", pause.as_millis()))
}

/// Fails over to the standby of PostgreSQL. With `postgres-old-primary-returns`, also starts the
/// old primary with its old data and restarts every node. Fails if a node then writes to the old
/// primary.
fn fail_over(cluster: &mut Cluster, fault: Fault, pause: Duration) -> Result<String, ClusterError> {
    cluster.postgres.crash()?;
    std::thread::sleep(pause);
    cluster.fail_over()?;
    let mut how = format!("promoted after {} ms", pause.as_millis());
    if fault == Fault::PostgresFailover {
        return Ok(how);
    }
    let Some(old) = &mut cluster.standby else { return Ok(how) };
    // The old primary must not run until a node has registered the new primary in the store's
    // history. Before that, nodes cannot tell which of the two servers is the newer primary.
    wait_until_used(&cluster.postgres)?;
    // The old primary has no standby now. With its usual settings, each of its commits would wait
    // for a standby.
    old.start_without_standby()?;
    let count = "SELECT count(*) FROM orders";
    let before = old.sql(count)?;
    for node in &mut cluster.nodes {
        node.kill()?;
        node.start()?;
        node.wait_until_ready()?;
    }
    std::thread::sleep(pause);
    let after = old.sql(count)?;
    old.stop()?;
    if before != after {
        let what = format!(
            "a node wrote to the old primary, which had {before} orders at its restart, \
             and {after} orders after the nodes' restart"
        );
        return Err(ClusterError::failed("the return of the old primary", what));
    }
    how += ", the old primary started again and got no order";
    Ok(how)
}

/// Waits until a node has registered the new primary in the history of the store.
fn wait_until_used(primary: &Postgres) -> Result<(), ClusterError> {
    let until = Instant::now() + TAKEOVER_WITHIN;
    let newest = "SELECT cause FROM store_history ORDER BY fence DESC LIMIT 1";
    while primary.sql(newest)?.trim() != "promoted" {
        if Instant::now() > until {
            return Err(ClusterError::failed("waiting for a failover", "no node used the standby"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn node(cluster: &mut Cluster, fault: Fault, rng: &mut SmallRng) -> Result<String, ClusterError> {
    let which = rng.random_range(0..cluster.nodes.len() + cluster.edges.len());
    let mut servers = cluster.nodes.iter_mut().chain(&mut cluster.edges);
    let Some(node) = servers.nth(which) else { return Ok("there is no node".into()) };
    let pause = random_duration(rng, HANG);
    let how = match fault {
        Fault::NodeKill => {
            node.kill()?;
            std::thread::sleep(pause);
            node.start()?;
            node.wait_until_ready()?;
            "killed"
        }
        Fault::NodePause => {
            node.signal(Signal::STOP)?;
            std::thread::sleep(pause);
            node.signal(Signal::CONT)?;
            "stopped"
        }
        _ => {
            let forward = rng.random_bool(0.5);
            node.set_clock_ahead_ms(if forward { CLOCK_STEP_MS } else { -CLOCK_STEP_MS })?;
            std::thread::sleep(pause);
            node.set_clock_ahead_ms(0)?;
            if forward { "an hour ahead" } else { "an hour behind" }
        }
    };
    Ok(format!("{} {how} for {} ms", node.name(), pause.as_millis()))
}

fn redis(cluster: &mut Cluster, fault: Fault, rng: &mut SmallRng) -> Result<String, ClusterError> {
    let proxies = &cluster.redis_proxies;
    let Some(redis) = &mut cluster.redis else { return Ok("there is no Redis".into()) };
    let shard = busiest_shard(redis);
    let (primary, replica) = redis.primary_and_replica(shard);
    let pause = random_duration(rng, HANG);
    let describe = |who: usize, how: &str| format!("redis-{} {how}", who + 1);
    match fault {
        Fault::RedisPrimaryKill => {
            delete_snapshot(redis, primary);
            redis.server(primary).kill()?;
            wait_until_primary(redis, replica)?;
            redis.server(primary).start()?;
            Ok(describe(primary, &format!("killed, redis-{} took over", replica + 1)))
        }
        Fault::RedisPrimaryPause => {
            redis.server(primary).signal(Signal::STOP)?;
            let took_over = wait_until_primary(redis, replica);
            redis.server(primary).signal(Signal::CONT)?;
            took_over?;
            Ok(describe(primary, &format!("stopped, redis-{} took over", replica + 1)))
        }
        Fault::RedisRestartEmpty => {
            delete_snapshot(redis, primary);
            redis.server(primary).kill()?;
            redis.server(primary).start()?;
            Ok(describe(primary, "back at once, empty"))
        }
        Fault::RedisSnapshot | Fault::RedisReload => snapshot(redis, primary, fault, rng),
        Fault::RedisStaleFailover => fail_over_stale_replica(redis, primary, replica, rng),
        Fault::RedisReplicaKill => {
            redis.server(replica).kill()?;
            std::thread::sleep(pause);
            redis.server(replica).start()?;
            Ok(describe(replica, &format!("killed for {} ms", pause.as_millis())))
        }
        Fault::RedisReplicaPause => {
            redis.server(replica).signal(Signal::STOP)?;
            std::thread::sleep(pause);
            redis.server(replica).signal(Signal::CONT)?;
            Ok(describe(replica, &format!("stopped for {} ms", pause.as_millis())))
        }
        Fault::RedisFlush => {
            for shard in 0..redis.shards() {
                let (primary, _) = redis.primary_and_replica(shard);
                redis.server(primary).run_command(&["FLUSHALL"])?;
            }
            Ok("every primary emptied".into())
        }
        Fault::RedisScriptFlush => {
            redis
                .servers()
                .iter()
                .try_for_each(|server| server.run_command(&["SCRIPT", "FLUSH"]).map(drop))?;
            Ok("every script forgotten".into())
        }
        _ => {
            let (condition, how) = condition(fault == Fault::RedisSlow, rng);
            let pause = random_duration(rng, OUTAGE);
            [primary, replica].iter().for_each(|server| proxies[*server].set_condition(condition));
            std::thread::sleep(pause);
            [primary, replica]
                .iter()
                .for_each(|server| proxies[*server].set_condition(NetworkCondition::Normal));
            Ok(format!(
                "redis-{} and redis-{} {how} for {} ms",
                primary + 1,
                replica + 1,
                pause.as_millis()
            ))
        }
    }
}

/// Makes a server save a snapshot, and waits while buyers continue to buy. Then makes the server
/// load this old snapshot, while it runs or at a restart.
fn snapshot(
    redis: &mut Redis,
    primary: usize,
    fault: Fault,
    rng: &mut SmallRng,
) -> Result<String, ClusterError> {
    let server = redis.server(primary);
    server.run_command(&["SAVE"])?;
    let age = random_duration(rng, SNAPSHOT_AGE);
    std::thread::sleep(age);
    if fault == Fault::RedisReload {
        server.run_command(&["DEBUG", "RELOAD", "NOSAVE"])?;
        return Ok(format!(
            "redis-{} loaded a snapshot that was {} ms old, without a restart",
            primary + 1,
            age.as_millis()
        ));
    }
    // The server may meanwhile have written a newer snapshot for its replica. This makes no
    // difference, because that snapshot lacks the latest tickets too.
    server.kill()?;
    server.start()?;
    Ok(format!(
        "redis-{} restarted with a snapshot that was {} ms old",
        primary + 1,
        age.as_millis()
    ))
}

fn fail_over_stale_replica(
    redis: &mut Redis,
    primary: usize,
    replica: usize,
    rng: &mut SmallRng,
) -> Result<String, ClusterError> {
    let age = random_duration(rng, SNAPSHOT_AGE);
    redis.server(primary).set_replication_allowed(false)?;
    std::thread::sleep(age);
    delete_snapshot(redis, primary);
    redis.server(primary).kill()?;
    redis.server(replica).run_command(&["CLUSTER", "FAILOVER", "TAKEOVER"])?;
    wait_until_primary(redis, replica)?;
    redis.server(primary).start()?;
    Ok(format!(
        "redis-{} took over without the data of the last {} ms",
        replica + 1,
        age.as_millis()
    ))
}

/// Deletes the server's snapshot, which may be from an earlier round. With a snapshot, the server
/// would not restart empty.
fn delete_snapshot(redis: &mut Redis, server: usize) {
    // In most cases no snapshot exists, so an error is ignored.
    let _ = std::fs::remove_file(redis.server(server).snapshot());
}

/// Resets the servers' statistics, so that [`busiest_shard`] counts only the commands of this sale.
pub(super) fn reset_command_stats(cluster: &Cluster) -> Result<(), ClusterError> {
    let mut servers = cluster.redis.iter().flat_map(Redis::servers);
    servers.try_for_each(|server| server.run_command(&["CONFIG", "RESETSTAT"]).map(drop))
}

/// Returns the shard whose primary ran the most scripts in this sale. A fault of this shard can
/// lose the most tickets.
fn busiest_shard(redis: &Redis) -> usize {
    let scripts = |shard: &usize| {
        let (primary, _) = redis.primary_and_replica(*shard);
        let stats =
            redis.servers()[primary].run_command(&["INFO", "commandstats"]).unwrap_or_default();
        let calls = |line: &str| {
            line.strip_prefix("cmdstat_evalsha:calls=")?.split(',').next()?.parse::<u64>().ok()
        };
        stats.lines().find_map(calls)
    };
    (0..redis.shards()).max_by_key(scripts).unwrap_or(0)
}

fn wait_until_primary(redis: &Redis, server: usize) -> Result<(), ClusterError> {
    let until = Instant::now() + TAKEOVER_WITHIN;
    while redis.servers()[server].role() != Role::Primary {
        if Instant::now() > until {
            return Err(ClusterError::failed(
                "waiting for a failover",
                "the replica did not become the primary",
            ));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn condition(slow: bool, rng: &mut SmallRng) -> (NetworkCondition, String) {
    if slow {
        let by = random_duration(rng, NETWORK_DELAY);
        return (NetworkCondition::Slow(by), format!("{} ms slower", by.as_millis()));
    }
    if rng.random_bool(0.5) {
        (NetworkCondition::Disconnected, "cut off".into())
    } else {
        (NetworkCondition::Stalled, "stalled".into())
    }
}
