//! R6: the server's memory for a known buyer (a buyer with an order), a waiting request, an idle
//! WebSocket, a waiting room entry, and an open tab in the waiting room.
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use doorbuster_core::limits::SLOT_REQUESTS_MAX;

use super::sale_server::{self, SaleServer};
use super::{figure_or_invalid, slot};
use crate::config::BenchConfig;
use crate::figure::{Figure, Target};
use crate::limits::{ORDER_CONNECTIONS, SOCKETS, WAITING, WARM_ORDERS};
use crate::sockets;
use doorbuster_harness::generator::buyers::Buyers;
use doorbuster_harness::generator::http::Purchases;
use doorbuster_harness::generator::{AnswerKind, RequestScript};

mod tab;
mod waiting_room;

const BUYER: Target = Target::AtMost { floor: 125.0, goal: 64.0 };
const REQUEST: Target = Target::AtMost { floor: 5.0, goal: 4.0 };
const SOCKET: Target = Target::AtMost { floor: 2.0, goal: 1.0 };
const PLACE: Target = Target::AtMost { floor: 512.0, goal: 256.0 };
const TAB: Target = Target::AtMost { floor: 1024.0, goal: 512.0 };
const KIB: f64 = 1024.0;
/// The number of orders that warm up the server, so that every code path has run. The number is
/// small, because after many orders the process would keep freed memory. The measured connections
/// would then use this freed memory, and the bench would see no growth.
const FEW_ORDERS: u32 = 2_000;
const FEW_CONNECTIONS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures R6.
pub fn measure(config: &BenchConfig, _ids: &[&'static str]) -> Vec<Figure> {
    let rows: [(&str, Target, Result<Figure>); 5] = [
        ("memory for a known buyer", BUYER, known_buyers(config)),
        ("memory for a waiting request", REQUEST, waiting_requests(config)),
        ("memory for an idle WebSocket", SOCKET, idle_sockets(config)),
        ("memory for a waiting room entry", PLACE, waiting_room::places(config)),
        ("memory for an open tab in the waiting room", TAB, tab::open(config)),
    ];
    let name = |(measured, target, figure): (&str, Target, Result<Figure>)| {
        let figure = figure_or_invalid("R6", measured, target, figure);
        Figure { measured: measured.to_owned(), ..figure }
    };
    rows.into_iter().map(name).collect()
}

/// Measures the memory of a buyer with an order. First, other orders fill the caches of bounded
/// size, so that the growth of these caches is not measured.
fn known_buyers(config: &BenchConfig) -> Result<Figure> {
    let mut sale_server = SaleServer::open(config, None, None)?;
    let warm = if config.quick { WARM_ORDERS / 10 } else { WARM_ORDERS };
    order(&mut sale_server, "warm", &sale_server::buyers("warm", warm), ORDER_CONNECTIONS)?;
    let before = sale_server.server().process().resident_at_rest()?;
    let known = config.known_buyers;
    order(&mut sale_server, "known", &sale_server::buyers("known", known), ORDER_CONNECTIONS)?;
    let after = sale_server.server().process().resident_at_rest()?;
    sale_server.close()?;
    let each = after.saturating_sub(before) as f64 / f64::from(known);
    let alone = slot::measure_in_child(known.min(SLOT_REQUESTS_MAX as u32))?;
    let note =
        format!("{known} buyers with one order each; for each buyer, the slot uses {alone:.0} B");
    Ok(Figure::new("R6", "", BUYER).with_value(each, "B").note(note))
}

fn order(
    sale_server: &mut SaleServer,
    sale: &str,
    buyers: &Buyers,
    connections: usize,
) -> Result<()> {
    sale_server.open_plenty(sale)?;
    let mut script = Purchases::each_once(buyers, sale_server::template(buyers, sale, 1, ""), 0);
    let run = sale_server.take_orders(&sale_server.fill_load(connections), &mut script)?;
    ensure!(
        run.count(AnswerKind::Accepted) == u64::from(buyers.count()),
        "not every buyer got an order"
    );
    sale_server.check(sale, &run)
}

/// Measures the memory of a waiting request. The requests wait because this function holds the
/// store's write lock.
fn waiting_requests(config: &BenchConfig) -> Result<Figure> {
    let mut sale_server = SaleServer::open(config, None, None)?;
    order(&mut sale_server, "warm", &sale_server::buyers("warm", FEW_ORDERS), FEW_CONNECTIONS)?;
    sale_server.open_plenty("spring")?;
    let before = sale_server.server().process().resident_at_rest()?;
    let buyers = sale_server::buyers("waiting", WAITING as u32);
    let mut streams = connect(sale_server.addr(), WAITING)?;
    let mut script = Purchases::each_once(
        &buyers,
        sale_server::template(&buyers, "spring", 1, "Prefer: wait=30\r\n"),
        0,
    );
    let lock = rusqlite::Connection::open(sale_server.server().store_file()?)?;
    lock.execute_batch("BEGIN IMMEDIATE")?;
    let mut request = Vec::new();
    for stream in &mut streams {
        request.clear();
        script.next(&mut request);
        stream.write_all(&request)?;
    }
    let waiting = stable_memory(&sale_server)?;
    let answered = streams.iter().filter(|stream| has_answer(stream)).count();
    lock.execute_batch("ROLLBACK")?;
    let mut accepted = 0;
    for stream in &mut streams {
        accepted += u64::from(read_answer(stream, &mut script)? == AnswerKind::Accepted);
    }
    let idle = sale_server.server().process().resident_at_rest()?;
    ensure!(answered == 0, "{answered} requests did not wait");
    ensure!(accepted == WAITING as u64, "{accepted} of {WAITING} waiting requests became orders");
    sale_server.server().check_stock("spring", accepted..=accepted)?;
    let each = |bytes: u64| bytes.saturating_sub(before) as f64 / WAITING as f64 / KIB;
    let note = format!(
        "{WAITING} requests, each on its own connection, waited while the store could not \
         commit; after the answer, an idle connection needs {:.1} KiB",
        each(idle)
    );
    Ok(Figure::new("R6", "", REQUEST).with_value(each(waiting), "KiB").note(note))
}

/// Waits until the server's resident memory no longer changes, but at most 3 seconds. Returns the
/// size of this memory in bytes.
fn stable_memory(sale_server: &SaleServer) -> Result<u64> {
    let mut before = 0;
    for _ in 0..12 {
        std::thread::sleep(Duration::from_millis(250));
        let now = sale_server.server().process().resident()?;
        if now == before {
            return Ok(now);
        }
        before = now;
    }
    Ok(before)
}

fn connect(addr: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    let one = |number| {
        let stream =
            TcpStream::connect(addr).with_context(|| format!("cannot open connection {number}"))?;
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

fn read_answer(stream: &mut TcpStream, script: &mut impl RequestScript) -> Result<AnswerKind> {
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

/// Measures the memory of an idle WebSocket that has received its first event.
fn idle_sockets(config: &BenchConfig) -> Result<Figure> {
    let mut sale_server = SaleServer::open(config, None, None)?;
    order(&mut sale_server, "warm", &sale_server::buyers("warm", FEW_ORDERS), FEW_CONNECTIONS)?;
    let count = if config.quick { SOCKETS / 10 } else { SOCKETS };
    let buyers = sale_server::buyers("reader", count as u32);
    let before = sale_server.server().process().resident_at_rest()?;
    let mut streams = connect(sale_server.addr(), count)?;
    for (number, stream) in streams.iter_mut().enumerate() {
        sockets::follow_sale(stream, "warm", &buyers.token(number as u32))
            .with_context(|| format!("socket {number} failed"))?;
    }
    let after = sale_server.server().process().resident_at_rest()?;
    drop(streams);
    sale_server.close()?;
    let each = after.saturating_sub(before) as f64 / count as f64 / KIB;
    Ok(Figure::new("R6", "", SOCKET)
        .with_value(each, "KiB")
        .note(format!("{count} sockets, each after its first event")))
}
