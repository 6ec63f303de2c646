//! R9 for each kind of refusal: compares the refusal's processor time with that of an accepted
//! order. These figures have no floor.
use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Result, ensure};

use super::sale_server::{self, ITEM, SaleServer};
use crate::config::BenchConfig;
use crate::figure::{Comparison, Figure, Target};
use crate::limits::{ADMIN_WITHIN, ORDER_CONNECTIONS, REFUSED_BUYERS};
use crate::passes::{PassKind, Passes, WithPass};
use crate::server::NewSale;
use doorbuster_harness::generator::buyers::{Buyers, RequestOptions, Template};
use doorbuster_harness::generator::http::{Purchases, RepeatedRequest};
use doorbuster_harness::generator::{AnswerKind, RequestScript, RunResult};

/// The target for the ratio of two processor times: of a refusal and of an order. The goal is not
/// lower, because the kernel needs most of the time of a refusal.
const TARGET: Target = Target::Reported { goal: 0.5 };
/// This secret signs the forged tokens. The server does not have it.
const FORGERS_SECRET: &[u8] = b"a secret of a forger, with 32 bytes or more";
/// A forged pass. It is as long as a real pass.
const FORGED_PASS: &str = "Purchase-Pass: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n";
/// The number of buyers who already have an order for as many units as the sale's limit allows.
const OWNERS: u32 = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RefusedBuyers {
    /// Different buyers without an order.
    Late,
    /// Different buyers with forged tokens.
    Forgers,
    /// Buyers who have an order. Their new requests have new keys, so these requests do not repeat
    /// the order's request.
    Owners,
    /// One buyer, whom an operator blocked.
    Blocked,
}

struct RefusalCase {
    /// The problem code of the refusal; some cases add a remark in parentheses.
    name: &'static str,
    status: u16,
    sale: &'static str,
    units: u32,
    headers: &'static str,
    who: RefusedBuyers,
    pass_kind: Option<PassKind>,
}

const fn refusal_case(name: &'static str, status: u16, sale: &'static str) -> RefusalCase {
    RefusalCase {
        name,
        status,
        sale,
        units: 1,
        headers: "",
        who: RefusedBuyers::Late,
        pass_kind: None,
    }
}

/// The kinds of refusals, in the sequence of the server's checks.
const REFUSAL_CASES: [RefusalCase; 15] = [
    RefusalCase { units: 0, ..refusal_case("invalid_request", 422, "plenty") },
    RefusalCase {
        who: RefusedBuyers::Forgers,
        ..refusal_case("unauthenticated (a forged token)", 401, "plenty")
    },
    refusal_case("not_found (an unknown sale)", 404, "nothing"),
    refusal_case("not_started", 409, "later"),
    refusal_case("paused", 409, "paused"),
    refusal_case("ended", 409, "closed"),
    RefusalCase {
        who: RefusedBuyers::Blocked,
        ..refusal_case("forbidden (a blocked buyer)", 403, "plenty")
    },
    refusal_case("pass_required", 403, "passes"),
    RefusalCase {
        headers: FORGED_PASS,
        ..refusal_case("pass_invalid (a forged pass)", 403, "passes")
    },
    RefusalCase {
        pass_kind: Some(PassKind::Expired),
        ..refusal_case("pass_expired", 403, "passes")
    },
    refusal_case("not_eligible (members only)", 403, "members"),
    RefusalCase {
        pass_kind: Some(PassKind::WithoutRoom),
        ..refusal_case("waiting_room (a pass from before the room opened)", 403, "room")
    },
    refusal_case("rate_limited", 429, "limits"),
    refusal_case("sold_out", 409, "gone"),
    RefusalCase { who: RefusedBuyers::Owners, ..refusal_case("limit_reached", 409, "owned") },
];

