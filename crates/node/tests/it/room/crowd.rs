//! Measures memory and answer times with one hundred thousand buyers in one waiting room.

use std::time::Instant;

use super::{announce, draw, drawn, is, until};
use crate::app::TestApp;

/// Returns the resident memory of this process in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 =
        statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4_096
}

/// Sends one request for each buyer on one connection. Returns the durations in microseconds.
async fn each(
    app: &TestApp,
    method: &str,
    buyers: impl Iterator<Item = usize>,
    wanted: u16,
) -> Vec<u64> {
    let mut connection = app.connect().await;
    let mut took = Vec::new();
    for buyer in buyers {
        let bearer = crate::app::bearer(&format!("buyer-{buyer}"));
        let request = crate::http::request(
            method,
            "/v1/sales/spring/waiting-room",
            &[("Authorization", &bearer)],
            b"",
        );
        let begun = Instant::now();
        connection.send(&request).await;
        let reply = connection.reply(false).await.expect("an answer");
        took.push(u64::try_from(begun.elapsed().as_micros()).expect("short"));
        assert_eq!(reply.status, wanted, "{}", reply.text());
    }
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement with 100,000 positions on one node"]
async fn a_hundred_thousand_buyers_wait_on_one_node() {
    const WAITING: usize = 100_000;
    const CONNECTIONS: usize = 200;
    let app = TestApp::start().await;
    announce(&app, 50.into(), 1).await;
    each(&app, "POST", 0..1, 201).await;
    let before = resident();
    let begun = Instant::now();
    let crowd =
        (0..CONNECTIONS).map(|at| each(&app, "POST", (1 + at..WAITING).step_by(CONNECTIONS), 201));
    let mut took: Vec<u64> = futures_util::future::join_all(crowd).await.concat();
    let (entering, after) = (begun.elapsed(), resident());
    took.sort_unstable();
    println!("{WAITING} buyers entered in {entering:?}, p99 {} µs", took[took.len() * 99 / 100]);
    let each_bytes = after.saturating_sub(before) / WAITING as u64;
    println!("this process uses {each_bytes} bytes for each position");
    let begun = Instant::now();
    app.step("spring", "open").await;
    let seed = draw(&app).await["seed"].as_str().expect("the seed is published").to_owned();
    let first =
        drawn(&seed, &(0..WAITING).map(|n| format!("buyer-{n}")).collect::<Vec<_>>()).remove(0);
    until(&app, &first, "the buyer is admitted", is("admitted")).await;
    println!("the draw and the first admissions took {:?}", begun.elapsed());
    let begun = Instant::now();
    let crowd =
        (0..CONNECTIONS).map(|at| each(&app, "GET", (at..20_000).step_by(CONNECTIONS), 200));
    let mut took: Vec<u64> = futures_util::future::join_all(crowd).await.concat();
    took.sort_unstable();
    println!("20,000 reads took {:?}, p99 {} µs", begun.elapsed(), took[took.len() * 99 / 100]);
    println!(
        "this process uses {} bytes for each position after the draw",
        resident().saturating_sub(before) / WAITING as u64
    );
    assert!(each_bytes < 1_024);
}
