//! R1: "sold out" answers per second of our server, compared with nginx. nginx returns the body of
//! our server's answer as a fixed response. Both servers get the same request bytes.
use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result};

use super::figure_or_invalid;
use super::sale_server::{self, SaleServer};
use crate::config::BenchConfig;
use crate::figure::{Figure, Target, compare_alternating};
use crate::limits::{REFUSAL_CONNECTIONS, REFUSED_BUYERS};
use crate::peer::nginx::Nginx;
use doorbuster_harness::generator::cores;
use doorbuster_harness::generator::http::Purchases;
use doorbuster_harness::generator::{AnswerKind, Load};

const TARGET: Target = Target::AtLeast { floor: 0.85, goal: 1.0 };
const MEASURED: &str = "sold-out answers over HTTP, one worker";

/// Measures R1.
pub fn measure(config: &BenchConfig, _ids: &[&'static str]) -> Vec<Figure> {
    vec![figure_or_invalid("R1", MEASURED, TARGET, against_nginx(config))]
}

fn against_nginx(config: &BenchConfig) -> Result<Figure> {
    let (server_core, generator_core) = cores::pair();
    let mut sale_server = SaleServer::open(config, Some(1), server_core)?;
    sale_server.sell_out("spring", &sale_server::buyers("winner", 10), 10)?;
    let buyers = sale_server::buyers("late", REFUSED_BUYERS);
    let nginx =
        Nginx::start(config.parent(), (200, &refusal(&sale_server, &buyers)?), server_core)?;
    let script =
        || Purchases::round_and_round(&buyers, sale_server::template(&buyers, "spring", 10, ""));
    let (mut to_us, mut to_nginx) = (script(), script());
    let load = |addr| Load { core: generator_core, ..config.load(addr, REFUSAL_CONNECTIONS) };
    let (mut busy, mut peer_busy) = (0.0_f64, 0.0_f64);
    let ours = || {
        let run = load(sale_server.addr())
            .run(&mut to_us)
            .context("failed to send load to our server")?;
        run.expect_only(&[AnswerKind::SoldOut])?;
        busy = busy.max(run.generator_busy);
        Ok(run.per_sec(AnswerKind::SoldOut))
    };
    let peer = || {
        let run = load(nginx.addr()).run(&mut to_nginx).context("failed to send load to nginx")?;
        run.expect_only(&[AnswerKind::Fine])?;
        peer_busy = peer_busy.max(run.generator_busy);
        Ok(run.per_sec(AnswerKind::Fine))
    };
    let comparison = compare_alternating(config.rounds, ours, peer)?;
    sale_server.server().check_stock("spring", 100..=100)?;
    sale_server.close()?;
    let figure = Figure::new("R1", MEASURED, TARGET).comparison(&comparison, "/s", "nginx /s");
    Ok(figure.note(format!(
        "{REFUSAL_CONNECTIONS} connections, {REFUSED_BUYERS} buyers; the generator was busy {} of \
         the time with Doorbuster, and {} of the time with nginx",
        sale_server::percent(busy),
        sale_server::percent(peer_busy)
    )))
}

/// Returns the body of a refusal from our server. nginx then returns the same body.
fn refusal(
    sale_server: &SaleServer,
    buyers: &doorbuster_harness::generator::buyers::Buyers,
) -> Result<String> {
    let mut template = sale_server::template(buyers, "spring", 10, "Connection: close\r\n");
    let mut stream = TcpStream::connect(sale_server.addr())?;
    stream.write_all(template.for_buyer(buyers, 0))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("cannot read the refusal")?;
    Ok(answer.split_once("\r\n\r\n").context("the answer has no body")?.1.to_owned())
}
