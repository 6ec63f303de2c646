//! `cluster`: starts, describes and stops a private installation. The installation continues to run
//! after this command has ended.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use comfy_table::Cell;
use doorbuster_harness::cluster::{self, Cluster, ClusterPlan, InstalledCluster, Proxy};
use serde_json::json;

use crate::cli::{ClusterArgs, ClusterCommand, UpArgs};
use crate::exit::{CommandResult, Failure, Outcome};
use crate::{print, table};

/// Runs `cluster`.
pub fn run(args: ClusterArgs) -> Outcome {
    match args.command {
        ClusterCommand::Up(args) => up(&args),
        ClusterCommand::Status { location, json } => status(&location.dir, json),
        ClusterCommand::Down { location, keep, json } => down(&location.dir, keep, json),
        ClusterCommand::Front { listen, to } => front(listen, to),
    }
}

fn up(args: &UpArgs) -> Outcome {
    let dir = &args.location.dir;
    if let Some(installed) = read_installation(dir)? {
        if installed.is_up() {
            return print_installation(
                &installed,
                args.json,
                "The installation is already running.\n",
            );
        }
        let state = if installed.is_down() { "is down" } else { "is partly running" };
        return Err(Failure::Refused(format!(
            "the installation in {0} {state}; remove it first: doorbuster cluster down --dir {0}",
            dir.display()
        )));
    }
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut plan = ClusterPlan::new(&program, dir, args.shape.shape());
    plan.nodes = args.nodes.into();
    plan.ends_with_caller = false;
    if let Err(error) = Cluster::start(&plan) {
        if !is_installation(dir)? {
            return Err(Failure::Refused(error.to_string()));
        }
        // A partly started installation is useless, so the command stops the started part.
        let stopped = cluster::shut_down(dir).map(drop);
        let logs = dir.join("log").display().to_string();
        let stop_error =
            stopped.err().map(|error| format!("\n  and failed to stop some processes: {error}"));
        return Err(Failure::Refused(format!(
            "{error}{}\n  The logs are in {logs}.",
            stop_error.unwrap_or_default()
        )));
    }
    let installed = read_installation(dir)?
        .context("the installation was started, but its record is missing")?;
    print_installation(&installed, args.json, "")
}

fn status(dir: &Path, json: bool) -> Outcome {
    match read_installation(dir)? {
        Some(installed) => {
            print_installation(&installed, json, "").map(|_| CommandResult::new(installed.is_up()))
        }
        None => Err(no_installation(dir)),
    }
}

fn down(dir: &Path, keep: bool, json: bool) -> Outcome {
    if !is_installation(dir)? {
        return Err(no_installation(dir));
    }
    let stopped = cluster::shut_down(dir).context("cannot stop all processes")?;
    if !keep {
        cluster::remove(dir).context("cannot remove all files")?;
    }
    if json {
        let dir = dir.display().to_string();
        return print::json(&json!({ "dir": dir, "stopped": stopped, "removed": !keep }));
    }
    print::line(&match stopped.len() {
        0 => format!("No process ran in {}.", dir.display()),
        _ => format!("Stopped: {}.", stopped.join(", ")),
    })
}

fn front(listen: SocketAddr, to: Vec<SocketAddr>) -> Outcome {
    crate::storm::raise_open_files_limit();
    Proxy::start(listen, to).context("cannot start the proxy")?.wait();
    Ok(CommandResult::Success)
}

fn is_installation(dir: &Path) -> Result<bool, Failure> {
    Ok(cluster::is_installation(dir).context("cannot read the state of the installation")?)
}

fn no_installation(dir: &Path) -> Failure {
    Failure::Refused(format!("there is no installation in {}", dir.display()))
}

fn read_installation(dir: &Path) -> Result<Option<InstalledCluster>, Failure> {
    Ok(cluster::find(dir).context("cannot read the state of the installation")?)
}

/// Returns this address without its password. The output of `--json` has the complete address.
fn without_password(url: &str) -> String {
    let hidden = url.split_once("://").and_then(|(scheme, rest)| {
        let (who, location) = rest.rsplit_once('@')?;
        let (user, _) = who.split_once(':')?;
        Some(format!("{scheme}://{user}:…@{location}"))
    });
    hidden.unwrap_or_else(|| url.to_owned())
}

fn print_installation(installed: &InstalledCluster, json: bool, first: &str) -> Outcome {
    if json {
        return print::json(installed);
    }
    let mut rows = table::with_header(&["server", "address", "process"]);
    for part in &installed.parts {
        rows.add_row([
            Cell::new(&part.name),
            Cell::new(&part.address),
            table::number(table::or_dash(part.pid)),
        ]);
    }
    let mut text = format!("{first}{rows}\n");
    let slots = installed
        .slots_urls
        .as_deref()
        .map(|urls| format!("  slots            {urls}\n"))
        .unwrap_or_default();
    text += &format!(
        "Shape {}, at {}\n  store            {}\n{slots}  operators' key   {}\n  buyers' secret   \
         {}\n",
        installed.shape,
        installed.url,
        without_password(&installed.store_url),
        installed.admin_key_file,
        installed.buyer_secret_file
    );
    text += &format!(
        "Try:\n  export DOORBUSTER_URL={} DOORBUSTER_ADMIN_KEY=$(cat {})\n  doorbuster sale list\n",
        installed.url, installed.admin_key_file
    );
    print::text(&text)
}
