//! R9: compares the processor time of a refusal with that of an order. Both times include the work
//! of the kernel.
use anyhow::Result;

use super::figure_or_invalid;
use super::refusal_kinds::{self, cost};
use super::sale_server::{self, SaleServer};
use crate::config::BenchConfig;
use crate::figure::{Comparison, Figure, Target, median};
use crate::limits::{ORDER_CONNECTIONS, REFUSED_BUYERS};
use doorbuster_harness::generator::AnswerKind;
use doorbuster_harness::generator::buyers::Buyers;
use doorbuster_harness::generator::http::{Purchases, RepeatedRequest};

const TARGET: Target = Target::AtMost { floor: 0.35, goal: 0.25 };
const MEASURED: &str = "whole CPU of a refusal";

/// Measures R9.
pub fn measure(config: &BenchConfig, _ids: &[&'static str]) -> Vec<Figure> {
    let mut figures = vec![figure_or_invalid("R9", MEASURED, TARGET, against_acceptance(config))];
    match refusal_kinds::measure(config) {
        Ok(by_kind) => figures.extend(by_kind),
        Err(error) => {
            figures.push(Figure::new("R9", "CPU of a refusal by kind", TARGET).invalid(&error))
        }
    }
    figures
}

#[derive(Debug, Default)]
struct Measured {
    comparison: Comparison,
    fixed: Vec<f64>,
}

fn against_acceptance(config: &BenchConfig) -> Result<Figure> {
    let late = sale_server::buyers("late", REFUSED_BUYERS);
    let buyers = sale_server::buyers("buyer", config.buyers());
    let mut measured = Measured::default();
    for round in 0..=config.rounds {
        one_round(config, &late, &buyers, &mut measured, round > 0)?;
    }
    let note = format!(
        "a static answer costs {:.1} µs; costs are the processor time (utime and stime) of the \
         server's process for a request, with {ORDER_CONNECTIONS} connections",
        median(&measured.fixed)
    );
    Ok(Figure::new("R9", MEASURED, TARGET)
        .comparison(&measured.comparison, "µs", "order, µs")
        .note(note))
}

fn one_round(
    config: &BenchConfig,
    late: &Buyers,
    buyers: &Buyers,
    measured: &mut Measured,
    counts: bool,
) -> Result<()> {
    let mut sale_server = SaleServer::open(config, None, None)?;
    sale_server.sell_out("sold-out", &sale_server::buyers("winner", 10), 10)?;
    sale_server.open_plenty("plenty")?;
    let (fixed, run) = cost(config, &mut sale_server, &mut RepeatedRequest::get("/healthz"))?;
    run.expect_only(&[AnswerKind::Fine])?;
    let mut script =
        Purchases::round_and_round(late, sale_server::template(late, "sold-out", 10, ""));
    let (refusal, run) = cost(config, &mut sale_server, &mut script)?;
    run.expect_only(&[AnswerKind::SoldOut])?;
    let mut script =
        Purchases::each_once(buyers, sale_server::template(buyers, "plenty", 1, ""), 0);
    let (acceptance, run) = cost(config, &mut sale_server, &mut script)?;
    run.expect_only(&[AnswerKind::Accepted])?;
    sale_server.check("plenty", &run)?;
    sale_server.close()?;
    if counts {
        measured.comparison.ours.push(refusal);
        measured.comparison.peer.push(acceptance);
        measured.fixed.push(fixed);
    }
    Ok(())
}
