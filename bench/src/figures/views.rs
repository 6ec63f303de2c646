//! V1: many visitors load a sale page through nginx, with the cache configuration of the guide. The
//! figure is the number of requests per second that nginx passes on to the server. It does not
//! count the requests that no cache can answer.
//!
//! A page view loads the page, its assets, the sale and its status, as a browser with an empty
//! cache does. Then the page reads the status as `crates/web/assets/sale.js` does. The sale opens
//! in the middle of the run.
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use doorbuster_harness::generator::{AnswerKind, Load, Pace};

use super::figure_or_invalid;
use super::sale_server::{SaleServer, percent};
use crate::config::BenchConfig;
use crate::figure::{Figure, Target};
use crate::limits::{NO_DEADLINE, PLENTY_OF_STOCK, REFUSAL_CONNECTIONS, REQUESTS_PER_SEC};
use crate::peer::cache::Cache;
use crate::server::NewSale;

mod page_visits;

use page_visits::PageVisits;

/// The target for the requests per second that reach the server. Even an ideal cache passes on some
/// requests: the status once per second, and the sale once per minute. At the opening, pages use a
/// second URL for the status, so the server then gets requests for both URLs.
const TARGET: Target = Target::AtMost { floor: 2.0, goal: 1.1 };
/// The number of page views is the configured number of known buyers divided by this number.
const BUYERS_PER_VIEW: u32 = 10;
const SALE: &str = "spring";
/// Routes that the buyers' pages request.
const ROUTES: [&str; 4] = ["get_sale", "get_status", "page", "asset"];

/// Measures V1.
pub fn measure(config: &BenchConfig, _ids: &[&'static str]) -> Vec<Figure> {
    let measured = format!("{} page views through a cache", views(config));
    let figure = figure_or_invalid("V1", &measured, TARGET, requests_behind_cache(config));
    vec![Figure { measured, ..figure }]
}

fn views(config: &BenchConfig) -> u32 {
    config.known_buyers / BUYERS_PER_VIEW
}

fn requests_behind_cache(config: &BenchConfig) -> Result<Figure> {
    let views = views(config);
    let sale_server = SaleServer::open(config, None, None)?;
    let folder = config.temp_dir("pages")?;
    export(config, &sale_server, folder.path())?;
    let cache = Cache::start(config.parent(), folder.path(), sale_server.addr())?;
    let assets =
        assets(&std::fs::read_to_string(folder.path().join("sale").join(SALE).join("index.html"))?);
    let mut visits = PageVisits::new(SALE, &assets, views);
    let half = Duration::from_secs_f64(visits.loads() as f64 / REQUESTS_PER_SEC / 2.0);
    let opens_at = jiff::Timestamp::try_from(SystemTime::now() + half)?;
    sale_server.server().announce(
        &NewSale { id: SALE, stock: PLENTY_OF_STOCK, limit: 1 },
        &format!("{opens_at:.3}"),
    )?;
    visits.opens(Instant::now() + opens_at.duration_since(jiff::Timestamp::now()).unsigned_abs());
    let before = sale_server.server().answered_requests(&ROUTES)?;
    let (cpu_time, cpu_in_front) =
        (sale_server.server().process().cpu_time()?, cache.process().cpu_time()?);
    let run = load(cache.addr()).run(&mut visits)?;
    run.expect_only(&[AnswerKind::Fine])?;
    ensure!(run.given_up == 0, "{} requests were given up", run.given_up);
    let spent = sale_server.server().process().cpu_time()?.saturating_sub(cpu_time);
    let in_front = cache.process().cpu_time()?.saturating_sub(cpu_in_front);
    let reached = sale_server.server().answered_requests(&ROUTES)? - before;
    ensure!(visits.left() == 0, "{} views were not made", visits.left());
    ensure!(visits.versions() > 1, "the sale did not open");
    let rest = reached
        .checked_sub(visits.clocks())
        .context("an uncacheable request did not reach the server")?;
    ensure!(rest > 0, "no cacheable request reached the server");
    let secs = run.time.as_secs_f64();
    let note = format!(
        "{} requests in {secs:.0} s, {} of them status reads by visitors who stayed; the server got {rest} cacheable requests and {} clock requests, one for each visitor in \
         the last 90 s before the opening; together, these are {} of all requests, {:.0} a second; processor time {:.1} s of the server, {:.0} s of nginx; the generator was busy {} of the time",
        run.total(),
        visits.polls(),
        visits.clocks(),
        percent(reached as f64 / run.total() as f64),
        reached as f64 / secs,
        spent.as_secs_f64(),
        in_front.as_secs_f64(),
        percent(run.generator_busy)
    );
    sale_server.close()?;
    Ok(Figure::new("V1", "", TARGET).with_value(rest as f64 / secs, "/s").note(note))
}

fn load(addr: SocketAddr) -> Load {
    let pace = Pace::Open(REQUESTS_PER_SEC);
    Load {
        addr,
        connections: REFUSAL_CONNECTIONS,
        pace,
        warm_up: Duration::ZERO,
        time: NO_DEADLINE,
        core: None,
    }
}

fn export(config: &BenchConfig, sale_server: &SaleServer, folder: &Path) -> Result<()> {
    let url = format!("http://{}", sale_server.addr());
    let mut command = Command::new(&config.program);
    command.arg("export").arg(folder).args(["--sale", SALE, "--url", &url]);
    let made = command.output().context("cannot start the export")?;
    ensure!(made.status.success(), "the export failed: {}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}

fn assets(page: &str) -> Vec<String> {
    let name = |rest: &str| rest.split(['"', '\'']).next().map(|name| format!("/assets/{name}"));
    page.split("/assets/")
        .skip(1)
        .filter_map(name)
        .filter(|name| name.matches('.').count() == 2)
        .collect()
}