impl RefusalCase {
    fn code(&self) -> &'static str {
        self.name.split(' ').next().unwrap_or(self.name)
    }

    fn refused(&self) -> AnswerKind {
        if self.code() == "sold_out" { AnswerKind::SoldOut } else { AnswerKind::Other(self.status) }
    }

    fn template(&self, buyers: &Buyers) -> Template {
        // `keys` is the prefix of the measured request keys. The keys of the prepared orders have
        // another prefix, so no measured request repeats the request of a prepared order.
        let keys = self.code();
        let Self { sale, units, headers, .. } = *self;
        Template::new(
            buyers,
            &RequestOptions { host: "127.0.0.1", sale, item: ITEM, units, headers, keys },
        )
    }
}

struct RefusedCrowd {
    late: Buyers,
    forgers: Buyers,
    owners: Buyers,
    blocked: Buyers,
}

impl RefusedCrowd {
    fn buyers_for(&self, who: RefusedBuyers) -> &Buyers {
        match who {
            RefusedBuyers::Late => &self.late,
            RefusedBuyers::Forgers => &self.forgers,
            RefusedBuyers::Owners => &self.owners,
            RefusedBuyers::Blocked => &self.blocked,
        }
    }
}

/// Measures every kind of refusal.
///
/// # Errors
///
/// Fails if a request fails, or if its answer is not the expected refusal.
pub fn measure(config: &BenchConfig) -> Result<Vec<Figure>> {
    let buyers = sale_server::buyers("buyer", config.buyers());
    let crowd = RefusedCrowd {
        late: sale_server::buyers("late", REFUSED_BUYERS),
        forgers: Buyers::new(FORGERS_SECRET, "late", REFUSED_BUYERS),
        owners: sale_server::buyers("owner", OWNERS),
        blocked: sale_server::buyers("robot", 1),
    };
    let mut measured: Vec<Comparison> =
        REFUSAL_CASES.iter().map(|_| Comparison::default()).collect();
    let mut reads = Comparison::default();
    for round in 0..=config.rounds {
        let mut sale_server = open(config, &crowd)?;
        let template = sale_server::template(&buyers, "plenty", 1, "");
        let (acceptance, run) =
            cost(config, &mut sale_server, &mut Purchases::each_once(&buyers, template, 0))?;
        run.expect_only(&[AnswerKind::Accepted])?;
        for (way, comparison) in REFUSAL_CASES.iter().zip(&mut measured) {
            let refusal = refusal(config, &mut sale_server, &crowd, way)?;
            if round > 0 {
                comparison.ours.push(refusal);
                comparison.peer.push(acceptance);
            }
        }
        let (look, run) =
            cost(config, &mut sale_server, &mut RepeatedRequest::get("/v1/sales/plenty/status"))?;
        run.expect_only(&[AnswerKind::Fine])?;
        if round > 0 {
            reads.ours.push(look);
            reads.peer.push(acceptance);
        }
        sale_server.close()?;
    }
    let mut figures: Vec<Figure> = REFUSAL_CASES
        .iter()
        .zip(&measured)
        .map(|(way, comparison)| figure(way.name, comparison))
        .collect();
    figures.push(figure("a status read", &reads));
    Ok(figures)
}

/// Returns the server's processor time for one refusal of this kind, in microseconds. Fails if a
/// request got another answer. One exception: under a rate limit, requests below the limit may
/// become orders.
fn refusal(
    config: &BenchConfig,
    sale_server: &mut SaleServer,
    crowd: &RefusedCrowd,
    way: &RefusalCase,
) -> Result<f64> {
    let buyers = crowd.buyers_for(way.who);
    let template = || way.template(buyers);
    let (cost, run) = match way.pass_kind {
        Some(pass_kind) => {
            let passes = Passes::new(buyers, way.sale, ITEM, pass_kind);
            let script = || WithPass::round_and_round(buyers, &passes, template());
            check_code(sale_server, &mut script(), way)?;
            cost(config, sale_server, &mut script())?
        }
        None => {
            let script = || Purchases::round_and_round(buyers, template());
            check_code(sale_server, &mut script(), way)?;
            cost(config, sale_server, &mut script())?
        }
    };
    match way.status {
        // The rate limit admits the first requests, and these become orders. If a buyer repeats one
        // of them, the server answers with the buyer's order.
        429 => run.expect_only(&[way.refused(), AnswerKind::Accepted, AnswerKind::Fine])?,
        _ => run.expect_only(&[way.refused()])?,
    }
    Ok(cost)
}

