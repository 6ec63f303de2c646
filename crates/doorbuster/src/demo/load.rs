//! The load of a demo. A separate process runs `storm`, because each process has its own limit of
//! open files. This process reads the progress that `storm` prints.

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

/// The demo shows at most this many bytes of a failed load generator's standard error.
const ERROR_BYTES_MAX: u64 = 4 * 1024;

/// Runs the load generator, which sends the requests of all buyers, and returns its report. A buyer
/// without a final answer counts as a lost answer.
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
    let mut child = command.spawn().context("cannot start the load generator")?;
    let output = child.stdout.take().context("cannot read the load generator's output")?;
    let stderr = child.stderr.take().context("cannot read the load generator's errors")?;
    let mut errors = String::new();
    let mut stderr = stderr.take(ERROR_BYTES_MAX);
    let (report, _) = tokio::join!(read_relay(output, bar), stderr.read_to_string(&mut errors));
    child.wait().await.context("cannot wait for the load generator to end")?;
    let errors = errors.trim().trim_start_matches("doorbuster: ");
    report?.ok_or_else(|| anyhow!("the load generator failed: {errors}").into())
}

/// Reads the load generator's output, and shows its progress. Returns its report, or `None` if no
/// report arrives.
async fn read_relay(
    output: impl tokio::io::AsyncRead + Unpin,
    bar: &LiveProgress,
) -> anyhow::Result<Option<LoadReport>> {
    let mut lines = BufReader::new(output).lines();
    let mut report = None;
    while let Some(line) =
        lines.next_line().await.context("cannot read the load generator's output")?
    {
        let parsed: RelayLine = serde_json::from_str(&line)
            .with_context(|| format!("invalid line from the load generator: {line:?}"))?;
        match parsed {
            RelayLine::Progress(progress) => bar.show(&progress),
            RelayLine::Report(last) => report = Some(*last),
        }
    }
    Ok(report)
}
