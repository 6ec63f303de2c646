//! R1: "sold out" against a static answer of nginx, for the very same request bytes.
use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result};

use super::or_invalid;
use super::shop::{self, Shop};
use crate::cores;
use crate::figure::{Figure, Target, alternate};
use crate::limits::{REFUSAL_CONNECTIONS, REFUSED_BUYERS};
use crate::load::http::Purchases;
use crate::load::{Kind, Load};
use crate::peer::nginx::Nginx;
use crate::setting::Setting;

const TARGET: Target = Target::AtLeast { floor: 0.85, goal: 1.0 };
const MEASURED: &str = "sold-out answers over HTTP, one worker";

/// Measures R1.
pub fn measure(setting: &Setting, _ids: &[&'static str]) -> Vec<Figure> {
    vec![or_invalid("R1", MEASURED, TARGET, against_nginx(setting))]
}

fn against_nginx(setting: &Setting) -> Result<Figure> {
    let (server_core, generator_core) = cores::pair();
    let mut shop = Shop::open(setting, Some(1), server_core)?;
    shop.sell_out("spring", &shop::buyers("winner", 10), 10)?;
    let buyers = shop::buyers("late", REFUSED_BUYERS);
    let nginx = Nginx::start(setting.parent(), &refusal(&shop, &buyers)?, server_core)?;
    let script = || Purchases::round_and_round(&buyers, shop::template(&buyers, "spring", 10, ""));
    let (mut to_us, mut to_nginx) = (script(), script());
    let load = |addr| Load { core: generator_core, ..setting.load(addr, REFUSAL_CONNECTIONS) };
    let (mut busy, mut peer_busy) = (0.0_f64, 0.0_f64);
    let ours = || {
        let run = load(shop.addr()).run(&mut to_us).context("our server")?;
        run.only(&[Kind::SoldOut])?;
        busy = busy.max(run.generator_busy);
        Ok(run.per_sec(Kind::SoldOut))
    };
    let peer = || {
        let run = load(nginx.addr()).run(&mut to_nginx).context("nginx")?;
        run.only(&[Kind::Fine])?;
        peer_busy = peer_busy.max(run.generator_busy);
        Ok(run.per_sec(Kind::Fine))
    };
    let compared = alternate(setting.rounds, ours, peer)?;
    shop.server().check_stock("spring", 100..=100)?;
    shop.close()?;
    let figure = Figure::new("R1", MEASURED, TARGET).compared(&compared, "/s", "nginx /s");
    Ok(figure.note(format!(
        "{REFUSAL_CONNECTIONS} connections, {REFUSED_BUYERS} buyers; the generator was busy {} of the time for us, {} for nginx",
        shop::percent(busy),
        shop::percent(peer_busy)
    )))
}

/// The body that our server refuses with, for nginx to answer the same.
fn refusal(shop: &Shop, buyers: &crate::buyers::Buyers) -> Result<String> {
    let mut template = shop::template(buyers, "spring", 10, "Connection: close\r\n");
    let mut stream = TcpStream::connect(shop.addr())?;
    stream.write_all(template.of(buyers, 0))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("a refusal")?;
    Ok(answer.split_once("\r\n\r\n").context("an answer has a body")?.1.to_owned())
}
