//! V1: how many requests of so many page views reach the server when nginx stands in front of it as the guide shows.
//!
//! A view is what a browser asks for that has nothing yet: the page, all that it names, the sale and its status. Then the visitor stays for a while, and the
//! page asks for the status as it does (`crates/server/assets/sale.js`). In the middle of it all the sale opens. Whoever came shortly before waits for that.
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};

use super::or_invalid;
use super::shop::{Shop, percent};
use crate::figure::{Figure, Target};
use crate::limits::{AS_LONG_AS_IT_TAKES, PLENTY, REFUSAL_CONNECTIONS, REQUESTS_PER_SEC};
use crate::load::{Kind, Load, Pace};
use crate::peer::cache::Cache;
use crate::server::NewSale;
use crate::setting::Setting;

mod visits;

use visits::Visits;

/// A status each second and a sale each minute; the opening makes a second address for a moment.
const TARGET: Target = Target::AtMost { floor: 2.0, goal: 1.1 };
/// Of so many buyers with whom growth is measured, one page view.
const BUYERS_PER_VIEW: u32 = 10;
const SALE: &str = "spring";
/// What buyers' pages ask the server for.
const ROUTES: [&str; 4] = ["get_sale", "get_status", "page", "asset"];

/// Measures V1.
pub fn measure(setting: &Setting, _ids: &[&'static str]) -> Vec<Figure> {
    let measured = format!("{} page views through a cache", views(setting));
    let figure = or_invalid("V1", &measured, TARGET, through_a_cache(setting));
    vec![Figure { measured, ..figure }]
}

fn views(setting: &Setting) -> u32 {
    setting.known_buyers / BUYERS_PER_VIEW
}

fn through_a_cache(setting: &Setting) -> Result<Figure> {
    let views = views(setting);
    let shop = Shop::open(setting, None, None)?;
    let folder = setting.scratch("pages")?;
    export(setting, &shop, folder.path())?;
    let cache = Cache::start(setting.parent(), folder.path(), shop.addr())?;
    let assets =
        assets(&std::fs::read_to_string(folder.path().join("sale").join(SALE).join("index.html"))?);
    let mut visits = Visits::new(SALE, &assets, views);
    let half = Duration::from_secs_f64(visits.loads() as f64 / REQUESTS_PER_SEC / 2.0);
    let opens_at = jiff::Timestamp::try_from(SystemTime::now() + half)?;
    shop.server()
        .announce(&NewSale { id: SALE, stock: PLENTY, limit: 1 }, &format!("{opens_at:.3}"))?;
    visits.opens(Instant::now() + opens_at.duration_since(jiff::Timestamp::now()).unsigned_abs());
    let before = shop.server().answered(&ROUTES)?;
    let (cpu, cpu_in_front) = (shop.server().process().cpu()?, cache.process().cpu()?);
    let run = load(cache.addr()).run(&mut visits)?;
    run.only(&[Kind::Fine])?;
    ensure!(run.given_up == 0, "{} requests were given up", run.given_up);
    let spent = shop.server().process().cpu()?.saturating_sub(cpu);
    let in_front = cache.process().cpu()?.saturating_sub(cpu_in_front);
    let came = shop.server().answered(&ROUTES)? - before;
    ensure!(visits.left() == 0, "{} views were not made", visits.left());
    ensure!(visits.versions() > 1, "the sale did not open");
    let rest = came
        .checked_sub(visits.clocks())
        .context("a request that no cache may answer did not reach the server")?;
    ensure!(rest > 0, "nothing reached the server");
    let secs = run.time.as_secs_f64();
    let note = format!(
        "{} requests in {secs:.0} s, {} of them looks at the status of visitors who stayed; {rest} reached the server, and {} more that set a clock in the last 90 s before \
         the opening, one of each visitor who was there: {}, {:.0} a second; processor time {:.1} s of the server, {:.0} s of nginx; the generator was busy {} of the time",
        run.total(),
        visits.looks(),
        visits.clocks(),
        percent(came as f64 / run.total() as f64),
        came as f64 / secs,
        spent.as_secs_f64(),
        in_front.as_secs_f64(),
        percent(run.generator_busy)
    );
    shop.close()?;
    Ok(Figure::new("V1", "", TARGET).plain(rest as f64 / secs, "/s").note(note))
}

fn load(addr: SocketAddr) -> Load {
    let pace = Pace::Open(REQUESTS_PER_SEC);
    Load {
        addr,
        connections: REFUSAL_CONNECTIONS,
        pace,
        lead: Duration::ZERO,
        time: AS_LONG_AS_IT_TAKES,
        core: None,
    }
}

/// Writes the pages as an operator does.
fn export(setting: &Setting, shop: &Shop, folder: &Path) -> Result<()> {
    let url = format!("http://{}", shop.addr());
    let mut command = Command::new(&setting.program);
    command.arg("export").arg(folder).args(["--sale", SALE, "--url", &url]);
    let made = command.output().context("starting the export")?;
    ensure!(
        made.status.success(),
        "nothing was exported: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    Ok(())
}

/// The assets that a page names.
fn assets(page: &str) -> Vec<String> {
    let name = |rest: &str| rest.split(['"', '\'']).next().map(|name| format!("/assets/{name}"));
    page.split("/assets/")
        .skip(1)
        .filter_map(name)
        .filter(|name| name.matches('.').count() == 2)
        .collect()
}
