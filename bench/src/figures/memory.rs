//! R6: what the server keeps in memory for a buyer that it knows, for a request that waits, for an idle WebSocket, for a place in the waiting room, and for a tab
//! left open there.
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use doorbuster_core::limits::SLOT_REQUESTS_MAX;

use super::shop::{self, Shop};
use super::{or_invalid, slot};
use crate::buyers::Buyers;
use crate::figure::{Figure, Target};
use crate::limits::{ORDER_CONNECTIONS, SOCKETS, WAITING, WARM_ORDERS};
use crate::load::http::Purchases;
use crate::load::{Kind, Script};
use crate::setting::Setting;
use crate::sockets;

mod room;
mod tab;

const BUYER: Target = Target::AtMost { floor: 200.0, goal: 100.0 };
const REQUEST: Target = Target::AtMost { floor: 8.0, goal: 4.0 };
const SOCKET: Target = Target::AtMost { floor: 20.0, goal: 10.0 };
const PLACE: Target = Target::AtMost { floor: 1024.0, goal: 512.0 };
const TAB: Target = Target::AtMost { floor: 1024.0, goal: 1024.0 };
const KIB: f64 = 1024.0;
/// Enough to have walked every path once, and too few to leave memory behind that connections could use.
const FEW_ORDERS: u32 = 2_000;
const FEW_CONNECTIONS: usize = 4;
/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures R6.
pub fn measure(setting: &Setting, _ids: &[&'static str]) -> Vec<Figure> {
    let rows: [(&str, Target, Result<Figure>); 5] = [
        ("memory for a known buyer", BUYER, known_buyers(setting)),
        ("memory for a waiting request", REQUEST, waiting_requests(setting)),
        ("memory for an idle WebSocket", SOCKET, idle_sockets(setting)),
        ("memory for a place in the waiting room", PLACE, room::places(setting)),
        ("memory for a tab left open in the waiting room", TAB, tab::open(setting)),
    ];
    let name = |(measured, target, figure): (&str, Target, Result<Figure>)| {
        let figure = or_invalid("R6", measured, target, figure);
        Figure { measured: measured.to_owned(), ..figure }
    };
    rows.into_iter().map(name).collect()
}

/// Growth by the orders of many buyers, once the caches of bounded size are full.
fn known_buyers(setting: &Setting) -> Result<Figure> {
    let mut shop = Shop::open(setting, None, None)?;
    let warm = if setting.quick { WARM_ORDERS / 10 } else { WARM_ORDERS };
    order(&mut shop, "warm", &shop::buyers("warm", warm), ORDER_CONNECTIONS)?;
    let before = shop.server().process().resident_at_rest()?;
    let known = setting.known_buyers;
    order(&mut shop, "known", &shop::buyers("known", known), ORDER_CONNECTIONS)?;
    let after = shop.server().process().resident_at_rest()?;
    shop.close()?;
    let each = after.saturating_sub(before) as f64 / f64::from(known);
    let alone = slot::measured_apart(known.min(SLOT_REQUESTS_MAX as u32))?;
    let note =
        format!("{known} buyers with one order each; the slot by itself keeps {alone:.0} B of it");
    Ok(Figure::new("R6", "", BUYER).plain(each, "B").note(note))
}

fn order(shop: &mut Shop, sale: &str, buyers: &Buyers, connections: usize) -> Result<()> {
    shop.open_plenty(sale)?;
    let mut script = Purchases::each_once(buyers, shop::template(buyers, sale, 1, ""), 0);
    let run = shop.take_orders(&shop.fill(connections), &mut script)?;
    ensure!(run.count(Kind::Accepted) == u64::from(buyers.count()), "not every buyer got an order");
    shop.check(sale, &run)
}

/// Growth by requests whose verdict is kept from coming: a transaction of ours holds the store's lock meanwhile.
fn waiting_requests(setting: &Setting) -> Result<Figure> {
    let mut shop = Shop::open(setting, None, None)?;
    order(&mut shop, "warm", &shop::buyers("warm", FEW_ORDERS), FEW_CONNECTIONS)?;
    shop.open_plenty("spring")?;
    let before = shop.server().process().resident_at_rest()?;
    let buyers = shop::buyers("waiting", WAITING as u32);
    let mut streams = connect(shop.addr(), WAITING)?;
    let mut script = Purchases::each_once(
        &buyers,
        shop::template(&buyers, "spring", 1, "Prefer: wait=30\r\n"),
        0,
    );
    let lock = rusqlite::Connection::open(shop.server().store_file()?)?;
    lock.execute_batch("BEGIN IMMEDIATE")?;
    let mut request = Vec::new();
    for stream in &mut streams {
        request.clear();
        script.next(&mut request);
        stream.write_all(&request)?;
    }
    let waiting = settled(&shop)?;
    let answered = streams.iter().filter(|stream| has_answer(stream)).count();
    lock.execute_batch("ROLLBACK")?;
    let mut accepted = 0;
    for stream in &mut streams {
        accepted += u64::from(hear(stream, &mut script)? == Kind::Accepted);
    }
    let idle = shop.server().process().resident_at_rest()?;
    ensure!(answered == 0, "{answered} requests did not wait");
    ensure!(accepted == WAITING as u64, "{accepted} of {WAITING} waiting requests became orders");
    shop.server().check_stock("spring", accepted..=accepted)?;
    let each = |bytes: u64| bytes.saturating_sub(before) as f64 / WAITING as f64 / KIB;
    let note = format!(
        "{WAITING} requests, each with its connection, while the store was kept from committing; afterwards, idle, a connection keeps {:.1} KiB",
        each(idle)
    );
    Ok(Figure::new("R6", "", REQUEST).plain(each(waiting), "KiB").note(note))
}

/// Resident memory once it no longer grows.
fn settled(shop: &Shop) -> Result<u64> {
    let mut before = 0;
    for _ in 0..12 {
        std::thread::sleep(Duration::from_millis(250));
        let now = shop.server().process().resident()?;
        if now == before {
            return Ok(now);
        }
        before = now;
    }
    Ok(before)
}

fn connect(addr: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    let one = |number| {
        let stream = TcpStream::connect(addr).with_context(|| format!("connection {number}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    };
    (0..count).map(one).collect()
}

fn has_answer(stream: &TcpStream) -> bool {
    let looked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
    let blocked = looked.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    stream.set_nonblocking(false).is_err() || !blocked
}

fn hear(stream: &mut TcpStream, script: &mut impl Script) -> Result<Kind> {
    let mut inbox = vec![0; 16 * 1024];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut inbox[filled..])?;
        ensure!(read > 0, "a connection was closed before its answer");
        filled += read;
        if let Some(kind) = script.read(&inbox[..filled])? {
            return Ok(kind);
        }
    }
}

/// Growth by WebSockets that have been greeted and then hear nothing.
fn idle_sockets(setting: &Setting) -> Result<Figure> {
    let mut shop = Shop::open(setting, None, None)?;
    order(&mut shop, "warm", &shop::buyers("warm", FEW_ORDERS), FEW_CONNECTIONS)?;
    let count = if setting.quick { SOCKETS / 10 } else { SOCKETS };
    let buyers = shop::buyers("reader", count as u32);
    let before = shop.server().process().resident_at_rest()?;
    let mut streams = connect(shop.addr(), count)?;
    for (number, stream) in streams.iter_mut().enumerate() {
        sockets::greet(stream, "warm", &buyers.token(number as u32))
            .with_context(|| format!("socket {number}"))?;
    }
    let after = shop.server().process().resident_at_rest()?;
    drop(streams);
    shop.close()?;
    let each = after.saturating_sub(before) as f64 / count as f64 / KIB;
    Ok(Figure::new("R6", "", SOCKET)
        .plain(each, "KiB")
        .note(format!("{count} sockets, each greeted")))
}
