//! R11: the time from the server's start until it is ready, its memory without load, and the size
//! of its binary.
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::figure_or_invalid;
use super::sale_server::SaleServer;
use crate::config::BenchConfig;
use crate::figure::{Figure, Target, median};
use crate::limits::STARTS;

const MIB: f64 = 1024.0 * 1024.0;
const READY: Target = Target::AtMost { floor: 30.0, goal: 20.0 };
const RESIDENT: Target = Target::AtMost { floor: 30.0, goal: 20.0 };
const SIZE: Target = Target::AtMost { floor: 40.0, goal: 20.0 };

/// Measures R11.
pub fn measure(config: &BenchConfig, _ids: &[&'static str]) -> Vec<Figure> {
    let rows: [(&str, Target, Result<Figure>); 4] = [
        ("time until ready, empty directory", READY, ready(config, true)),
        ("time until ready, existing data", READY, ready(config, false)),
        ("resident memory at rest", RESIDENT, at_rest(config)),
        ("size of the stripped binary", SIZE, binary(config)),
    ];
    let name = |(measured, target, figure): (&str, Target, Result<Figure>)| {
        let figure = figure_or_invalid("R11", measured, target, figure);
        Figure { measured: measured.to_owned(), ..figure }
    };
    rows.into_iter().map(name).collect()
}

/// Measures the time from a server's start to its first `200` at `/readyz`, in milliseconds.
fn ready(config: &BenchConfig, is_empty: bool) -> Result<Figure> {
    let dir = config.temp_dir("start")?;
    let mut times = Vec::new();
    for number in 0..STARTS {
        let data =
            dir.path().join(if is_empty { format!("data-{number}") } else { "data".to_owned() });
        let server = config.server(&data, None, None)?;
        // The first start is not measured. It fills the system's file cache, and it creates the
        // data for the later starts.
        if number > 0 {
            times.push(server.ready_after().as_secs_f64() * 1e3);
        }
        server.stop_and_audit(0..=0)?;
    }
    let figure = Figure::new("R11", "", READY).with_value(median(&times), "ms");
    Ok(Figure { rounds: times, ..figure })
}

fn at_rest(config: &BenchConfig) -> Result<Figure> {
    let sale_server = SaleServer::open(config, None, None)?;
    let resident = sale_server.server().process().resident_at_rest()?;
    sale_server.close()?;
    Ok(Figure::new("R11", "", RESIDENT).with_value(resident as f64 / MIB, "MiB"))
}

/// Measures the size of the binary that a release ships (profile dist). If this binary was not
/// built, strips a copy of the server's binary and measures the copy.
fn binary(config: &BenchConfig) -> Result<Figure> {
    let size = |path: &Path| {
        anyhow::Ok(std::fs::metadata(path).context("cannot read the binary")?.len() as f64 / MIB)
    };
    let plain = size(&config.program)?;
    let dist =
        config.program.parent().and_then(Path::parent).map(|target| target.join("dist/doorbuster"));
    let (stripped, how) = match dist.filter(|file| file.is_file()) {
        Some(dist) => (size(&dist)?, "profile dist"),
        None => {
            let dir = config.temp_dir("strip")?;
            let file = dir.path().join("stripped");
            let status = Command::new("strip")
                .arg("-o")
                .arg(&file)
                .arg(&config.program)
                .status()
                .context("cannot run strip")?;
            ensure!(status.success(), "strip ended with {status}");
            (size(&file)?, "the release binary, stripped")
        }
    };
    let note = format!("{how}; {plain:.1} MiB with symbols and line tables");
    Ok(Figure::new("R11", "", SIZE).with_value(stripped, "MiB").note(note))
}
