//! Measures tickets per second through one Redis server. Run it by hand, with `--release --
//! --ignored --nocapture`.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use doorbuster_core::slot::TicketAnswer;
use doorbuster_core::{Epoch, GrantId, Token};
use doorbuster_slots::conformance::{request, terms};
use doorbuster_slots::{DequeuedTicket, Slots};
use redis::{AsyncConnectionConfig, Client};

use super::faults::SLOT;
use super::server::{Server, options};

/// Concurrent callers.
const CALLERS: u64 = 512;
const TIME: Duration = Duration::from_secs(3);
const CLASSIC: &str = include_str!("../../../../bench/src/peer/booked.lua");

/// Runs `caller` in many tasks. Each task adds its calls to the counter. Returns the number of
/// calls per second.
async fn rate<F: Future<Output = ()> + Send + 'static>(
    caller: impl Fn(u64, Arc<AtomicU64>) -> F,
) -> f64 {
    let count = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> =
        (0..CALLERS).map(|nth| tokio::spawn(caller(nth, count.clone()))).collect();
    let (start, before) = (Instant::now(), count.load(Ordering::Relaxed));
    tokio::time::sleep(TIME).await;
    let ran = count.load(Ordering::Relaxed) - before;
    let rate = ran as f64 / start.elapsed().as_secs_f64();
    callers.iter().for_each(tokio::task::JoinHandle::abort);
    rate
}

async fn through_slots(url: String, stock: u64) -> f64 {
    let slots = Slots::redis(options(vec![url], "shop")).await.expect("the server can hold slots");
    let epoch = if stock == 0 { 2 } else { 1 };
    slots.init(SLOT, terms(GrantId(epoch), Epoch(epoch), stock)).await.expect("reachable");
    slots.serve(&[SLOT]).expect("one slot");
    let settler = slots.clone();
    let settler = tokio::spawn(async move {
        loop {
            let taken = settler.take(500).await.expect("reachable");
            let done: Vec<_> = taken.iter().map(DequeuedTicket::delivery_ref).collect();
            settler.acknowledge(&done).await.expect("reachable");
        }
    });
    let wanted_cut = stock > 0;
    let rate = rate(move |nth, count| {
        let slots = slots.clone();
        async move {
            for i in 0_u64.. {
                let mut one = request(&format!("b{nth}-{i}"), "k", 1, 9);
                one.token = Token(nth << 32 | i);
                match slots.ticket(SLOT, &one).await.expect("reachable") {
                    TicketAnswer::Issued(_) if wanted_cut => {}
                    TicketAnswer::Short { .. } if !wanted_cut => {}
                    other => panic!("{other:?}"),
                }
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
    .await;
    settler.abort();
    rate
}

/// Measures the usual script of other programs, which is called once for each request. If `shared`
/// is true, all callers share one connection, which writes many commands at once.
async fn bare(url: String, shared: bool) -> f64 {
    let client = Client::open(url).expect("a URL");
    let config = AsyncConnectionConfig::new();
    let connect = async || {
        client.get_multiplexed_async_connection_with_config(&config).await.expect("running")
    };
    let mut one = connect().await;
    redis::cmd("HSET")
        .arg("item")
        .arg(&["Total", "1000000000", "Booked", "0"])
        .exec_async(&mut one)
        .await
        .expect("set");
    let digest: String =
        redis::cmd("SCRIPT").arg("LOAD").arg(CLASSIC).query_async(&mut one).await.expect("loaded");
    let mut connections = Vec::new();
    for _ in 0..CALLERS {
        connections.push(if shared { one.clone() } else { connect().await });
    }
    rate(move |nth, count| {
        let (mut connection, digest) = (connections[nth as usize].clone(), digest.clone());
        async move {
            loop {
                let mut call = redis::cmd("EVALSHA");
                call.arg(&digest).arg(1).arg("item").arg(1);
                let booked: i64 = call.query_async(&mut connection).await.expect("running");
                assert_eq!(booked, 1);
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
    .await
}

/// Returns the processor time that the server has used, in seconds.
fn busy(server: &Server) -> f64 {
    let info: String = server.ask(&["INFO", "cpu"]);
    let of = |name| {
        info.lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|s| s.trim().parse::<f64>().ok())
    };
    of("used_cpu_user:").expect("a number") + of("used_cpu_sys:").expect("a number")
}

#[test]
#[ignore = "measures for twelve seconds, and needs a machine that does nothing else"]
fn tickets_a_second_through_one_server() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let server = Server::start_on_port(&[]);
    let run = |what, future: std::pin::Pin<Box<dyn Future<Output = f64>>>| {
        let before = busy(&server);
        let rate = runtime.block_on(future);
        let each = (busy(&server) - before) / (rate * TIME.as_secs_f64());
        println!(
            "{what}: {rate:.0} calls a second, {:.1} microseconds of processor time per call",
            each * 1e6
        );
    };
    run("classic script, a connection for each caller", Box::pin(bare(server.url(), false)));
    run("classic script, one connection", Box::pin(bare(server.url(), true)));
    run(
        "tickets issued, read and acknowledged",
        Box::pin(through_slots(server.url(), 1_000_000_000)),
    );
    run("refused as short", Box::pin(through_slots(server.url(), 0)));
}
