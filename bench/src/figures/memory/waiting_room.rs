//! Measures the memory of a waiting room entry. Also measures how long many buyers need to join and
//! to read their entries, and how soon the first buyers are admitted.
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::super::sale_server::{self, SaleServer};
use super::{FEW_CONNECTIONS, FEW_ORDERS, PLACE, order};
use crate::config::BenchConfig;
use crate::door_requests::DoorRequests;
use crate::figure::Figure;
use crate::limits::{ADMITTED_WITHIN, ORDER_CONNECTIONS, POSITIONS};
use crate::server::NewSale;
use doorbuster_harness::generator::AnswerKind;

const SALE: &str = "drawn";
/// The start of the sale: far in the future, because the room is measured before the bench opens
/// the sale.
const STARTS_AT: &str = "2100-01-01T00:00:00.000Z";
const DOOR: &str = r#"{"front_door":{"waiting_room":"always","limits":{"buyer":null,"ip":null,"interface":null}}}"#;
/// After the opening, the bench reads one out of this many entries.
const LOOKS_PART: u32 = 5;

pub(super) fn places(config: &BenchConfig) -> Result<Figure> {
    let mut sale_server = SaleServer::open(config, None, None)?;
    order(&mut sale_server, "warm", &sale_server::buyers("warm", FEW_ORDERS), FEW_CONNECTIONS)?;
    sale_server.server().announce(&NewSale { id: SALE, stock: 50, limit: 1 }, STARTS_AT)?;
    sale_server.server().change(SALE, DOOR)?;
    // `--quick` does not reduce this number. With fewer entries, most of the added memory would
    // belong to the connections, and not to the entries.
    let count = POSITIONS;
    let buyers = sale_server::buyers("visitor", count);
    let before = sale_server.server().process().resident_at_rest()?;
    let load = sale_server.fill_load(ORDER_CONNECTIONS);
    let joined = load.run(&mut DoorRequests::take_position(&buyers, SALE))?;
    joined.expect_only(&[AnswerKind::Accepted])?;
    ensure!(joined.count(AnswerKind::Accepted) == u64::from(count), "not every buyer joined");
    let after = sale_server.server().process().resident_at_rest()?;
    let begun = Instant::now();
    sale_server.server().change_phase(SALE, "open")?;
    while sale_server.server().metric("doorbuster_waiting_room_admitted_total", SALE)? == 0 {
        ensure!(begun.elapsed() < ADMITTED_WITHIN, "no buyer was admitted in time");
        std::thread::sleep(Duration::from_millis(10));
    }
    let called = begun.elapsed();
    let reads =
        load.run(&mut DoorRequests::read_position(&buyers, SALE).limited_to(count / LOOKS_PART))?;
    reads.expect_only(&[AnswerKind::Fine])?;
    let drawn = sale_server.server().process().resident_at_rest()?;
    sale_server.close()?;
    let each = |bytes: u64| bytes.saturating_sub(before) as f64 / f64::from(count);
    let note = format!(
        "{count} buyers joined over {ORDER_CONNECTIONS} connections in {:.1} s, p99 {:.0} ms; the \
         first buyers were admitted {:.2} s after the opening; then {} positions were read in \
         {:.1} s, p99 {:.0} ms, and each position took {:.0} B",
        joined.time.as_secs_f64(),
        joined.p99_us() / 1e3,
        called.as_secs_f64(),
        reads.total(),
        reads.time.as_secs_f64(),
        reads.p99_us() / 1e3,
        each(drawn)
    );
    Ok(Figure::new("R6", "", PLACE).with_value(each(after), "B").note(note))
}
