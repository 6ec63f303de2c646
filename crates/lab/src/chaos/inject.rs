//! Does what a fault says, for as long as it says, and undoes it: afterwards everything runs again.

use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::SmallRng;

use super::Fault;
use super::limits::{CLOCK_STEP_MS, HANG, NETWORK_DELAY, OUTAGE, SETTLE, TAKEOVER_WITHIN};
use crate::cluster::{Cluster, ClusterError, Node, Redis, Role, Signal, Weather};

/// Breaks something, waits, and mends it. What was done, for the report.
pub(super) fn inject(
    cluster: &mut Cluster,
    fault: Fault,
    dice: &mut SmallRng,
) -> Result<String, ClusterError> {
    match fault {
        Fault::Calm => Ok("nothing".into()),
        Fault::NodeKill | Fault::NodePause | Fault::NodeClock => node(cluster, fault, dice),
        Fault::NodeRoll => {
            cluster.nodes.iter_mut().try_for_each(Node::renew)?;
            Ok("every node stopped and started again".into())
        }
        Fault::PostgresCrash => {
            let (pause, begun) = (some(dice, OUTAGE), Instant::now());
            cluster.postgres.crash()?;
            std::thread::sleep(pause);
            cluster.postgres.start()?;
            Ok(format!(
                "away for {} ms, back after {} ms",
                pause.as_millis(),
                begun.elapsed().as_millis()
            ))
        }
        Fault::PostgresCut | Fault::PostgresSlow => {
            let (weather, how) = weather(fault == Fault::PostgresSlow, dice);
            let pause = some(dice, OUTAGE);
            // One node or all of them: a node alone is the harder case for the others, all of them for the buyers.
            let one = dice.random_range(0..=cluster.postgres_doors.len());
            let doors: Vec<usize> = (0..cluster.postgres_doors.len())
                .filter(|door| one == 0 || *door + 1 == one)
                .collect();
            doors.iter().for_each(|door| cluster.postgres_doors[*door].set(weather));
            std::thread::sleep(pause);
            doors.iter().for_each(|door| cluster.postgres_doors[*door].set(Weather::Fair));
            let whom = if one == 0 { "all nodes".to_owned() } else { format!("node-{one}") };
            Ok(format!("{whom} {how} for {} ms", pause.as_millis()))
        }
        _ => redis(cluster, fault, dice),
    }
}

fn node(cluster: &mut Cluster, fault: Fault, dice: &mut SmallRng) -> Result<String, ClusterError> {
    let which = dice.random_range(0..cluster.nodes.len());
    let node = &mut cluster.nodes[which];
    let pause = some(dice, HANG);
    let how = match fault {
        Fault::NodeKill => {
            node.kill()?;
            std::thread::sleep(pause);
            node.start()?;
            node.until_ready()?;
            "killed"
        }
        Fault::NodePause => {
            node.signal(Signal::STOP)?;
            std::thread::sleep(pause);
            node.signal(Signal::CONT)?;
            "stopped"
        }
        _ => {
            let forward = dice.random_bool(0.5);
            node.set_clock_ahead_ms(if forward { CLOCK_STEP_MS } else { -CLOCK_STEP_MS })?;
            std::thread::sleep(pause);
            node.set_clock_ahead_ms(0)?;
            if forward { "an hour ahead" } else { "an hour behind" }
        }
    };
    Ok(format!("{} {how} for {} ms", node.name(), pause.as_millis()))
}

fn redis(cluster: &mut Cluster, fault: Fault, dice: &mut SmallRng) -> Result<String, ClusterError> {
    let doors = &cluster.redis_doors;
    let Some(redis) = &mut cluster.redis else { return Ok("there is no Redis".into()) };
    let shard = busiest(redis);
    let (primary, replica) = redis.pair(shard);
    let pause = some(dice, HANG);
    let told = |who: usize, how: &str| format!("redis-{} {how}", who + 1);
    match fault {
        Fault::RedisPrimaryKill => {
            forget(redis, primary);
            redis.server(primary).kill()?;
            until_primary(redis, replica)?;
            redis.server(primary).start()?;
            Ok(told(primary, &format!("killed, redis-{} took over", replica + 1)))
        }
        Fault::RedisPrimaryPause => {
            redis.server(primary).signal(Signal::STOP)?;
            let took_over = until_primary(redis, replica);
            redis.server(primary).signal(Signal::CONT)?;
            took_over?;
            Ok(told(primary, &format!("stopped, redis-{} took over", replica + 1)))
        }
        Fault::RedisRestartEmpty => {
            forget(redis, primary);
            redis.server(primary).kill()?;
            redis.server(primary).start()?;
            Ok(told(primary, "back at once, empty"))
        }
        Fault::RedisSnapshot | Fault::RedisReload => snapshot(redis, primary, fault, dice),
        Fault::RedisStaleFailover => stale(redis, primary, replica, dice),
        Fault::RedisReplicaKill => {
            redis.server(replica).kill()?;
            std::thread::sleep(pause);
            redis.server(replica).start()?;
            Ok(told(replica, &format!("killed for {} ms", pause.as_millis())))
        }
        Fault::RedisReplicaPause => {
            redis.server(replica).signal(Signal::STOP)?;
            std::thread::sleep(pause);
            redis.server(replica).signal(Signal::CONT)?;
            Ok(told(replica, &format!("stopped for {} ms", pause.as_millis())))
        }
        Fault::RedisFlush => {
            for shard in 0..redis.shards() {
                let (primary, _) = redis.pair(shard);
                redis.server(primary).ask(&["FLUSHALL"])?;
            }
            Ok("every primary emptied".into())
        }
        Fault::RedisScriptFlush => {
            redis
                .servers()
                .iter()
                .try_for_each(|server| server.ask(&["SCRIPT", "FLUSH"]).map(drop))?;
            Ok("every script forgotten".into())
        }
        _ => {
            let (weather, how) = weather(fault == Fault::RedisSlow, dice);
            let pause = some(dice, OUTAGE);
            [primary, replica].iter().for_each(|server| doors[*server].set(weather));
            std::thread::sleep(pause);
            [primary, replica].iter().for_each(|server| doors[*server].set(Weather::Fair));
            Ok(format!(
                "redis-{} and redis-{} {how} for {} ms",
                primary + 1,
                replica + 1,
                pause.as_millis()
            ))
        }
    }
}

