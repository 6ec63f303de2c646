//! scratch
use doorbuster_core::*;
use doorbuster_store::*;
use std::sync::Arc;
use std::time::Instant;
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let n: usize = std::env::args().nth(1).map_or(100_000, |s| s.parse().unwrap());
    let bs: usize = std::env::args().nth(2).map_or(500, |s| s.parse().unwrap());
    let inflight: usize = std::env::args().nth(3).map_or(1, |s| s.parse().unwrap());
    let dir = std::path::PathBuf::from(format!("/tmp/scratch-{}", std::process::id()));
    let groups = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let g2 = groups.clone();
    let key = IdKey::new([7; 32]);
    let clock = || Millis(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64);
    let store = Store::open_sqlite(SqliteOptions { dir: dir.clone(), id_key: key.clone(), clock: Arc::new(clock), sink: Arc::new(move |_| { g2.fetch_add(1, std::sync::atomic::Ordering::Relaxed); }), on_fatal: Arc::new(|e| eprintln!("FATAL {e}")) }).unwrap();
    let sale = store.create_sale(NewSale { id: "s".into(), title: "t".into(), starts_at: None, ends_at: None, front_door: "{}".into(), items: vec![NewItem { name: "i".into(), title: "t".into(), description: "".into(), image: None, price_minor: 1, currency: "CNY".into(), list_price_minor: None, limit: 1, hold_ms: 900_000, stock: Stock::Counted(1_000_000) }] }).await.unwrap().unwrap();
    let item = sale.items[0].id;
    let g = store.open_grant(SlotKey { item, index: 0 }, GrantId(rand::random::<u64>() >> 1), 1_000_000).await.unwrap().unwrap();
    let tickets: Vec<Arc<Ticket>> = (0..n).map(|i| Arc::new(Ticket { token: Token(rand::random::<u64>() >> 16), grant: g.id, n: TicketN(i as u64 + 1), item, buyer: BuyerId::new(&format!("buyer-{:08}", rand::random::<u32>())).unwrap(), key: RequestKey::new(&format!("{:032x}", rand::random::<u128>())).unwrap(), units: Units::new(1).unwrap(), decide_by: clock().plus(60_000), node: NodeId(0) })).collect();
    let cpu = || { let s = std::fs::read_to_string("/proc/self/stat").unwrap(); let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect(); (f[11].parse::<f64>().unwrap() * 10.0, f[12].parse::<f64>().unwrap() * 10.0) };
    let c0 = cpu();
    let t0 = Instant::now();
    let mut lat = vec![];
    let mut q = std::collections::VecDeque::new();
    let mut ok = 0;
    for chunk in tickets.chunks(bs) {
        let (s, c, t) = (store.clone(), chunk.to_vec(), Instant::now());
        q.push_back((t, tokio::spawn(async move { s.settle(c).await.unwrap() })));
        if q.len() >= inflight { let (t, h) = q.pop_front().unwrap(); ok += h.await.unwrap().iter().filter(|r| r.verdict == Verdict::Reserved).count(); lat.push(t.elapsed().as_micros()); }
    }
    while let Some((t, h)) = q.pop_front() { ok += h.await.unwrap().iter().filter(|r| r.verdict == Verdict::Reserved).count(); lat.push(t.elapsed().as_micros()); }
    let e = t0.elapsed(); let c1 = cpu();
    lat.sort();
    println!("n {n} batch {bs} x{inflight}: {:.0}/s, {:.2} us/order wall, cpu user {:.2} sys {:.2} us/order; groups {}; batch p50 {} p99 {} max {} us; ok {ok}", n as f64 / e.as_secs_f64(), e.as_micros() as f64 / n as f64, (c1.0 - c0.0) * 1e3 / n as f64, (c1.1 - c0.1) * 1e3 / n as f64, groups.load(std::sync::atomic::Ordering::Relaxed), lat[lat.len() / 2], lat[lat.len() * 99 / 100], lat[lat.len() - 1]);
    println!("{:?}", store.counts(None).await.unwrap());
    let t = Instant::now(); println!("check {:?} {:?}", store.check().await.unwrap().findings, t.elapsed());
    println!("wal {} db {}", std::fs::metadata(dir.join("doorbuster.sqlite3-wal")).unwrap().len(), std::fs::metadata(dir.join("doorbuster.sqlite3")).unwrap().len());
    store.close().await;
    for f in std::fs::read_dir(&dir).unwrap() { let f = f.unwrap(); print!("{:?} {}; ", f.file_name(), f.metadata().unwrap().len()); }
    println!();
    std::fs::remove_dir_all(dir).unwrap();
}