/// Sends one request, and checks the problem code of its refusal. Does nothing for a rate limit,
/// because the limit would admit this first request.
fn check_code(
    sale_server: &mut SaleServer,
    script: &mut impl RequestScript,
    way: &RefusalCase,
) -> Result<()> {
    if way.status == 429 {
        return Ok(());
    }
    let mut stream = TcpStream::connect(sale_server.addr())?;
    stream.set_read_timeout(Some(ADMIN_WITHIN))?;
    let mut request = Vec::new();
    script.next(&mut request);
    stream.write_all(&request)?;
    let (mut inbox, mut filled) = (vec![0; 16 * 1024], 0);
    while script.read(&inbox[..filled])?.is_none() {
        let read = stream.read(&mut inbox[filled..])?;
        ensure!(read > 0, "a connection was closed before its answer");
        filled += read;
    }
    let answer = String::from_utf8_lossy(&inbox[..filled]);
    let expected = format!(r#""code":"{}""#, way.code());
    ensure!(answer.contains(&expected), "expected {}, but the answer is {answer}", way.name);
    Ok(())
}

fn figure(name: &str, comparison: &Comparison) -> Figure {
    let note =
        format!("costs include the cost of a static answer; {ORDER_CONNECTIONS} connections");
    Figure::new("R9", format!("CPU of {name}"), TARGET)
        .comparison(comparison, "µs", "acceptance, µs")
        .note(note)
}

fn open(config: &BenchConfig, crowd: &RefusedCrowd) -> Result<SaleServer> {
    let mut sale_server = SaleServer::open(config, None, None)?;
    for sale in ["plenty", "paused", "closed"] {
        sale_server.open_plenty(sale)?;
    }
    sale_server.server().change_phase("paused", "pause")?;
    sale_server.server().change_phase("closed", "close")?;
    for (sale, door) in [
        ("members", r#"{"members_only":true}"#),
        ("passes", r#"{"pass":"required"}"#),
        ("room", r#"{"waiting_room":"always"}"#),
        (
            "limits",
            r#"{"limits":{"interface":{"burst":1,"per_minute":1},"buyer":{"burst":1,"per_minute":1}}}"#,
        ),
    ] {
        sale_server.open_plenty(sale)?;
        sale_server.server().change(sale, &format!(r#"{{"front_door":{door}}}"#))?;
    }
    sale_server.sell_out("gone", &sale_server::buyers("winner", 10), 10)?;
    sale_server.open_plenty("owned")?;
    let mut script = Purchases::each_once(
        &crowd.owners,
        sale_server::template(&crowd.owners, "owned", 1, ""),
        0,
    );
    let run = sale_server.take_orders(&sale_server.fill_load(ORDER_CONNECTIONS), &mut script)?;
    ensure!(run.count(AnswerKind::Accepted) == u64::from(OWNERS), "not every owner has an order");
    let blocked = format!(r#"{{"kind":"buyer","value":"{}"}}"#, crowd.blocked.name(0));
    sale_server.server().operate("POST", "/v1/admin/blocks", &blocked, 201)?;
    let later = NewSale { id: "later", stock: 100, limit: 1 };
    sale_server.server().announce(&later, "2099-01-01T00:00:00.000Z")?;
    Ok(sale_server)
}

/// Runs the script. Returns the server's processor time for one answer, in microseconds, and the
/// result of the load.
pub(super) fn cost(
    config: &BenchConfig,
    sale_server: &mut SaleServer,
    script: &mut impl RequestScript,
) -> Result<(f64, RunResult)> {
    let before = sale_server.server().process().cpu_time()?;
    let run = sale_server
        .take_some_orders(&config.load(sale_server.addr(), ORDER_CONNECTIONS), script)?;
    let spent = sale_server.server().process().cpu_time()?.saturating_sub(before);
    ensure!(run.total() > 0, "no request was answered");
    Ok((spent.as_secs_f64() * 1e6 / run.total() as f64, run))
}
