//! What a tab takes that is left open in a waiting room: a place in the line, and a WebSocket that follows the sale.
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::super::shop::{self, Shop};
use super::{FEW_CONNECTIONS, PATIENCE, TAB, order};
use crate::figure::Figure;
use crate::limits::{TABS, TABS_PER_SEC, WARM_ORDERS};
use crate::load::Kind;
use crate::server::NewSale;
use crate::setting::Setting;
use crate::sockets;
use crate::visits::Visits;

const SALE: &str = "drawn";
/// Far from the opening: nobody is called in.
const STARTS_AT: &str = "2100-01-01T00:00:00.000Z";
const DOOR: &str = r#"{"front_door":{"waiting_room":"always","limits":{"buyer":null,"ip":null,"interface":null}}}"#;

/// Growth by tabs that are opened one after the other and then left alone, once the caches of bounded size are full.
pub(super) fn open(setting: &Setting) -> Result<Figure> {
    let mut shop = Shop::open(setting, None, None)?;
    // Over few connections, which leave no memory behind that tabs could use.
    let warm = if setting.quick { WARM_ORDERS / 10 } else { WARM_ORDERS };
    order(&mut shop, "warm", &shop::buyers("warm", warm), FEW_CONNECTIONS)?;
    shop.server().announce(&NewSale { id: SALE, stock: 50, limit: 1 }, STARTS_AT)?;
    shop.server().change(SALE, DOOR)?;
    let count = if setting.quick { TABS / 5 } else { TABS };
    let buyers = shop::buyers("visitor", count);
    let before = shop.server().process().resident_at_rest()?;
    let entered = shop.fill(FEW_CONNECTIONS).run(&mut Visits::enter(&buyers, SALE))?;
    entered.only(&[Kind::Accepted])?;
    let placed = shop.server().process().resident_at_rest()?;
    let (begun, mut tabs) = (Instant::now(), Vec::with_capacity(count as usize));
    for number in 0..count {
        std::thread::sleep(
            (Duration::from_secs(1) / TABS_PER_SEC * number).saturating_sub(begun.elapsed()),
        );
        let mut stream =
            TcpStream::connect(shop.addr()).with_context(|| format!("tab {number}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        sockets::greet(&mut stream, SALE, &buyers.token(number))
            .with_context(|| format!("tab {number}"))?;
        tabs.push(stream);
    }
    let after = shop.server().process().resident_at_rest()?;
    let listening = shop.server().metric("doorbuster_waiting_room_positions", SALE)?;
    ensure!(listening == u64::from(count), "{listening} places of {count} tabs");
    drop(tabs);
    shop.close()?;
    let each = |bytes: u64, less: u64| bytes.saturating_sub(less) as f64 / f64::from(count);
    let note = format!(
        "{count} tabs, {TABS_PER_SEC} a second, each with a place ({:.0} B of it) and a WebSocket ({:.0} B) that follows the sale",
        each(placed, before),
        each(after, placed)
    );
    Ok(Figure::new("R6", "", TAB).plain(each(after, before), "B").note(note))
}
