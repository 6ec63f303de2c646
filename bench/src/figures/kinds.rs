//! R9, kind by kind: the processor time of every way to be refused, against that of an acceptance.
//!
//! Nothing is owed for these: they show that no kind of refusal is a way to make the server work.
use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Result, ensure};

use super::shop::{self, ITEM, Shop};
use crate::buyers::{Buyers, Template, Wanted};
use crate::figure::{Compared, Figure, Target};
use crate::limits::{ADMIN_WITHIN, ORDER_CONNECTIONS, REFUSED_BUYERS};
use crate::load::http::{Purchases, Same};
use crate::load::{Kind, Run, Script};
use crate::passes::{Paper, Passes, WithPass};
use crate::server::NewSale;
use crate::setting::Setting;

/// All included, also what the kernel does for any answer, which is most of it.
const TARGET: Target = Target::Reported { goal: 0.5 };
/// Whose tokens nobody can check.
const FORGERS_SECRET: &[u8] = b"a secret that is not the shop's, long enough";
/// A pass that nobody issued, of the length of one.
const FORGED_PASS: &str = "Purchase-Pass: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n";
/// Buyers who have all that one may have.
const OWNERS: u32 = 20_000;

/// Who is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// A crowd of different buyers.
    Late,
    /// The same with tokens that the shop did not sign.
    Forgers,
    /// Buyers who have their order, and ask with another key.
    Owners,
    /// One buyer, whom an operator turned away.
    Blocked,
}

/// One way to be refused.
struct Way {
    /// The code, and what else there is to say.
    name: &'static str,
    /// Of the answer.
    status: u16,
    sale: &'static str,
    units: u32,
    headers: &'static str,
    who: Who,
    paper: Option<Paper>,
}

const fn way(name: &'static str, status: u16, sale: &'static str) -> Way {
    Way { name, status, sale, units: 1, headers: "", who: Who::Late, paper: None }
}

/// In the order in which a purchase is checked.
const WAYS: [Way; 15] = [
    Way { units: 0, ..way("invalid_request", 422, "plenty") },
    Way { who: Who::Forgers, ..way("unauthenticated (a forged token)", 401, "plenty") },
    way("not_found (a sale that is none)", 404, "nothing"),
    way("not_started", 409, "later"),
    way("paused", 409, "paused"),
    way("ended", 409, "closed"),
    Way { who: Who::Blocked, ..way("forbidden (a blocked buyer)", 403, "plenty") },
    way("pass_required", 403, "passes"),
    Way { headers: FORGED_PASS, ..way("pass_invalid (a forged pass)", 403, "passes") },
    Way { paper: Some(Paper::Expired), ..way("pass_expired", 403, "passes") },
    way("not_eligible (members only)", 403, "members"),
    Way { paper: Some(Paper::Free), ..way("waiting_room (a pass from before)", 403, "room") },
    way("rate_limited", 429, "limits"),
    way("sold_out", 409, "gone"),
    Way { who: Who::Owners, ..way("limit_reached", 409, "owned") },
];

impl Way {
    fn code(&self) -> &'static str {
        self.name.split(' ').next().unwrap_or(self.name)
    }

    fn refused(&self) -> Kind {
        if self.code() == "sold_out" { Kind::SoldOut } else { Kind::Other(self.status) }
    }

    fn template(&self, buyers: &Buyers) -> Template {
        // Nobody's key is one that holds an order by now.
        let keys = self.code();
        let Self { sale, units, headers, .. } = *self;
        Template::new(buyers, &Wanted { sale, item: ITEM, units, headers, keys })
    }
}

/// Everybody who is refused.
struct Crowd {
    late: Buyers,
    forgers: Buyers,
    owners: Buyers,
    blocked: Buyers,
}

impl Crowd {
    fn of(&self, who: Who) -> &Buyers {
        match who {
            Who::Late => &self.late,
            Who::Forgers => &self.forgers,
            Who::Owners => &self.owners,
            Who::Blocked => &self.blocked,
        }
    }
}

