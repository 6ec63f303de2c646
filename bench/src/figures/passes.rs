//! R1D: "sold out" answers per second, with and without the checks of a front door. On one server,
//! the bench compares two sales: one requires passes and has rate limits, and the other has
//! neither. A second row shows the time of one check of a pass.
use anyhow::{Context, Result};

use super::figure_or_invalid;
use super::sale_server::{self, SaleServer};
use crate::config::BenchConfig;
use crate::figure::{Figure, Target, compare_alternating};
use crate::limits::{PASS_CHECKS, REFUSAL_CONNECTIONS, REFUSED_BUYERS};
use crate::passes::{self, PassKind, Passes, WithPass};
use doorbuster_harness::generator::cores;
use doorbuster_harness::generator::http::Purchases;
use doorbuster_harness::generator::{AnswerKind, Load};

const TARGET: Target = Target::AtLeast { floor: 0.8, goal: 0.9 };
const MEASURED: &str = "sold-out answers with a pass and limits, one worker";
/// The front door of the measured sale: it requires a pass, has the default limits of a sale, and
/// has a limit for all requests together. The limit for all requests together is so high that the
/// load never reaches it.
const DOOR: &str = r#"{"pass":"required","limits":{"buyer":{"burst":60,"per_minute":300},"ip":{"burst":5000,"per_minute":12000},
    "interface":{"burst":10000000,"per_minute":10000000}}}"#;
/// The target for the time of one check of a pass, in nanoseconds.
const CHECK_TARGET: Target = Target::AtMost { floor: 500.0, goal: 300.0 };
const CHECK_MEASURED: &str = "checking a purchase pass, one core";

/// Measures R1D.
pub fn measure(config: &BenchConfig, _ids: &[&'static str]) -> Vec<Figure> {
    let check = Figure::new("R1D", CHECK_MEASURED, CHECK_TARGET)
        .with_value(passes::check_nanos(PASS_CHECKS), "ns");
    vec![
        figure_or_invalid("R1D", MEASURED, TARGET, compare_open_sale(config)),
        check.note(format!("{PASS_CHECKS} checks, each of the base64, the fields and the tag")),
    ]
}

fn compare_open_sale(config: &BenchConfig) -> Result<Figure> {
    let (server_core, generator_core) = cores::pair();
    let mut sale_server = SaleServer::open(config, Some(1), server_core)?;
    for (sale, door) in
        [("open", r#"{"limits":{"buyer":null,"ip":null,"interface":null}}"#), ("door", DOOR)]
    {
        sale_server.sell_out(sale, &sale_server::buyers(&format!("{sale}-winner"), 10), 10)?;
        sale_server.server().change(sale, &format!(r#"{{"front_door":{door}}}"#))?;
    }
    let buyers = sale_server::buyers("late", REFUSED_BUYERS);
    let passes = Passes::new(&buyers, "door", sale_server::ITEM, PassKind::Good);
    let mut with =
        WithPass::round_and_round(&buyers, &passes, sale_server::template(&buyers, "door", 10, ""));
    let mut without =
        Purchases::round_and_round(&buyers, sale_server::template(&buyers, "open", 10, ""));
    let load =
        Load { core: generator_core, ..config.load(sale_server.addr(), REFUSAL_CONNECTIONS) };
    let (mut busy, mut busy_without) = (0.0_f64, 0.0_f64);
    let ours = || {
        let run = load.run(&mut with).context("failed to send purchases that have a pass")?;
        run.expect_only(&[AnswerKind::SoldOut])?;
        busy = busy.max(run.generator_busy);
        Ok(run.per_sec(AnswerKind::SoldOut))
    };
    let peer = || {
        let run = load.run(&mut without).context("failed to send purchases that have no pass")?;
        run.expect_only(&[AnswerKind::SoldOut])?;
        busy_without = busy_without.max(run.generator_busy);
        Ok(run.per_sec(AnswerKind::SoldOut))
    };
    let comparison = compare_alternating(config.rounds, ours, peer)?;
    for sale in ["open", "door"] {
        sale_server.server().check_stock(sale, 100..=100)?;
    }
    sale_server.close()?;
    let figure = Figure::new("R1D", MEASURED, TARGET).comparison(&comparison, "/s", "without /s");
    Ok(figure.note(format!(
        "token and pass in each request; {REFUSAL_CONNECTIONS} connections, {REFUSED_BUYERS} \
         buyers; the generator was busy {} of the time with a pass, {} without",
        sale_server::percent(busy),
        sale_server::percent(busy_without)
    )))
}
