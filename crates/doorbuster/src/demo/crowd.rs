//! The crowd of a demo: a storm in a process of its own, with file handles of its own, which relays its progress.

use std::process::Stdio;

use anyhow::{Context, anyhow};
use doorbuster_lab::storm::StormReport;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use super::house::this_program;
use super::scratch::Scratch;
use super::shop::Shop;
use super::{ITEM, SALE};
use crate::cli::DemoArgs;
use crate::exit::Failure;
use crate::storm::Line;
use crate::storm::progress::Bar;

/// Bytes of what a failing crowd says that are shown.
const COMPLAINT_BYTES_MAX: u64 = 4 * 1024;

/// Sends all buyers and waits until each has its answer or is lost.
pub async fn send(
    args: &DemoArgs,
    shop: &Shop,
    scratch: &Scratch,
    bar: &Bar,
) -> Result<StormReport, Failure> {
    let mut command = this_program()?;
    command
        .args(["storm", "--relay", "--url", &shop.url(), "--sale", SALE, "--item", ITEM])
        .args(["--buyers", &args.buyers.to_string(), "--units", &args.units.to_string()])
        .args(["--connections", &args.connections.to_string()])
        .arg("--buyer-secret-file")
        .arg(shop.buyer_secret())
        .arg("--answers")
        .arg(scratch.answers())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(seed) = args.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    let mut child = command.spawn().context("cannot start the crowd")?;
    let output = child.stdout.take().context("the crowd cannot be heard")?;
    let complaint = child.stderr.take().context("the crowd cannot be heard")?;
    let mut said = String::new();
    let mut complaint = complaint.take(COMPLAINT_BYTES_MAX);
    let (report, _) = tokio::join!(listen(output, bar), complaint.read_to_string(&mut said));
    child.wait().await.context("the crowd is lost")?;
    let said = said.trim().trim_start_matches("doorbuster: ");
    report?.ok_or_else(|| anyhow!("the crowd did not come: {said}").into())
}

/// Shows each progress, and keeps the report.
async fn listen(
    output: impl tokio::io::AsyncRead + Unpin,
    bar: &Bar,
) -> anyhow::Result<Option<StormReport>> {
    let mut lines = BufReader::new(output).lines();
    let mut report = None;
    while let Some(line) = lines.next_line().await.context("the crowd cannot be heard")? {
        match serde_json::from_str(&line).with_context(|| format!("the crowd said {line:?}"))? {
            Line::Progress(progress) => bar.show(&progress),
            Line::Report(last) => report = Some(*last),
        }
    }
    Ok(report)
}