/// Measures all of them.
///
/// # Errors
/// When the server cannot be asked, or answers otherwise.
pub fn measure(setting: &Setting) -> Result<Vec<Figure>> {
    let buyers = shop::buyers("buyer", setting.buyers());
    let crowd = Crowd {
        late: shop::buyers("late", REFUSED_BUYERS),
        forgers: Buyers::new(FORGERS_SECRET, "late", REFUSED_BUYERS),
        owners: shop::buyers("owner", OWNERS),
        blocked: shop::buyers("robot", 1),
    };
    let mut measured: Vec<Compared> = WAYS.iter().map(|_| Compared::default()).collect();
    let mut looks = Compared::default();
    for round in 0..=setting.rounds {
        let mut shop = open(setting, &crowd)?;
        let template = shop::template(&buyers, "plenty", 1, "");
        let (acceptance, run) =
            cost(setting, &mut shop, &mut Purchases::each_once(&buyers, template, 0))?;
        run.only(&[Kind::Accepted])?;
        for (way, compared) in WAYS.iter().zip(&mut measured) {
            let refusal = refusal(setting, &mut shop, &crowd, way)?;
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

/// Microseconds of one such refusal, each of which must be one.
fn refusal(setting: &Setting, shop: &mut Shop, crowd: &Crowd, way: &Way) -> Result<f64> {
    let buyers = crowd.of(way.who);
    let template = || way.template(buyers);
    let (cost, run) = match way.paper {
        Some(paper) => {
            let passes = Passes::new(buyers, way.sale, ITEM, paper);
            let script = || WithPass::round_and_round(buyers, &passes, template());
            says(shop, &mut script(), way)?;
            cost(setting, shop, &mut script())?
        }
        None => {
            let script = || Purchases::round_and_round(buyers, template());
            says(shop, &mut script(), way)?;
            cost(setting, shop, &mut script())?
        }
    };
    match way.status {
        // A limit lets somebody in first, whose request finds its order when it comes round again.
        429 => run.only(&[way.refused(), Kind::Accepted, Kind::Fine])?,
        _ => run.only(&[way.refused()])?,
    }
    Ok(cost)
}

/// Passes if the first request is refused by this code, and by no other of the same status.
fn says(shop: &mut Shop, script: &mut impl Script, way: &Way) -> Result<()> {
    if way.status == 429 {
        return Ok(());
    }
    let mut stream = TcpStream::connect(shop.addr())?;
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
    let told = String::from_utf8_lossy(&inbox[..filled]);
    let wanted = format!(r#""code":"{}""#, way.code());
    ensure!(told.contains(&wanted), "{} was refused otherwise: {told}", way.name);
    Ok(())
}

fn figure(name: &str, compared: &Compared) -> Figure {
    let note =
        format!("all included, also what a static answer costs; {ORDER_CONNECTIONS} connections");
    Figure::new("R9", format!("CPU of {name}"), TARGET)
        .compared(compared, "µs", "acceptance, µs")
        .note(note)
}

/// A server with a sale for each way to be refused.
fn open(setting: &Setting, crowd: &Crowd) -> Result<Shop> {
    let mut shop = Shop::open(setting, None, None)?;
    for sale in ["plenty", "paused", "closed"] {
        shop.open_plenty(sale)?;
    }
    shop.server().step("paused", "pause")?;
    shop.server().step("closed", "close")?;
    for (sale, door) in [
        ("members", r#"{"members_only":true}"#),
        ("passes", r#"{"pass":"required"}"#),
        ("room", r#"{"waiting_room":"always"}"#),
        (
            "limits",
            r#"{"limits":{"interface":{"burst":1,"per_minute":1},"buyer":{"burst":1,"per_minute":1}}}"#,
        ),
    ] {
        shop.open_plenty(sale)?;
        shop.server().change(sale, &format!(r#"{{"front_door":{door}}}"#))?;
    }
    shop.sell_out("gone", &shop::buyers("winner", 10), 10)?;
    shop.open_plenty("owned")?;
    let mut script =
        Purchases::each_once(&crowd.owners, shop::template(&crowd.owners, "owned", 1, ""), 0);
    let run = shop.take_orders(&shop.fill(ORDER_CONNECTIONS), &mut script)?;
    ensure!(run.count(Kind::Accepted) == u64::from(OWNERS), "not everybody has one");
    let blocked = format!(r#"{{"kind":"buyer","value":"{}"}}"#, crowd.blocked.name(0));
    shop.server().operate("POST", "/v1/admin/blocks", &blocked, 201)?;
    let later = NewSale { id: "later", stock: 100, limit: 1 };
    shop.server().announce(&later, "2099-01-01T00:00:00.000Z")?;
    Ok(shop)
}

/// Microseconds of the server's processor time for one answer.
pub(super) fn cost(
    setting: &Setting,
    shop: &mut Shop,
    script: &mut impl Script,
) -> Result<(f64, Run)> {
    let before = shop.server().process().cpu()?;
    let run = shop.take_some_orders(&setting.load(shop.addr(), ORDER_CONNECTIONS), script)?;
    let spent = shop.server().process().cpu()?.saturating_sub(before);
    ensure!(run.total() > 0, "nothing was answered");
    Ok((spent.as_secs_f64() * 1e6 / run.total() as f64, run))
}
