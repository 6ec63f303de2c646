//! R9, kind by kind: the processor time of every way to be refused, against that of an acceptance.
//!
//! Nothing is owed for these: they show that no kind of refusal is a way to make the server work.
use anyhow::{Result, ensure};

use super::shop::{self, Shop};
use crate::buyers::{Buyers, Template};
use crate::figure::{Compared, Figure, Target};
use crate::limits::{ORDER_CONNECTIONS, REFUSED_BUYERS};
use crate::load::http::{Purchases, Same};
use crate::load::{Kind, Run, Script};
use crate::server::NewSale;
use crate::setting::Setting;

/// All included, also what the kernel does for any answer, which is most of it.
const TARGET: Target = Target::Reported { goal: 0.5 };
/// Whose tokens nobody can check.
const FORGERS_SECRET: &[u8] = b"a secret that is not the shop's, long enough";
/// A pass that nobody issued, of the length of one.
const FORGED_PASS: &str =
    "Purchase-Pass: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n";

/// One way to be refused.
struct Way {
    name: &'static str,
    /// Of the answer.
    status: u16,
    sale: &'static str,
    units: u32,
    headers: &'static str,
    forged: bool,
}

const fn way(name: &'static str, status: u16, sale: &'static str) -> Way {
    Way { name, status, sale, units: 1, headers: "", forged: false }
}

/// In the order in which a purchase is checked.
const WAYS: [Way; 10] = [
    Way { units: 0, ..way("invalid_request", 422, "plenty") },
    Way { forged: true, ..way("unauthenticated (a forged token)", 401, "plenty") },
    way("not_found (a sale that is none)", 404, "nothing"),
    way("not_started", 409, "later"),
    way("paused", 409, "paused"),
    way("ended", 409, "closed"),
    way("not_eligible (members only)", 403, "members"),
    way("pass_required", 403, "passes"),
    Way { headers: FORGED_PASS, ..way("pass_invalid (a forged pass)", 403, "passes") },
    way("rate_limited", 429, "limits"),
];

/// Measures all of them.
///
/// # Errors
/// When the server cannot be asked, or answers otherwise.
pub fn measure(setting: &Setting) -> Result<Vec<Figure>> {
    let (buyers, late) = (shop::buyers("buyer", setting.buyers()), shop::buyers("late", REFUSED_BUYERS));
    let forgers = Buyers::new(FORGERS_SECRET, "late", REFUSED_BUYERS);
    let mut measured: Vec<Compared> = WAYS.iter().map(|_| Compared::default()).collect();
    let mut looks = Compared::default();
    for round in 0..=setting.rounds {
        let mut shop = open(setting)?;
        let template = shop::template(&buyers, "plenty", 1, "");
        let (acceptance, run) = cost(setting, &mut shop, &mut Purchases::each_once(&buyers, template, 0))?;
        run.only(&[Kind::Accepted])?;
        for (way, compared) in WAYS.iter().zip(&mut measured) {
            let buyers = if way.forged { &forgers } else { &late };
            let template: Template = shop::template(buyers, way.sale, way.units, way.headers);
            let (refusal, run) = cost(setting, &mut shop, &mut Purchases::round_and_round(buyers, template))?;
            let refused = Kind::Other(way.status);
            match way.status {
                // A limit lets somebody in first, whose request finds its order when it comes round again.
                429 => run.only(&[refused, Kind::Accepted, Kind::Fine])?,
                _ => run.only(&[refused])?,
            }
            if round > 0 {
                compared.ours.push(refusal);
                compared.peer.push(acceptance);
            }
        }
        let (look, run) = cost(setting, &mut shop, &mut Same::get("/v1/sales/plenty/status"))?;
        run.only(&[Kind::Fine])?;
        if round > 0 {
            looks.ours.push(look);
            looks.peer.push(acceptance);
        }
        shop.close()?;
    }
    let mut figures: Vec<Figure> =
        WAYS.iter().zip(&measured).map(|(way, compared)| figure(way.name, compared)).collect();
    figures.push(figure("a look at the status", &looks));
    Ok(figures)
}

fn figure(name: &str, compared: &Compared) -> Figure {
    let note = format!("all included, also what a static answer costs; {ORDER_CONNECTIONS} connections");
    Figure::new("R9", format!("CPU of {name}"), TARGET).compared(compared, "µs", "acceptance, µs").note(note)
}

/// A server with a sale for each way to be refused.
fn open(setting: &Setting) -> Result<Shop> {
    let shop = Shop::open(setting, None, None)?;
    for sale in ["plenty", "paused", "closed"] {
        shop.open_plenty(sale)?;
    }
    shop.server().step("paused", "pause")?;
    shop.server().step("closed", "close")?;
    for (sale, door) in [
        ("members", r#"{"members_only":true}"#),
        ("passes", r#"{"pass":"required"}"#),
        ("limits", r#"{"limits":{"interface":{"burst":1,"per_minute":1},"buyer":{"burst":1,"per_minute":1}}}"#),
    ] {
        shop.open_plenty(sale)?;
        shop.server().change(sale, &format!(r#"{{"front_door":{door}}}"#))?;
    }
    let later = NewSale { id: "later", stock: 100, limit: 1 };
    shop.server().announce(&later, "2099-01-01T00:00:00.000Z")?;
    Ok(shop)
}

/// Microseconds of the server's processor time for one answer.
pub(super) fn cost(setting: &Setting, shop: &mut Shop, script: &mut impl Script) -> Result<(f64, Run)> {
    let before = shop.server().process().cpu()?;
    let run = shop.take_some_orders(&setting.load(shop.addr(), ORDER_CONNECTIONS), script)?;
    let spent = shop.server().process().cpu()?.saturating_sub(before);
    ensure!(run.total() > 0, "nothing was answered");
    Ok((spent.as_secs_f64() * 1e6 / run.total() as f64, run))
}
