//! Kills a server at each named failpoint (`doorbuster_base::failpoint`) during a sale with
//! payments of every kind. The restarted server or another node continues. At the end, the test
//! checks every record.
//!
//! Environment variables:
//! - `DOORBUSTER_FAILPOINTS` names the failpoints, separated by commas [default: all].
//! - `DOORBUSTER_FAILPOINT_ROUNDS` sets the number of rounds [default: 1]. In round 3, the server
//!   dies when it passes the point for the third time.
//! - `DOORBUSTER_FAILPOINTS_SHARED=all` runs all points on PostgreSQL too, which takes some
//!   minutes.

mod broker;
mod erased_buyer;
mod judge;
pub mod receiver;
mod retrying_client;
mod reversals;
mod scenarios;
mod store_access;
mod waitlist;

use std::os::unix::process::ExitStatusExt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use doorbuster_base::failpoint::{Failpoint, SETTING};
use doorbuster_harness::cluster::{ClusterDir, Postgres};
use doorbuster_testkit::tool;
use serde_json::json;

use crate::crash_windows::fixture::ServerFixture;
use crate::kill::number;
use crate::test_server::TempDir;
use receiver::WebhookReceiver;
use retrying_client::RetryingClient;
use store_access::StoreAccess;

/// The number of deployments that run at the same time with SQLite. The number with PostgreSQL is
/// lower, because with more deployments, a node might not get a connection in time.
const AT_ONCE: usize = 10;
const SHARED_AT_ONCE: usize = 5;
/// The webhook secret of the sandbox provider. With this secret, tests sign messages in place of
/// the provider.
const MESSAGE_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// The largest number of sales for one failpoint. If no server is killed, the test starts another
/// sale. There are two possible causes. With PostgreSQL, perhaps only the second node, which has no
/// failpoint, passes the point. On a busy machine, perhaps the sale does not need the step. For
/// example, enough units for a late payment are free already.
const SALES: u32 = 6;
/// Longest time for a sale whose server is killed and started again, even on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(480);

/// If a sale takes longer than this, the test prints what the sale waits for.
const LATE: Duration = Duration::from_secs(40);

/// If this environment variable is `all`, the test runs every failpoint on PostgreSQL as well.
const EVERY_SHARED: &str = "DOORBUSTER_FAILPOINTS_SHARED";
/// The test also runs these points on PostgreSQL, because they involve another node, or a store in
/// another process. If five sales run at the same time, each point takes 25 seconds.
const SHARED: [Failpoint; 14] = [
    Failpoint::Committed,
    Failpoint::SettleCommitted,
    Failpoint::CheckoutAsked,
    Failpoint::MessageTaken,
    Failpoint::RefundAsked,
    Failpoint::ReconcileCaptured,
    Failpoint::ReconcileClosed,
    Failpoint::ExpiryDone,
    Failpoint::OrderRefunded,
    Failpoint::OutboxSequenced,
    Failpoint::OutboxSent,
    Failpoint::OutboxNoted,
    Failpoint::OutboxAdvanced,
    Failpoint::OutboxDead,
];

fn shared() -> Vec<Failpoint> {
    match std::env::var(EVERY_SHARED).as_deref() {
        Ok("all") => Failpoint::ALL.to_vec(),
        Ok(other) => panic!("{EVERY_SHARED} must be `all` or unset, but is {other:?}"),
        Err(_) => SHARED.to_vec(),
    }
}

#[test]
fn a_server_may_die_between_any_two_steps() {
    kill_at_each(&Failpoint::ALL, AT_ONCE, |_| StoreAccess::Directory);
}

#[test]
fn a_node_may_die_between_any_two_steps_and_another_goes_on() {
    tool::program("postgres");
    let temp_dir = TempDir::new();
    let place = ClusterDir::create(&temp_dir.join("postgres")).expect("a new directory");
    let postgres = Postgres::create(&place, true).expect("PostgreSQL starts");
    kill_at_each(&shared(), SHARED_AT_ONCE, |name| StoreAccess::database(&postgres, name));
}

fn kill_at_each(
    points: &[Failpoint],
    at_once: usize,
    store_access: impl Fn(&str) -> StoreAccess + Sync,
) {
    in_each_round(points, at_once, |name, passing| {
        let sales = if passing > 1 { 1 } else { SALES };
        (1..=sales).any(|n| {
            let store_access = store_access(&format!("{name}_{passing}_{n}"));
            life(sale(&format!("{name}:{passing}"), store_access))
        })
    });
}

