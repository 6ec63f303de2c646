//! Measures how fast the server answers a few buyers, who buy and read continuously. Each buyer has
//! a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::client::{HttpConnection, PurchaseSpec, request};
use super::fixture::ServerFixture;
use crate::watch::Stopwatch;

/// The maximum number of measurements. If none of them is good enough, the test fails.
pub const TIMES_MAX: usize = 4;

const CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// Connected buyers.
pub struct BuyerProbe {
    connections: Vec<HttpConnection>,
    sale: String,
    waves: AtomicUsize,
}

/// How fast the buyers got answers.
#[derive(Clone, Copy, Debug)]
pub struct ServiceQuality {
    /// The number of answers.
    pub answers: usize,
    /// The number of answers `503`.
    pub later: usize,
    /// The 99th percentile of the answer times.
    pub p99: Duration,
    /// The time from the start to the last answer. Pauses of the disk count too, because the server
    /// gives some answers during these pauses.
    pub span: Duration,
}

impl ServiceQuality {
    /// Returns the number of answers per second.
    pub fn per_sec(&self) -> f64 {
        self.answers as f64 / self.span.as_secs_f64()
    }
}

impl BuyerProbe {
    /// Connects this number of buyers to a sale. The sale must have many units of `phone`, no units
    /// of `gone`, and no limit that the buyers reach.
    pub async fn open(fixture: &ServerFixture, sale: &str, buyers: usize) -> Self {
        let mut connections = Vec::with_capacity(buyers);
        for _ in 0..buyers {
            connections.push(fixture.connect().await);
        }
        Self { connections, sale: sale.into(), waves: AtomicUsize::new(0) }
    }

    /// Lets the buyers buy and read for this long.
    pub async fn measure(&mut self, span: Duration) -> ServiceQuality {
        let wave = self.waves.fetch_add(1, Ordering::Relaxed);
        let stop = Arc::new(AtomicBool::new(false));
        let buyers: Vec<_> = std::mem::take(&mut self.connections)
            .into_iter()
            .enumerate()
            .map(|(index, connection)| {
                tokio::spawn(one(
                    connection,
                    self.sale.clone(),
                    format!("p{wave}-{index}"),
                    stop.clone(),
                ))
            })
            .collect();
        let (begun, first) = (Stopwatch::start(), Instant::now());
        while begun.elapsed() < span {
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
        stop.store(true, Ordering::Relaxed);
        let (mut waits, mut later) = (Vec::new(), 0);
        for buyer in buyers {
            let (connection, mine, refused) = buyer.await.expect("the buyer's task ends");
            self.connections.push(connection);
            waits.extend(mine);
            later += refused;
        }
        let span = first.elapsed();
        waits.sort();
        assert!(waits.len() >= 100, "too few answers: {}", waits.len());
        ServiceQuality { answers: waits.len(), later, p99: waits[waits.len() * 99 / 100], span }
    }

    /// Measures up to [`TIMES_MAX`] times, because a load of other programs may disturb one
    /// measurement. Returns the number of answers in all measurements, and the first result that
    /// `is_well` accepts. If `is_well` accepts none, returns the result with the lowest p99.
    pub async fn measure_until(
        &mut self,
        span: Duration,
        is_well: impl Fn(&ServiceQuality) -> bool,
    ) -> (usize, ServiceQuality) {
        let (mut answers, mut best): (usize, Option<ServiceQuality>) = (0, None);
        for _ in 0..TIMES_MAX {
            let served = self.measure(span).await;
            answers += served.answers;
            best =
                Some(best.map_or(served, |best| if served.p99 < best.p99 { served } else { best }));
            if is_well(&served) {
                return (answers, served);
            }
        }
        (answers, best.expect("at least one measurement"))
    }
}

/// Lets one buyer buy and read until `stop` is set. Returns the connection, the answer times, and
/// the number of `503` answers.
async fn one(
    mut connection: HttpConnection,
    sale: String,
    name: String,
    stop: Arc<AtomicBool>,
) -> (HttpConnection, Vec<Duration>, usize) {
    let look = request("GET", &format!("/v1/sales/{sale}/status"), "", None);
    let spec = PurchaseSpec::new(&name, "k", &sale, 1);
    let gone = spec.clone().item("gone");
    let (mut waits, mut later) = (Vec::new(), 0);
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let ask = match number % 4 {
            0 => spec.key(&format!("k{number}")).bytes(),
            1 => look.clone(),
            // The item is sold out. The server refuses this request without a read of the store, as
            // it refuses most requests of a crowd.
            _ => gone.bytes(),
        };
        let begun = Instant::now();
        let reply = connection.ask(&ask).await.expect("the connection is kept");
        waits.push(begun.elapsed());
        match &*reply.verdict() {
            "200" | "201" | "409 sold_out" => {}
            "503 overloaded" | "503 unavailable" => later += 1,
            other => panic!("{other}: {reply}"),
        }
    }
    (connection, waits, later)
}
