//! Takes samples of memory, open files, the database, its tables and the log. Compares the growth
//! of each value with the allowed growth.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::slope::{SlopeCheck, slope};
use super::{Progress, SoakPlan};
use crate::cluster::Cluster;

/// The size of a page of memory, in bytes. `/proc` counts memory in pages.
const PAGE_BYTES: f64 = 4_096.0;
const MIB: f64 = 1_048_576.0;
/// The largest allowed growth of a node's memory, in MiB per hour. [`MEMORY_NOISE`] is added to
/// this limit.
const MEMORY_MOST: f64 = 16.0;
/// How much more the memory may grow by chance during the judged part of a run, in MiB.
const MEMORY_NOISE: f64 = 12.0;
/// The largest allowed growth of the number of open files, in files per hour. [`FILES_NOISE`] is
/// added to this limit.
const FILES_MOST: f64 = 2.0;
/// How much more the number of open files may grow by chance during the judged part of a run.
const FILES_NOISE: f64 = 40.0;
/// The largest number of bytes that one order may add to the database, including the order's events
/// and index entries.
const BYTES_PER_ORDER_MOST: f64 = 16.0 * 1_024.0;
/// The largest number of bytes that one sale may add to the log of a node, including the lines
/// about the failing webhook endpoint.
const LOG_BYTES_PER_SALE_MOST: f64 = 64.0 * 1_024.0;

pub(super) struct Sample {
    /// The time since the start of the run.
    at: Duration,
    orders: f64,
    sales: f64,
    memory_mib: f64,
    files: f64,
    database_bytes: f64,
    log_bytes: f64,
    /// Rows of each table.
    tables: BTreeMap<String, f64>,
}

/// Samples the first node and the database until the run is over.
pub(super) fn sample(
    cluster: &Cluster,
    plan: &SoakPlan,
    shared: &Progress,
    progress: &(impl Fn(&str) + Sync),
) -> anyhow::Result<Vec<Sample>> {
    let (begun, mut samples) = (Instant::now(), Vec::new());
    while begun.elapsed() < plan.duration && !shared.is_stopped() {
        shared.rest(plan.sample_every());
        let sample = take(cluster, shared, begun)?;
        progress(&format!(
            "{:>5} s  {:>6} sales  {:>8} orders  {:>7.1} MiB  {:>4} files  {:>8.1} MiB data",
            sample.at.as_secs(),
            sample.sales,
            sample.orders,
            sample.memory_mib,
            sample.files,
            sample.database_bytes / MIB,
        ));
        samples.push(sample);
    }
    Ok(samples)
}

fn take(cluster: &Cluster, shared: &Progress, begun: Instant) -> anyhow::Result<Sample> {
    let node = cluster.nodes.first().context("the installation has no first node")?;
    let pid = node.pid().context("the first node does not run")?;
    let statm = fs::read_to_string(format!("/proc/{pid}/statm"))
        .context("cannot read the first node's memory")?;
    let pages: f64 = statm.split_whitespace().nth(1).unwrap_or("0").parse()?;
    let files = fs::read_dir(format!("/proc/{pid}/fd"))
        .context("cannot read the first node's open files")?
        .count();
    let log = fs::metadata(cluster.cluster_dir.log_file(node.name()))
        .context("cannot read the first node's log")?;
    let number = |sql: &str| -> anyhow::Result<f64> {
        Ok(cluster.postgres.sql(sql)?.trim().parse::<f64>()?)
    };
    let database_bytes = number("SELECT pg_database_size(current_database())")?;
    let rows = cluster
        .postgres
        .sql("SELECT relname, greatest(n_live_tup, 0) FROM pg_stat_user_tables ORDER BY relname")?;
    let tables = rows
        .lines()
        .filter_map(|line| {
            let (table, rows) = line.split_once('|')?;
            Some((table.to_owned(), rows.trim().parse().ok()?))
        })
        .collect();
    Ok(Sample {
        at: begun.elapsed(),
        orders: shared.orders.load(Ordering::Relaxed) as f64,
        sales: shared.sales.load(Ordering::Relaxed) as f64,
        memory_mib: pages * PAGE_BYTES / MIB,
        files: files as f64,
        database_bytes,
        log_bytes: log.len() as f64,
        tables,
    })
}

pub(super) fn judge(samples: &[Sample], duration: Duration, warm_up: f64) -> Vec<SlopeCheck> {
    let from = duration.mul_f64(warm_up);
    let judged: Vec<&Sample> = samples.iter().filter(|sample| sample.at >= from).collect();
    let Some(last) = judged.last() else { return Vec::new() };
    let hours = |sample: &Sample| sample.at.as_secs_f64() / 3_600.0;
    let judged_hours = duration.as_secs_f64() * (1.0 - warm_up) / 3_600.0;
    let line = |x: &dyn Fn(&Sample) -> f64, y: &dyn Fn(&Sample) -> f64| {
        slope(&judged.iter().map(|sample| (x(sample), y(sample))).collect::<Vec<_>>())
    };
    let one = |what: &str, unit, slope, most, last| SlopeCheck {
        what: what.to_owned(),
        unit,
        slope,
        most,
        last,
    };
    let mut found = vec![
        one(
            "memory of the first node",
            "MiB/h",
            line(&hours, &|sample| sample.memory_mib),
            Some(MEMORY_MOST + MEMORY_NOISE / judged_hours),
            last.memory_mib,
        ),
        one(
            "open files of the first node",
            "files/h",
            line(&hours, &|sample| sample.files),
            Some(FILES_MOST + FILES_NOISE / judged_hours),
            last.files,
        ),
        one(
            "database",
            "bytes/order",
            line(&|sample| sample.orders, &|sample| sample.database_bytes),
            Some(BYTES_PER_ORDER_MOST),
            last.database_bytes,
        ),
        one(
            "log of the first node",
            "bytes/sale",
            line(&|sample| sample.sales, &|sample| sample.log_bytes),
            Some(LOG_BYTES_PER_SALE_MOST),
            last.log_bytes,
        ),
    ];
    for (table, rows) in &last.tables {
        let of = |sample: &Sample| sample.tables.get(table).copied().unwrap_or_default();
        let per_order = line(&|sample| sample.orders, &of);
        found.push(one(&format!("rows of {table}"), "rows/order", per_order, None, *rows));
    }
    found
}
