//! The crowd of a demo: a storm in a process of its own, with file handles of its own, which relays
//! its progress.

use std::process::Stdio;

use anyhow::{Context, anyhow};
use doorbuster_harness::load::LoadReport;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use super::installation::Installation;
use super::server::this_program;
use super::work_dir::WorkDir;
use super::{ITEM, SALE};
use crate::cli::DemoArgs;
use crate::exit::Failure;
use crate::storm::RelayLine;
use crate::storm::progress::LiveProgress;

/// Bytes of what a failing crowd says that are shown.
const ERROR_BYTES_MAX: u64 = 4 * 1024;

/// Sends all buyers and waits until each has its answer or is lost.
pub async fn send_load(
    args: &DemoArgs,
    installation: &Installation,
    work_dir: &WorkDir,
    bar: &LiveProgress,
) -> Result<LoadReport, Failure> {
    let mut command = this_program()?;
    command
        .args(["storm", "--relay", "--url", &installation.url(), "--sale", SALE, "--item", ITEM])
        .args(["--buyers", &args.buyers.to_string(), "--units", &args.units.to_string()])
        .args(["--connections", &args.connections.to_string()])
        .arg("--buyer-secret-file")
        .arg(installation.buyer_secret())
        .arg("--answers")
        .arg(work_dir.answers())
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
    let mut complaint = complaint.take(ERROR_BYTES_MAX);
    let (report, _) = tokio::join!(read_relay(output, bar), complaint.read_to_string(&mut said));
    child.wait().await.context("the crowd is lost")?;
    let said = said.trim().trim_start_matches("doorbuster: ");
    report?.ok_or_else(|| anyhow!("the crowd did not come: {said}").into())
}

/// Shows each progress, and keeps the report.
async fn read_relay(
    output: impl tokio::io::AsyncRead + Unpin,
    bar: &LiveProgress,
) -> anyhow::Result<Option<LoadReport>> {
    let mut lines = BufReader::new(output).lines();
    let mut report = None;
    while let Some(line) = lines.next_line().await.context("the crowd cannot be heard")? {
        match serde_json::from_str(&line).with_context(|| format!("the crowd said {line:?}"))? {
            RelayLine::Progress(progress) => bar.show(&progress),
            RelayLine::Report(last) => report = Some(*last),
        }
    }
    Ok(report)
}
