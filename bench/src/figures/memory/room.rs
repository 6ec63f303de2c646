//! What a place in the waiting room takes, and how long a crowd takes to enter, to be drawn and to look.
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::super::shop::{self, Shop};
use super::{FEW_CONNECTIONS, FEW_ORDERS, PLACE, order};
use crate::figure::Figure;
use crate::limits::{CALLED_WITHIN, ORDER_CONNECTIONS, PLACES};
use crate::load::Kind;
use crate::server::NewSale;
use crate::setting::Setting;
use crate::visits::Visits;

const SALE: &str = "drawn";
/// Far from the opening, as the room is measured before it.
const STARTS_AT: &str = "2100-01-01T00:00:00.000Z";
const DOOR: &str = r#"{"front_door":{"waiting_room":"always","limits":{"buyer":null,"ip":null,"interface":null}}}"#;
/// Of so many places one is looked at afterwards.
const LOOKS_PART: u32 = 5;

/// Growth by places in the draw of a sale that opens later.
pub(super) fn places(setting: &Setting) -> Result<Figure> {
    let mut shop = Shop::open(setting, None, None)?;
    order(&mut shop, "warm", &shop::buyers("warm", FEW_ORDERS), FEW_CONNECTIONS)?;
    shop.server().announce(&NewSale { id: SALE, stock: 50, limit: 1 }, STARTS_AT)?;
    shop.server().change(SALE, DOOR)?;
    // As many with `--quick`: of fewer places the connections that they were entered over would be most of the growth.
    let count = PLACES;
    let buyers = shop::buyers("visitor", count);
    let before = shop.server().process().resident_at_rest()?;
    let load = shop.fill(ORDER_CONNECTIONS);
    let entered = load.run(&mut Visits::enter(&buyers, SALE))?;
    entered.only(&[Kind::Accepted])?;
    ensure!(entered.count(Kind::Accepted) == u64::from(count), "not everybody entered");
    let after = shop.server().process().resident_at_rest()?;
    let begun = Instant::now();
    shop.server().step(SALE, "open")?;
    while shop.server().metric("doorbuster_waiting_room_admitted_total", SALE)? == 0 {
        ensure!(begun.elapsed() < CALLED_WITHIN, "nobody was called in");
        std::thread::sleep(Duration::from_millis(10));
    }
    let called = begun.elapsed();
    let looked = load.run(&mut Visits::look(&buyers, SALE).only(count / LOOKS_PART))?;
    looked.only(&[Kind::Fine])?;
    let drawn = shop.server().process().resident_at_rest()?;
    shop.close()?;
    let each = |bytes: u64| bytes.saturating_sub(before) as f64 / f64::from(count);
    let note = format!(
        "{count} places, entered over {ORDER_CONNECTIONS} connections in {:.1} s, p99 {:.0} ms; the first were called in {:.2} s after the opening; then {} looks in {:.1} s, \
         p99 {:.0} ms, and {:.0} B for each place",
        entered.time.as_secs_f64(),
        entered.p99_us() / 1e3,
        called.as_secs_f64(),
        looked.total(),
        looked.time.as_secs_f64(),
        looked.p99_us() / 1e3,
        each(drawn)
    );
    Ok(Figure::new("R6", "", PLACE).plain(each(after), "B").note(note))
}
