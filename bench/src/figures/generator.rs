//! R12: the speed of the load generator of the command `storm`. The bench measures how many answers
//! per second the generator gets from an nginx that always returns the same answer.
use std::time::Duration;

use anyhow::{Result, ensure};
use doorbuster_harness::generator::cores;
use doorbuster_harness::load::{self, LoadPlan};

use super::figure_or_invalid;
use crate::config::BenchConfig;
use crate::figure::{Figure, Target, median};
use crate::peer::nginx::Nginx;
use crate::server::BUYER_SECRET;

const TARGET: Target = Target::AtLeast { floor: 100_000.0, goal: 150_000.0 };
const MEASURED: &str = "storm's answers a second, one thread on one core, against nginx";
const REFUSAL: &str =
    r#"{"type":"about:blank","title":"Sold out","status":409,"code":"sold_out","retryable":false}"#;
/// The number of buyers. It is larger than the number of answers in one round, so no buyer sends
/// twice.
const BUYERS: u32 = 2_000_000;
const CONNECTIONS: usize = 64;
const TIME: Duration = Duration::from_secs(3);

/// Measures R12.
pub fn measure(config: &BenchConfig, _ids: &[&'static str]) -> Vec<Figure> {
    vec![figure_or_invalid("R12", MEASURED, TARGET, against_nginx(config))]
}

fn against_nginx(config: &BenchConfig) -> Result<Figure> {
    let (server_core, generator_core) = cores::pair();
    let nginx = Nginx::start(config.parent(), (409, REFUSAL), server_core)?;
    let (mut rates, mut busy) = (Vec::new(), 0.0_f64);
    for _ in 0..config.rounds {
        let url = format!("http://{}", nginx.addr());
        let mut plan = LoadPlan::new(&url, "spring", "item", BUYERS, BUYER_SECRET.into());
        plan.connections = CONNECTIONS;
        plan.workers = Some(1);
        plan.duration = Some(TIME);
        let report = std::thread::scope(|scope| {
            let run = scope.spawn(|| {
                // This thread is pinned to a core, because the generator's threads inherit the
                // core.
                generator_core.map_or(Ok(()), cores::pin)?;
                Ok::<_, anyhow::Error>(load::run(plan, |_| {})?)
            });
            run.join().expect("the load does not panic")
        })?;
        ensure!(report.lost_answers == 0, "{} answers were lost", report.lost_answers);
        let refused = report.answers.get("sold_out").copied().unwrap_or(0);
        ensure!(refused == report.buyers, "unexpected answers: {:?}", report.answers);
        rates.push(report.answers_per_second);
        busy = busy.max(report.generator_cores);
    }
    let figure = Figure::new("R12", MEASURED, TARGET).with_value(median(&rates), "/s");
    let note = format!("{CONNECTIONS} connections; the generator used {busy} of its core");
    Ok(Figure { rounds: rates, ..figure }.note(note))
}