/// Calls `dies` for each point in each round, on `at_once` threads. `dies` runs a sale and returns
/// whether a server was killed at the point.
fn in_each_round(points: &[Failpoint], at_once: usize, dies: impl Fn(&str, u64) -> bool + Sync) {
    let rounds = number("DOORBUSTER_FAILPOINT_ROUNDS").unwrap_or(1);
    let only = std::env::var("DOORBUSTER_FAILPOINTS").ok();
    let is_wanted = |point: &Failpoint| {
        only.as_ref().is_none_or(|only| only.split(',').any(|name| name == point.as_str()))
    };
    let mut waiting: Vec<(Failpoint, u64)> = (1..=rounds)
        .flat_map(|round| points.iter().copied().filter(is_wanted).map(move |point| (point, round)))
        .collect();
    waiting.reverse();
    let (waiting, wrong) = (Mutex::new(waiting), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some((point, passing)) = next(&waiting) {
                    let name = point.as_str();
                    let begun = Instant::now();
                    let one = std::thread::Builder::new().name(format!("{name}:{passing}"));
                    let one_life = || dies(name, passing);
                    let died = std::thread::scope(|scope| {
                        one.spawn_scoped(scope, one_life).expect("a thread starts").join()
                    });
                    match died {
                        Ok(false) if passing == 1 => {
                            println!("no server reached the point {name}");
                            wrong
                                .lock()
                                .expect("no thread panics with the lock")
                                .push(format!("{name}:{passing}"));
                        }
                        Ok(died) => {
                            println!(
                                "{name}:{passing}: killed: {died}, after {:?}",
                                begun.elapsed()
                            )
                        }
                        // The panic has already printed the failure, and the thread's name, which
                        // contains the failpoint's name.
                        Err(_) => wrong
                            .lock()
                            .expect("no thread panics with the lock")
                            .push(format!("{name}:{passing}")),
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no thread panics with the lock");
    assert!(wrong.is_empty(), "these points failed or were not reached: {}", wrong.join(", "));
}

fn next(waiting: &Mutex<Vec<(Failpoint, u64)>>) -> Option<(Failpoint, u64)> {
    waiting.lock().expect("no thread panics with the lock").pop()
}

/// Runs the sale. Returns whether the server was killed at the point.
fn life(sale: impl Future<Output = bool>) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(sale)
}

/// Returns the settings of a server without a failpoint.
fn settings(store_access: &StoreAccess) -> Vec<(&str, &str)> {
    let mut settings = store_access.settings();
    settings.push(("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true"));
    // A refused event becomes a dead letter after the second attempt.
    settings.push(("DOORBUSTER_WEBHOOKS__TRIES", "2"));
    settings.push(("DOORBUSTER_PAYMENT__WEBHOOK_SECRET", MESSAGE_SECRET));
    settings
}

async fn sale(armed: &str, store_access: StoreAccess) -> bool {
    let receiver = WebhookReceiver::open().await;
    let mut fixture =
        ServerFixture::with(&[&settings(&store_access)[..], &[(SETTING, armed)]].concat());
    let retrying_client = RetryingClient::new(fixture.address);
    // The hold of the phone is long. The hold of the watch ends before a late payment. The ring has
    // only one unit, which two buyers want.
    let items =
        [("phone", 50, 5, 300), ("watch", 50, 5, 2), ("ring", 1, 1, 2), (waitlist::ITEM, 3, 1, 4)];
    fixture.open_sale("spring", &items).await;
    let (at, of, outcomes) = (retrying_client.clone(), store_access.clone(), receiver.clone());
    let dir = fixture.data_dir().to_owned();
    let selling = tokio::spawn(async move {
        let endpoint = json!({"url": outcomes.url(), "types": ["*"]});
        // If the answer to the first request is lost, the repeated request creates a second
        // endpoint with the same URL. The second endpoint gets every event too.
        let made = at.operate("POST", "/v1/admin/webhook-endpoints", Some(&endpoint)).await;
        assert_eq!(made.status, 201, "{made}");
        let books = scenarios::all(&at).await;
        judge::until_settled(&at, &of, &dir, &outcomes).await;
        books
    });
    let (mut died, mut second, begun, mut told_late) = (false, None, Instant::now(), false);
    while !selling.is_finished() {
        if begun.elapsed() > LATE && !std::mem::replace(&mut told_late, true) {
            let log =
                second.as_ref().map_or_else(|| fixture.stderr_text(), ServerFixture::stderr_text);
            println!("{armed}: still waiting: {}\n{log}", retrying_client.waiting());
        }
        assert!(
            begun.elapsed() < TIMEOUT,
            "the sale did not finish in time: {}\n{}",
            retrying_client.waiting(),
            fixture.stderr_text()
        );
        let status = fixture.end().filter(|_| !died);
        if let Some(status) = status {
            assert_eq!(
                status.signal(),
                Some(9),
                "the server ended by itself ({status}): {}",
                fixture.stderr_text()
            );
            died = true;
        }
        if store_access.is_shared() {
            // The second node starts after the first node has delivered an event or was killed.
            if second.is_none() && (died || !receiver.received().is_empty()) {
                let of = store_access.clone();
                let starting =
                    tokio::task::spawn_blocking(move || ServerFixture::with(&settings(&of)));
                second = Some(starting.await.expect("it starts"));
            }
        } else if status.is_some() {
            fixture.unset_setting(SETTING);
            fixture.restart();
        }
        if died {
            retrying_client
                .moves_to(second.as_ref().map_or(fixture.address, |second| second.address));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let books = selling.await.unwrap_or_else(|error| panic!("{error}: {}", fixture.stderr_text()));
    let left = if died { second.unwrap_or(fixture) } else { fixture };
    judge::check(&left, &retrying_client, &store_access, &receiver, &books).await;
    died
}
