//! Runs the embedded shape without HTTP. The difference between this run and a run over HTTP shows
//! the cost of HTTP.
//!
//! The buyers first buy from a server, over HTTP. Then the server stops, and a process runs the
//! engine on the server's data directory. In this process, [`DirectCrowd::level`] tasks call the
//! engine for the same buyers.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::contract::Answer;
use crate::driver::{Answers, BuyerRecord, LastAnswer, Target, order_of_arrival};
use crate::limits::{RUN_WITHIN, TRIES_MAX};
use crate::product::{ITEM, ProductInstallation};

const RETRY_AFTER: Duration = Duration::from_millis(2);

/// The buyers of one run. The lab writes this value to the standard input of the process that runs
/// the engine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DirectCrowd {
    /// The sale.
    pub sale: String,
    /// A sale in which the same buyers buy before the measured sale. It warms up the process and is
    /// not measured.
    pub warm_up: String,
    /// The item.
    pub item: String,
    /// The number of buyers.
    pub buyers: i64,
    /// Units that each buyer requests.
    pub units: u32,
    /// How many buyers buy at the same time.
    pub level: usize,
    /// The seed. It determines the sequence in which the buyers come.
    pub seed: u64,
}

impl DirectCrowd {
    /// Returns the same crowd for another sale, `sale`.
    #[must_use]
    pub fn of_sale(&self, sale: &str) -> Self {
        Self { sale: sale.to_owned(), ..self.clone() }
    }
}

/// One buyer's result, as the process prints it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct DirectRecord {
    buyer: i64,
    /// Whether the buyer got units. `None` if no answer decided the buyer's request.
    sold: Option<bool>,
    micros: u64,
    errors: u32,
}

/// The results of all buyers, as the process prints them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct DirectAnswers {
    records: Vec<DirectRecord>,
    elapsed_micros: u64,
}

/// Sends every buyer's request to the engine by calling `buy` with the buyer's name and the request
/// key.
pub async fn sell<F: Future<Output = Result<Answer>> + Send + 'static>(
    crowd: DirectCrowd,
    buy: impl Fn(String, String) -> F + Send + Sync + 'static,
) -> DirectAnswers {
    let order = order_of_arrival(crowd.buyers, crowd.seed);
    let shared = Arc::new((crowd, order, AtomicUsize::new(0), Instant::now(), buy));
    let mut tasks = JoinSet::new();
    for _ in 0..shared.0.level {
        let shared = Arc::clone(&shared);
        tasks.spawn(async move {
            let (crowd, order, next, start, buy) = &*shared;
            let mut records = Vec::new();
            while let Some(&buyer) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                if start.elapsed() > RUN_WITHIN {
                    break;
                }
                records.push(serve(buyer, &crowd.sale, buy).await);
            }
            records
        });
    }
    let mut answers = DirectAnswers::default();
    while let Some(records) = tasks.join_next().await {
        answers.records.extend(records.expect("a buyer's task does not panic"));
    }
    answers.elapsed_micros = micros(shared.3.elapsed());
    answers
}

async fn serve<F: Future<Output = Result<Answer>>>(
    buyer: i64,
    sale: &str,
    buy: &impl Fn(String, String) -> F,
) -> DirectRecord {
    let (begun, mut errors, mut sold) = (Instant::now(), 0, None);
    for _ in 0..TRIES_MAX {
        match buy(ProductInstallation::buyer_name(buyer), format!("{sale}-{buyer}")).await {
            Ok(Answer::Sold) => sold = Some(true),
            Ok(Answer::SoldOut) => sold = Some(false),
            Ok(Answer::Busy) => {}
            Err(_) => errors += 1,
        }
        if sold.is_some() {
            break;
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
    DirectRecord { buyer, sold, micros: micros(begun.elapsed()), errors }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Starts a process on the data directory of the stopped server, and lets the buyers buy in it:
/// first in the sale `warm_up`, which is not measured, and then in the sale `target`.
pub(crate) async fn measure(
    product: &ProductInstallation,
    [warm_up, target]: [&Target; 2],
    (buyers, units, level, seed): (i64, i64, usize, u64),
) -> Result<Answers> {
    let name = |target: &Target| match target {
        Target::Product { sale, .. } => Ok(sale.clone()),
        Target::Workers => bail!("the target must be a sale of Doorbuster"),
    };
    let crowd = DirectCrowd {
        sale: name(target)?,
        warm_up: name(warm_up)?,
        item: ITEM.to_owned(),
        buyers,
        units: u32::try_from(units).context("too many units")?,
        level,
        seed,
    };
    let mut command = product.direct_command()?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot start `lab direct`")?;
    let mut input = child.stdin.take().context("the process has no piped input")?;
    let text = serde_json::to_vec(&crowd)?;
    let output = tokio::task::spawn_blocking(move || {
        // The write fails only if the process has ended. The error output of the process then gives
        // the reason.
        let _ = std::io::Write::write_all(&mut input, &text);
        drop(input);
        child.wait_with_output()
    });
    let output = output.await??;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`lab direct` failed: {}", errors.trim());
    let answers: DirectAnswers = serde_json::from_slice(&output.stdout)?;
    let records = answers.records.iter().map(|record| BuyerRecord {
        buyer: record.buyer,
        units,
        last_answer: match record.sold {
            Some(true) => LastAnswer::Sold,
            Some(false) => LastAnswer::SoldOut,
            None => LastAnswer::NoAnswer,
        },
        latency: Duration::from_micros(record.micros),
        errors: record.errors,
    });
    let elapsed = Duration::from_micros(answers.elapsed_micros);
    Ok(Answers { buyers, records: records.collect(), elapsed, ..Answers::default() })
}
