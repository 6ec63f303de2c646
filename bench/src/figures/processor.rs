//! R9: the processor time of a refusal beyond a static answer of the same server, against that of an acceptance.
use anyhow::{Result, ensure};

use super::kinds::{self, cost};
use super::or_invalid;
use super::shop::{self, Shop};
use crate::buyers::Buyers;
use crate::figure::{Compared, Figure, Target, median};
use crate::limits::{ORDER_CONNECTIONS, REFUSED_BUYERS};
use crate::load::Kind;
use crate::load::http::{Purchases, Same};
use crate::setting::Setting;

const TARGET: Target = Target::AtMost { floor: 0.3, goal: 0.1 };
const MEASURED: &str = "CPU of a refusal beyond a static answer";

/// Measures R9.
pub fn measure(setting: &Setting, _ids: &[&'static str]) -> Vec<Figure> {
    let mut figures = vec![or_invalid("R9", MEASURED, TARGET, against_acceptance(setting))];
    match kinds::measure(setting) {
        Ok(by_kind) => figures.extend(by_kind),
        Err(error) => {
            figures.push(Figure::new("R9", "CPU of a refusal by kind", TARGET).invalid(&error))
        }
    }
    figures
}

#[derive(Debug, Default)]
struct Measured {
    compared: Compared,
    fixed: Vec<f64>,
}

fn against_acceptance(setting: &Setting) -> Result<Figure> {
    let late = shop::buyers("late", REFUSED_BUYERS);
    let buyers = shop::buyers("buyer", setting.buyers());
    let mut measured = Measured::default();
    for round in 0..=setting.rounds {
        one_round(setting, &late, &buyers, &mut measured, round > 0)?;
    }
    let note = format!(
        "a static answer costs {:.1} µs, all included; {ORDER_CONNECTIONS} connections; utime and stime of the server's process",
        median(&measured.fixed)
    );
    Ok(Figure::new("R9", MEASURED, TARGET)
        .compared(&measured.compared, "µs", "acceptance, µs")
        .note(note))
}

fn one_round(
    setting: &Setting,
    late: &Buyers,
    buyers: &Buyers,
    measured: &mut Measured,
    counts: bool,
) -> Result<()> {
    let mut shop = Shop::open(setting, None, None)?;
    shop.sell_out("sold-out", &shop::buyers("winner", 10), 10)?;
    shop.open_plenty("plenty")?;
    let (fixed, run) = cost(setting, &mut shop, &mut Same::get("/healthz"))?;
    run.only(&[Kind::Fine])?;
    let mut script = Purchases::round_and_round(late, shop::template(late, "sold-out", 10, ""));
    let (refusal, run) = cost(setting, &mut shop, &mut script)?;
    run.only(&[Kind::SoldOut])?;
    let mut script = Purchases::each_once(buyers, shop::template(buyers, "plenty", 1, ""), 0);
    let (acceptance, run) = cost(setting, &mut shop, &mut script)?;
    run.only(&[Kind::Accepted])?;
    shop.check("plenty", &run)?;
    shop.close()?;
    ensure!(
        acceptance > fixed,
        "an acceptance ({acceptance:.1} µs) costs no more than a static answer ({fixed:.1} µs)"
    );
    if counts {
        measured.compared.ours.push(refusal - fixed);
        measured.compared.peer.push(acceptance - fixed);
        measured.fixed.push(fixed);
    }
    Ok(())
}
