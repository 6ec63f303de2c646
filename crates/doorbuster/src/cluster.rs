//! `cluster`: a private installation that stays, and what is told of it.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use comfy_table::Cell;
use doorbuster_lab::cluster::{self, Cluster, Found, Plan, Proxy};

use crate::cli::{ClusterArgs, ClusterCommand, UpArgs};
use crate::exit::{Failure, Outcome, Verdict};
use crate::{print, table};

/// Runs `cluster`.
pub fn run(args: ClusterArgs) -> Outcome {
    match args.command {
        ClusterCommand::Up(args) => up(&args),
        ClusterCommand::Status { place, json } => status(&place.dir, json),
        ClusterCommand::Down { place, keep } => down(&place.dir, keep),
        ClusterCommand::Front { listen, to } => front(listen, to),
    }
}

fn up(args: &UpArgs) -> Outcome {
    let dir = &args.place.dir;
    if let Some(found) = noted(dir)? {
        if found.is_up() {
            return tell(&found, args.json, "It is up already.\n");
        }
        let state = if found.is_down() { "is down" } else { "is up in part" };
        return Err(Failure::Refused(format!(
            "the installation in {0} {state}; remove it first: doorbuster cluster down --dir {0}",
            dir.display()
        )));
    }
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut plan = Plan::new(&program, dir, args.shape.shape());
    plan.nodes = args.nodes.into();
    plan.tethered = false;
    if let Err(error) = Cluster::start(&plan) {
        // Half an installation is of no use to anyone; its logs are.
        let stopped = cluster::down(dir).map(drop);
        let logs = dir.join("log").display().to_string();
        let rest = stopped
            .err()
            .map(|error| format!("\n  and what was started could not be stopped: {error}"));
        return Err(Failure::Refused(format!(
            "{error}{}\n  The logs are in {logs}.",
            rest.unwrap_or_default()
        )));
    }
    let found = noted(dir)?.context("the installation is not there")?;
    tell(&found, args.json, "")
}

fn status(dir: &Path, json: bool) -> Outcome {
    match noted(dir)? {
        Some(found) => tell(&found, json, "").map(|_| Verdict::of(found.is_up())),
        None => Err(Failure::Refused(format!("there is no installation in {}", dir.display()))),
    }
}

fn down(dir: &Path, keep: bool) -> Outcome {
    let stopped = cluster::down(dir).context("not everything could be stopped")?;
    if !keep {
        cluster::remove(dir).context("not everything could be removed")?;
    }
    print::line(&match stopped.len() {
        0 => format!("Nothing ran in {}.", dir.display()),
        _ => format!("Stopped: {}.", stopped.join(", ")),
    })
}

fn front(listen: SocketAddr, to: Vec<SocketAddr>) -> Outcome {
    crate::storm::raise_handles();
    Proxy::start(listen, to).context("the front is not there")?.wait();
    Ok(Verdict::Fine)
}

fn noted(dir: &Path) -> Result<Option<Found>, Failure> {
    Ok(cluster::find(dir).context("what is there cannot be read")?)
}

/// An address as it may be read over a shoulder. Whoever needs all of it takes `--json`.
fn without_password(url: &str) -> String {
    let hidden = url.split_once("://").and_then(|(scheme, rest)| {
        let (who, place) = rest.rsplit_once('@')?;
        let (user, _) = who.split_once(':')?;
        Some(format!("{scheme}://{user}:…@{place}"))
    });
    hidden.unwrap_or_else(|| url.to_owned())
}

/// Says what runs and where.
fn tell(found: &Found, json: bool, first: &str) -> Outcome {
    if json {
        return print::json(found);
    }
    let mut rows = table::with_header(&["server", "address", "process"]);
    for part in &found.parts {
        rows.add_row([
            Cell::new(&part.name),
            Cell::new(&part.address),
            table::number(table::or_dash(part.pid)),
        ]);
    }
    let mut text = format!("{first}{rows}\n");
    let slots = found
        .slots_urls
        .as_deref()
        .map(|urls| format!("  slots            {urls}\n"))
        .unwrap_or_default();
    text += &format!(
        "Shape {}, at {}\n  store            {}\n{slots}  operators' key   {}\n  buyers' secret   {}\n",
        found.shape,
        found.url,
        without_password(&found.store_url),
        found.admin_key_file,
        found.buyer_secret_file
    );
    text += &format!(
        "Try:\n  export DOORBUSTER_URL={} DOORBUSTER_ADMIN_KEY=$(cat {})\n  doorbuster sale list\n",
        found.url, found.admin_key_file
    );
    print::text(&text)
}
