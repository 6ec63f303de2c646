//! R2 and R3: durable orders per second over HTTP. R2 compares our server with a Lua script that
//! counts units in Redis. R3 compares our server with PostgreSQL, in which every order updates the
//! same "hot" row.
use anyhow::{Result, ensure};

use super::figure_or_invalid;
use super::sale_server::{self, SaleServer};
use crate::config::BenchConfig;
use crate::figure::{Comparison, Figure, Target};
use crate::limits::{ORDER_CONNECTIONS, PLENTY_OF_STOCK, REDIS_CONNECTIONS};
use crate::peer::postgres::Postgres;
use crate::peer::redis::{ITEM, Redis};
use crate::resp::Evalsha;
use doorbuster_harness::generator::buyers::Buyers;
use doorbuster_harness::generator::http::Purchases;
use doorbuster_harness::generator::{AnswerKind, RunResult};

const MEASURED: &str = "durable orders over HTTP";

/// Measures R2, R3 or both. If both are measured, our server is measured only once.
pub fn measure(config: &BenchConfig, ids: &[&'static str]) -> Vec<Figure> {
    let measured = rounds(config, ids.contains(&"R2"), ids.contains(&"R3"));
    let row = |id: &'static str| {
        let target = match id {
            "R2" => Target::AtLeast { floor: 0.45, goal: 0.7 },
            _ => Target::AtLeast { floor: 15.0, goal: 30.0 },
        };
        let figure = measured.as_ref().map(|measured| {
            let comparison = Comparison {
                ours: measured.ours.clone(),
                peer: if id == "R2" { measured.redis.clone() } else { measured.postgres.clone() },
            };
            let peer = if id == "R2" { "EVALSHA /s" } else { "hot row /s" };
            Figure::new(id, MEASURED, target)
                .comparison(&comparison, "/s", peer)
                .note(measured.note(id))
        });
        figure_or_invalid(
            id,
            MEASURED,
            target,
            figure.map_err(|error| anyhow::anyhow!("{error:#}")),
        )
    };
    ids.iter().map(|id| row(id)).collect()
}

#[derive(Debug, Default)]
struct Measured {
    ours: Vec<f64>,
    redis: Vec<f64>,
    postgres: Vec<f64>,
    busy: f64,
    p99_us: f64,
}

impl Measured {
    fn note(&self, id: &str) -> String {
        match id {
            "R2" => format!(
                "{ORDER_CONNECTIONS} connections, each buyer buys once, the audit is clean; p99 {:.1} ms; the \
                 generator was busy {} of the time",
                self.p99_us / 1e3,
                sale_server::percent(self.busy)
            ),
            _ => format!(
                "pgbench with {} clients, prepared statement",
                crate::limits::POSTGRES_CLIENTS
            ),
        }
    }
}

fn rounds(config: &BenchConfig, with_redis: bool, with_postgres: bool) -> Result<Measured> {
    let buyers = sale_server::buyers("buyer", config.buyers());
    let mut redis = if with_redis { Some(Redis::start(config.parent())?) } else { None };
    let postgres = if with_postgres { Some(Postgres::start(config.parent())?) } else { None };
    let mut measured = Measured::default();
    for round in 0..=config.rounds {
        let run = one_round(config, &buyers)?;
        let evalsha = redis.as_mut().map(|redis| evalsha(redis, config)).transpose()?;
        let hot_row =
            postgres.as_ref().map(|postgres| postgres.hot_row(config.time)).transpose()?;
        if round > 0 {
            measured.ours.push(run.per_sec(AnswerKind::Accepted));
            measured.redis.extend(evalsha);
            measured.postgres.extend(hot_row);
            measured.busy = measured.busy.max(run.generator_busy);
            measured.p99_us = run.p99_us();
        }
    }
    Ok(measured)
}

/// Measures our server once. The sale has enough units, and there are enough buyers, for the whole
/// load. So only the server limits the rate.
fn one_round(config: &BenchConfig, buyers: &Buyers) -> Result<RunResult> {
    let mut sale_server = SaleServer::open(config, None, None)?;
    sale_server.open_plenty("spring")?;
    let load = config.load(sale_server.addr(), ORDER_CONNECTIONS);
    let run = sale_server.take_orders(
        &load,
        &mut Purchases::each_once(buyers, sale_server::template(buyers, "spring", 1, ""), 0),
    )?;
    ensure!(run.time == config.time, "the prepared buyers ran out before the measurement ended");
    sale_server.check("spring", &run)?;
    sale_server.close()?;
    Ok(run)
}

fn evalsha(redis: &mut Redis, config: &BenchConfig) -> Result<f64> {
    let digest = redis.load_script()?;
    redis.stock(PLENTY_OF_STOCK)?;
    let load = config.load(redis.addr(), REDIS_CONNECTIONS);
    let run = load.run(&mut Evalsha::new(&digest, ITEM, "1"))?;
    run.expect_only(&[AnswerKind::Accepted])?;
    let reserved_units = redis.reserved_units()?;
    ensure!(
        reserved_units == run.count(AnswerKind::Accepted),
        "Redis booked {reserved_units} units, but confirmed {} units",
        run.count(AnswerKind::Accepted)
    );
    Ok(run.per_sec(AnswerKind::Accepted))
}
