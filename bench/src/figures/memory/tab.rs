//! The memory of an open tab in a waiting room: an entry, and a WebSocket that follows the sale.
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::super::sale_server::{self, SaleServer};
use super::{FEW_CONNECTIONS, PATIENCE, TAB, order};
use crate::config::BenchConfig;
use crate::door_requests::DoorRequests;
use crate::figure::Figure;
use crate::limits::{OPEN_TABS, TABS_PER_SEC, WARM_ORDERS};
use crate::server::NewSale;
use crate::sockets;
use doorbuster_harness::generator::AnswerKind;

const SALE: &str = "drawn";
/// The start of the sale: far in the future, so that the waiting room admits no visitor.
const STARTS_AT: &str = "2100-01-01T00:00:00.000Z";
const DOOR: &str = r#"{"front_door":{"waiting_room":"always","limits":{"buyer":null,"ip":null,"interface":null}}}"#;

/// Measures the memory of an open tab. First, orders fill the caches of bounded size. Then the
/// bench opens tabs one after another, and leaves them idle.
pub(super) fn open(config: &BenchConfig) -> Result<Figure> {
    let mut sale_server = SaleServer::open(config, None, None)?;
    // Only a few connections send these orders. The server keeps the memory of closed connections
    // for later ones. So after many connections, the tabs would need less new memory.
    let warm = if config.quick { WARM_ORDERS / 10 } else { WARM_ORDERS };
    order(&mut sale_server, "warm", &sale_server::buyers("warm", warm), FEW_CONNECTIONS)?;
    sale_server.server().announce(&NewSale { id: SALE, stock: 50, limit: 1 }, STARTS_AT)?;
    sale_server.server().change(SALE, DOOR)?;
    let count = if config.quick { OPEN_TABS / 5 } else { OPEN_TABS };
    let buyers = sale_server::buyers("visitor", count);
    let before = sale_server.server().process().resident_at_rest()?;
    let entered = sale_server
        .fill_load(FEW_CONNECTIONS)
        .run(&mut DoorRequests::take_position(&buyers, SALE))?;
    entered.expect_only(&[AnswerKind::Accepted])?;
    let placed = sale_server.server().process().resident_at_rest()?;
    let (begun, mut tabs) = (Instant::now(), Vec::with_capacity(count as usize));
    for number in 0..count {
        std::thread::sleep(
            (Duration::from_secs(1) / TABS_PER_SEC * number).saturating_sub(begun.elapsed()),
        );
        let mut stream = TcpStream::connect(sale_server.addr())
            .with_context(|| format!("tab {number} failed"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        sockets::follow_sale(&mut stream, SALE, &buyers.token(number))
            .with_context(|| format!("tab {number} failed"))?;
        tabs.push(stream);
    }
    let after = sale_server.server().process().resident_at_rest()?;
    let listening = sale_server.server().metric("doorbuster_waiting_room_positions", SALE)?;
    ensure!(
        listening == u64::from(count),
        "{count} tabs are open, but the room has {listening} entries"
    );
    drop(tabs);
    sale_server.close()?;
    let each = |bytes: u64, less: u64| bytes.saturating_sub(less) as f64 / f64::from(count);
    let note = format!(
        "{count} tabs, opened at {TABS_PER_SEC} a second, each with an entry ({:.0} B) and a \
         WebSocket ({:.0} B) that follows the sale",
        each(placed, before),
        each(after, placed)
    );
    Ok(Figure::new("R6", "", TAB).with_value(each(after, before), "B").note(note))
}
