//! R11: how soon a server is ready, what it holds at rest, how large its binary is.
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::or_invalid;
use super::shop::Shop;
use crate::figure::{Figure, Target, median};
use crate::limits::STARTS;
use crate::setting::Setting;

const MIB: f64 = 1024.0 * 1024.0;
const READY: Target = Target::AtMost { floor: 200.0, goal: 50.0 };
const SIZE: Target = Target::AtMost { floor: 40.0, goal: 20.0 };

/// Measures R11.
pub fn measure(setting: &Setting, _ids: &[&'static str]) -> Vec<Figure> {
    let rows: [(&str, Target, Result<Figure>); 4] = [
        ("start to ready, nothing there", READY, ready(setting, true)),
        ("start to ready, once more", READY, ready(setting, false)),
        ("resident memory at rest", SIZE, at_rest(setting)),
        ("size of the stripped binary", SIZE, binary(setting)),
    ];
    let name = |(measured, target, figure): (&str, Target, Result<Figure>)| {
        let figure = or_invalid("R11", measured, target, figure);
        Figure { measured: measured.to_owned(), ..figure }
    };
    rows.into_iter().map(name).collect()
}

/// From the start of the process to its first `200` at `/readyz`, in milliseconds.
fn ready(setting: &Setting, nothing_there: bool) -> Result<Figure> {
    let dir = setting.scratch("start")?;
    let mut times = Vec::new();
    for number in 0..STARTS {
        let data = dir.path().join(if nothing_there {
            format!("data-{number}")
        } else {
            "data".to_owned()
        });
        let server = setting.server(&data, None, None)?;
        // The first start warms the file cache, and makes what the others find.
        if number > 0 {
            times.push(server.ready_after().as_secs_f64() * 1e3);
        }
        server.stop_and_audit(0..=0)?;
    }
    let figure = Figure::new("R11", "", READY).plain(median(&times), "ms");
    Ok(Figure { rounds: times, ..figure })
}

fn at_rest(setting: &Setting) -> Result<Figure> {
    let shop = Shop::open(setting, None, None)?;
    let resident = shop.server().process().resident_at_rest()?;
    shop.close()?;
    Ok(Figure::new("R11", "", SIZE).plain(resident as f64 / MIB, "MiB"))
}

/// The distributed binary if it was built, else this one without its symbols.
fn binary(setting: &Setting) -> Result<Figure> {
    let size =
        |path: &Path| anyhow::Ok(std::fs::metadata(path).context("the binary")?.len() as f64 / MIB);
    let plain = size(&setting.program)?;
    let dist = setting
        .program
        .parent()
        .and_then(Path::parent)
        .map(|target| target.join("dist/doorbuster"));
    let (stripped, how) = match dist.filter(|file| file.is_file()) {
        Some(dist) => (size(&dist)?, "profile dist"),
        None => {
            let dir = setting.scratch("strip")?;
            let file = dir.path().join("stripped");
            let status = Command::new("strip")
                .arg("-o")
                .arg(&file)
                .arg(&setting.program)
                .status()
                .context("strip")?;
            ensure!(status.success(), "strip ended with {status}");
            (size(&file)?, "the release binary, stripped")
        }
    };
    let note = format!("{how}; {plain:.1} MiB with symbols and line tables");
    Ok(Figure::new("R11", "", SIZE).plain(stripped, "MiB").note(note))
}
