//! Kills the server at random instants. After about half of the rounds, a power cut discards
//! unsynced data. After the restart, the store must have every confirmed change. Any further change
//! in the store must come from a request that was not answered.
//!
//! `DOORBUSTER_KILL_ROUNDS` sets the number of rounds [default: 20]. `DOORBUSTER_KILL_SEED` sets
//! the seed [default: a new seed each time]. A failed test prints its seed.

mod judge;
mod money;

use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::crash_windows::client::PurchaseSpec;
use crate::crash_windows::faults::MachineFaults;
use crate::crash_windows::fixture::ServerFixture;
use crate::crash_windows::purchase_log::AllowedEvents;
use crate::crash_windows::random_load::{self, RandomLoad};
use crate::test_server::TempDir;
use judge::Judge;

/// The limit for each buyer, in units.
const LIMIT: u32 = 6;
/// The length of a long hold in seconds, which is longer than a round.
const LONG: u32 = 900;
/// The length of a short hold in seconds, which ends during a round.
const SHORT: u32 = 1;
const MORE_ROUNDS: u64 = 5;
/// The number of rounds at the start in which some requests do not wait for their verdicts.
const ROUNDS_WITH_QUEUE: u64 = 2;

pub(crate) fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_at_any_instant_keeps_every_promise() {
    let rounds = number("DOORBUSTER_KILL_ROUNDS").unwrap_or(20);
    let seed = number("DOORBUSTER_KILL_SEED").unwrap_or_else(|| rand::random_range(0..1_000_000));
    println!("DOORBUSTER_KILL_ROUNDS={rounds} DOORBUSTER_KILL_SEED={seed}");
    let mut dice = SmallRng::seed_from_u64(seed);
    let (mut fixture, faults) = MachineFaults::fixture(&[]);
    let mut judge = Judge::new();
    for round in 0..rounds + MORE_ROUNDS {
        // On a slow machine, the rounds give too few answers. So the test adds rounds until it has
        // enough answers.
        if round >= rounds && judge.has_enough_answers() {
            break;
        }
        let sale = format!("s{round}");
        let stock = dice.random_range(40..400);
        let hold_secs = if round % 5 == 3 { SHORT } else { LONG };
        fixture.open_sale(&sale, &[("phone", stock, LIMIT, hold_secs)]).await;
        let allowed = AllowedEvents {
            queue: round < ROUNDS_WITH_QUEUE,
            pause: round % 2 == 1,
            expire: hold_secs < LONG,
        };
        let plan = RandomLoad::new(fixture.address, &sale, seed + round, 16, allowed);
        // The disk is slow in two out of three rounds. In these rounds, more requests are undecided
        // or unanswered when the server is killed.
        faults.slow_disk(Duration::from_millis([0, 25, 5][(round % 3) as usize]));
        let storm = tokio::spawn(random_load::run(plan.clone()));
        tokio::time::sleep(Duration::from_micros(dice.random_range(500..500_000))).await;
        fixture.kill();
        faults.slow_disk(Duration::ZERO);
        let record = storm.await.expect("a load without contradictions");
        let lost = if dice.random_ratio(1, 2) { faults.cut_power(fixture.data_dir()) } else { 0 };
        println!(
            "round {round}: killed after {} answers, {} units, {lost} bytes lost",
            plan.answered.load(Ordering::Relaxed),
            stock
        );
        while dice.random_ratio(1, 3) {
            fixture.restart_and_kill_after(Duration::from_micros(dice.random_range(0..300_000)));
        }
        fixture.restart();
        judge.hear(&fixture, &sale, stock, allowed, record).await;
    }
    judge.verdicts(&fixture).await;
    judge.audit(&fixture).await;
    fixture.ask_to_stop();
    assert_eq!(fixture.wait_for_end(Duration::from_secs(10)), Some(0), "{}", fixture.stderr_text());
}

/// Returns whether the store has an order of this buyer. The server must not run. The function
/// opens a copy of the store, because SQLite would change the files.
fn is_on_disk(fixture: &ServerFixture, buyer: &str) -> bool {
    let copy = TempDir::new();
    for name in ["doorbuster.sqlite3", "doorbuster.sqlite3-wal"] {
        std::fs::copy(fixture.data_dir().join(name), copy.join(name)).expect("the file exists");
    }
    let store = rusqlite::Connection::open(copy.join("doorbuster.sqlite3")).expect("a database");
    let order = "SELECT EXISTS (SELECT 1 FROM orders WHERE buyer = ?1)";
    store.query_row(order, [buyer], |row| row.get(0)).expect("the table of orders")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_committed_order_without_an_answer_is_found_by_its_key() {
    let (mut fixture, faults) = MachineFaults::fixture(&[]);
    fixture.open_sale("spring", &[("phone", 100, 1, 900)]).await;
    let (mut tries, mut found) = (0, 0);
    while found < 5 {
        tries += 1;
        assert!(tries < 20, "only {found} orders were on the disk before the kill");
        let buyer = format!("b{tries}");
        let spec = PurchaseSpec::new(&buyer, "k", "spring", 1);
        let before = faults.syncs();
        // From now on, a sync returns late. So the test can kill the server when the commit is on
        // the disk but the server does not know that yet.
        faults.linger(Duration::from_secs(30));
        let mut connection = fixture.connect().await;
        // With `wait=30`, the server does not answer 202 before the kill, even if the kill comes
        // late.
        connection.send(&spec.with("Prefer: wait=30\r\n")).await.expect("the request is sent");
        fixture
            .until("a commit is on the disk", Duration::from_secs(10), async || {
                (faults.syncs() > before).then_some(())
            })
            .await;
        fixture.kill();
        assert!(connection.reply().await.is_err(), "the server must not answer before the kill");
        faults.linger(Duration::ZERO);
        // The sync may belong to another commit, such as the commit that starts a slot. In this
        // case, the buyer has no order.
        let is_committed = is_on_disk(&fixture, &buyer);
        fixture.restart();
        if !is_committed {
            continue;
        }
        found += 1;
        let again = fixture.buy(&spec).await;
        assert!(again.is_replay(), "{buyer}: the committed order must be found again: {again}");
        assert_eq!(fixture.stock("spring").await.held, found);
        fixture.audit(None).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_during_its_first_start_starts_again() {
    let (mut fixture, faults) = MachineFaults::fixture(&[]);
    fixture.kill();
    for step in 1..=40 {
        fixture.move_to(&format!("data{step}"));
        let before = faults.syncs();
        faults.linger(Duration::from_millis(12));
        let reached = fixture
            .restart_and_kill_when(Duration::from_secs(10), || faults.syncs() >= before + step);
        faults.linger(Duration::ZERO);
        if !reached {
            assert!(
                step > 5,
                "a first start made fewer than {step} syncs; it must make at least 5"
            );
            return;
        }
        fixture.restart();
        fixture.open_sale("spring", &[("phone", 1, 1, 900)]).await;
        assert_eq!(
            fixture.buy(&PurchaseSpec::new("anna", "k", "spring", 1)).await.verdict(),
            "201"
        );
        fixture.kill();
    }
    panic!("a first start made 40 syncs or more");
}