/// Saves a snapshot, lets sales go on, and loads it: into a new process, or into the one that runs.
fn snapshot(
    redis: &mut Redis,
    primary: usize,
    fault: Fault,
    dice: &mut SmallRng,
) -> Result<String, ClusterError> {
    let server = redis.server(primary);
    server.ask(&["SAVE"])?;
    let age = some(dice, SETTLE);
    std::thread::sleep(age);
    if fault == Fault::RedisReload {
        server.ask(&["DEBUG", "RELOAD", "NOSAVE"])?;
        return Ok(format!("redis-{} went back {} ms while it ran", primary + 1, age.as_millis()));
    }
    // A full copy for its replica may have put a newer one in its place meanwhile; either is old.
    server.kill()?;
    server.start()?;
    Ok(format!("redis-{} back with a snapshot {} ms old", primary + 1, age.as_millis()))
}

/// Hangs up on the replica, lets sales go on, kills the primary, and tells the replica to take over.
fn stale(
    redis: &mut Redis,
    primary: usize,
    replica: usize,
    dice: &mut SmallRng,
) -> Result<String, ClusterError> {
    let age = some(dice, SETTLE);
    redis.server(primary).let_follow(false)?;
    std::thread::sleep(age);
    forget(redis, primary);
    redis.server(primary).kill()?;
    redis.server(replica).ask(&["CLUSTER", "FAILOVER", "TAKEOVER"])?;
    until_primary(redis, replica)?;
    redis.server(primary).start()?;
    Ok(format!("redis-{} took over, {} ms behind", replica + 1, age.as_millis()))
}

/// A snapshot from an earlier round would make another fault of this one.
fn forget(redis: &mut Redis, server: usize) {
    // Mostly there is none.
    let _ = std::fs::remove_file(redis.server(server).snapshot());
}

/// Begins to count what each server is asked, so that [`busiest`] knows where the sale is.
pub(super) fn count_anew(cluster: &Cluster) -> Result<(), ClusterError> {
    let mut servers = cluster.redis.iter().flat_map(Redis::servers);
    servers.try_for_each(|server| server.ask(&["CONFIG", "RESETSTAT"]).map(drop))
}

/// The shard whose primary ran most scripts: where something can be lost.
fn busiest(redis: &Redis) -> usize {
    let scripts = |shard: &usize| {
        let (primary, _) = redis.pair(*shard);
        let stats = redis.servers()[primary].ask(&["INFO", "commandstats"]).unwrap_or_default();
        let calls = |line: &str| {
            line.strip_prefix("cmdstat_evalsha:calls=")?.split(',').next()?.parse::<u64>().ok()
        };
        stats.lines().find_map(calls)
    };
    (0..redis.shards()).max_by_key(scripts).unwrap_or(0)
}

fn until_primary(redis: &Redis, server: usize) -> Result<(), ClusterError> {
    let until = Instant::now() + TAKEOVER_WITHIN;
    while redis.servers()[server].role() != Role::Primary {
        if Instant::now() > until {
            return Err(ClusterError::failed("waiting for a failover", "nobody took over"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn weather(slow: bool, dice: &mut SmallRng) -> (Weather, String) {
    if slow {
        let by = some(dice, NETWORK_DELAY);
        return (Weather::Slow(by), format!("{} ms slower", by.as_millis()));
    }
    if dice.random_bool(0.5) {
        (Weather::Cut, "cut off".into())
    } else {
        (Weather::Stalled, "unheard".into())
    }
}

/// A time between these two.
fn some(dice: &mut SmallRng, (from, to): (Duration, Duration)) -> Duration {
    dice.random_range(from..=to)
}
