//! Tests the failover of PostgreSQL to a standby. With a synchronous standby, no confirmed order is
//! lost. With an asynchronous standby, lost orders are reported. The old primary is never used
//! again.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use doorbuster_core::sale::PhaseStep;
use doorbuster_core::{Grant, Millis, Phase, Stock, TicketId};
use doorbuster_store::conformance::{Clock, CommitLog, Fixture, new_item, new_sale};
use doorbuster_store::{HistoryCause, KnownHistories, NewSale, PausedSale, PostgresOptions, Store};

use crate::cluster::Cluster;
use crate::faults::{AGAIN_WITHIN, batches, settle};
use crate::fixture::postgres_options;
use crate::nodes::wait;

mod events;
mod unconfirmed;

const STANDBY: &str = "standby_a";

/// A primary, its standby, and a database on both.
struct Pair {
    primary: Cluster,
    standby: Cluster,
    database: String,
}

impl Pair {
    async fn start() -> Self {
        tokio::task::block_in_place(|| {
            let primary = Cluster::start(&[]);
            let database = primary.database();
            let standby = primary.start_standby(STANDBY);
            let pair = Self { primary, standby, database };
            pair.wait_for_standby();
            pair
        })
    }

    fn url(&self) -> String {
        self.primary.url_of_either(&self.standby, &self.database)
    }

    fn make_synchronous(&self) {
        let set = format!("ALTER SYSTEM SET synchronous_standby_names = '{STANDBY}'");
        self.primary.psql("postgres", &set).expect("a setting");
        self.primary.psql("postgres", "SELECT pg_reload_conf()").expect("reloads");
        let state = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        wait_until("the standby is synchronous", || {
            self.primary.psql("postgres", state).unwrap().trim() == "1"
        });
    }

    fn wait_for_standby(&self) {
        let sql = "SELECT count(*) FROM pg_stat_replication
                   WHERE replay_lsn >= pg_current_wal_lsn()";
        wait_until("the standby is up to date", || {
            self.primary.psql("postgres", sql).is_ok_and(|count| count.trim() == "1")
        });
    }

    fn cut_replication(&self) {
        self.standby.psql("postgres", "ALTER SYSTEM SET primary_conninfo = ''").expect("a setting");
        self.standby.psql("postgres", "SELECT pg_reload_conf()").expect("reloads");
        let senders = "SELECT count(*) FROM pg_stat_replication";
        wait_until("the standby is disconnected", || {
            self.primary.psql("postgres", senders).unwrap().trim() == "0"
        });
    }

    fn promote_standby(&self) {
        let promoted = self.standby.psql("postgres", "SELECT pg_promote()").expect("promotes");
        assert_eq!(promoted.trim(), "t");
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < AGAIN_WITHIN, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn options(url: &str, node: u32, history: KnownHistories) -> (PostgresOptions, Clock, CommitLog) {
    let (clock, commits) = (Clock::new(), CommitLog::default());
    let options = PostgresOptions { history, ..postgres_options(url, node, &clock, &commits) };
    (options, clock, commits)
}

async fn open(url: &str, node: u32, history: KnownHistories) -> Result<Fixture, String> {
    let (options, clock, commits) = options(url, node, history);
    let store = Store::open_postgres(options).await.map_err(|error| error.to_string())?;
    store.bind_key().await.map_err(|error| error.to_string())?;
    Ok(Fixture { store, clock, commits })
}

async fn settle_all(
    fixture: &Fixture,
    batches: &[Vec<Arc<doorbuster_core::Ticket>>],
) -> BTreeSet<TicketId> {
    let mut promised = BTreeSet::new();
    for batch in batches {
        promised.extend(settle(&fixture.store, batch).await);
    }
    promised
}

async fn open_sale(fixture: &Fixture) -> Grant {
    fixture.slot(1_000, 1_000, 5).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_synchronous_standby_takes_over_without_a_loss_and_the_old_primary_is_refused() {
    let pair = Pair::start().await;
    tokio::task::block_in_place(|| pair.make_synchronous());
    let fixture = open(&pair.url(), 1, KnownHistories::default()).await.expect("opens");
    let grant = open_sale(&fixture).await;
    let replication = fixture.store.replication().await.expect("reads").expect("a database");
    assert!(replication.is_synchronous() && !replication.lacks_standbys(), "{replication:?}");
    let all = batches(&fixture, &grant, 6, 10);
    let mut promised = settle_all(&fixture, &all[..3]).await;
    tokio::task::block_in_place(|| {
        pair.primary.crash();
        pair.promote_standby();
    });
    promised.extend(settle_all(&fixture, &all[3..]).await);
    assert_eq!(promised.len(), 60);
    // The node cannot know whether the new primary has every order. So it must publish a commit
    // that says that orders may be lost.
    wait(&fixture, AGAIN_WITHIN, |all| {
        all.iter().any(|commit| commit.may_lose_orders && commit.sales)
    })
    .await;
    let reaction = fixture.store.react_to_history().await.expect("reacts");
    assert_eq!(
        (reaction.paused.len(), reaction.lost),
        (0, None),
        "a failover that loses nothing must not pause sales or report orders"
    );
    let history = fixture.store.store_history().await.expect("reads");
    assert_eq!(
        history.iter().map(|row| (row.fence, row.cause)).collect::<Vec<_>>(),
        [(2, HistoryCause::Promoted), (1, HistoryCause::Created)]
    );
    let known = fixture.store.database().expect("a database");
    assert_eq!((known.fence, known.timeline), (2, 2));

    // The old primary starts again. It is the first host in the connection string.
    tokio::task::block_in_place(|| pair.primary.restart());
    let refused = pair.primary.url(&pair.database);
    let memory = KnownHistories::default();
    memory.learn_from_peer(known.clone());
    let refused = open(&refused, 2, memory).await.err().expect("refused");
    for part in ["older history (fence 1, timeline 1)", "(fence 2, timeline 2)", "old primary"] {
        assert!(refused.contains(part), "{refused}");
    }
    // This new node knows no history. It compares the histories of both servers, and must use the
    // new primary.
    let other = open(&pair.url(), 3, KnownHistories::default()).await.expect("opens");
    assert_eq!(other.store.database(), Some(known));
    other.store.close().await;
    // The first node loses its connections. When it connects again, it must not use the old
    // primary.
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
    tokio::task::block_in_place(|| pair.standby.psql(&pair.database, kill)).expect("kills");
    let more: Vec<_> = (100..110).map(|n| fixture.ticket(&grant, n, "late", "k", 1)).collect();
    let _ = fixture.store.settle(more).await;
    let orders = "SELECT count(*) FROM orders";
    let old = tokio::task::block_in_place(|| pair.primary.psql(&pair.database, orders));
    assert_eq!(old.expect("reads").trim(), "30", "the old primary must not get an order");
    fixture.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn orders_that_an_asynchronous_standby_lacks_are_named_and_sales_are_paused() {
    let pair = Pair::start().await;
    let fixture = open(&pair.url(), 1, KnownHistories::default()).await.expect("opens");
    let grant = open_sale(&fixture).await;
    let all = batches(&fixture, &grant, 2, 10);
    settle_all(&fixture, &all[..1]).await;
    tokio::task::block_in_place(|| {
        pair.wait_for_standby();
        pair.cut_replication();
    });
    let lost = settle_all(&fixture, &all[1..]).await;
    tokio::task::block_in_place(|| {
        pair.primary.crash();
        pair.promote_standby();
    });
    let mut changes = fixture.store.history_changes().expect("a database");
    let seen = changes.wait_for(|fence| *fence == 2);
    let is_seen = tokio::time::timeout(AGAIN_WITHIN, seen).await.is_ok();
    assert!(is_seen, "the node must notice the failover");
    let reaction = fixture.store.react_to_history().await.expect("reacts");
    let found = reaction.lost.expect("the new primary lacks orders");
    assert_eq!((found.acknowledged, found.lost, found.fence), (20, 10, 2));
    let mut ids: Vec<_> = lost.iter().map(ToString::to_string).collect();
    ids.sort_unstable();
    assert_eq!(found.sample, ids);
    let paused = PausedSale { sale: "sale-0".to_owned(), was: Phase::Open };
    assert_eq!(reaction.paused, std::slice::from_ref(&paused));
    assert_eq!(fixture.store.lost_orders().await.expect("reads"), std::slice::from_ref(&found));
    let history = fixture.store.store_history().await.expect("reads");
    assert_eq!(history[0].paused, [paused]);
    // A later failover that loses no order must not change the list of lost orders.
    let sql = "INSERT INTO store_history (fence, token, at, cause, system_id, timeline, paused)
               SELECT 3, 'later', at + 1, cause, system_id, timeline, '[]' FROM store_history
               WHERE fence = 2";
    tokio::task::block_in_place(|| pair.standby.psql(&pair.database, sql)).expect("a row");
    assert_eq!(fixture.store.lost_orders().await.expect("reads"), std::slice::from_ref(&found));

    // An operator resumes the sale, and no node pauses it again.
    fixture.store.step_sale("sale-0", PhaseStep::Resume).await.expect("resumes");
    let seen = changes.wait_for(|fence| *fence == 3);
    assert!(tokio::time::timeout(AGAIN_WITHIN, seen).await.is_ok(), "the node must learn of row 3");
    let again = fixture.store.react_to_history().await.expect("reacts");
    assert_eq!(
        (again.paused.len(), again.lost),
        (0, None),
        "the orders must be reported only once"
    );
    assert_eq!(fixture.store.lost_orders().await.expect("reads"), []);
    // This test resumed the sale without recording an action `sale.resumed`. So the store does not
    // know of the resumption, and lists the lost orders again when the sale is paused or closed.
    for step in [PhaseStep::Pause, PhaseStep::Close] {
        fixture.store.step_sale("sale-0", step).await.expect("steps");
        assert_eq!(
            fixture.store.lost_orders().await.expect("reads"),
            std::slice::from_ref(&found),
            "{step:?}"
        );
    }
    let sql = "INSERT INTO action (at, actor, action, subject, changes)
               SELECT max(at), 'test', 'sale.resumed', 'sale:sale-0', '[]' FROM store_history";
    tokio::task::block_in_place(|| pair.standby.psql(&pair.database, sql)).expect("an action");
    assert_eq!(fixture.store.lost_orders().await.expect("reads"), []);
    fixture.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_database_from_a_dump_pauses_open_and_scheduled_sales() {
    let (from, to) = tokio::task::block_in_place(|| (Cluster::start(&[]), Cluster::start(&[])));
    let (database, copy) = tokio::task::block_in_place(|| (from.database(), to.database()));
    let fixture = open(&from.url(&database), 1, KnownHistories::default()).await.expect("opens");
    open_sale(&fixture).await;
    let sale = new_sale("sale-1", vec![new_item("item", Stock::Counted(5), 1)]);
    let sale = NewSale { starts_at: Some(Millis(i64::MAX / 2)), ..sale };
    fixture.store.create_sale(sale).await.expect("writes").expect("a free id");
    fixture.store.step_sale("sale-1", PhaseStep::Schedule).await.expect("schedules");
    fixture.store.close().await;
    tokio::task::block_in_place(|| from.dump_into(&database, &to, &copy));
    let moved = open(&to.url(&copy), 2, KnownHistories::default()).await.expect("opens");
    let reaction = moved.store.react_to_history().await.expect("reacts");
    let was: Vec<_> = reaction.paused.iter().map(|sale| (&*sale.sale, sale.was)).collect();
    assert_eq!(was, [("sale-0", Phase::Open), ("sale-1", Phase::Scheduled)]);
    let history = moved.store.store_history().await.expect("reads");
    assert_eq!((history[0].fence, history[0].cause), (2, HistoryCause::Moved));
    let sales = moved.store.sales().await.expect("reads");
    assert!(sales.iter().all(|sale| sale.phase == Phase::Paused), "{sales:?}");
    moved.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_dump_that_is_restored_into_the_same_server_pauses_open_sales() {
    let cluster = tokio::task::block_in_place(|| Cluster::start(&[]));
    let (database, copy) = tokio::task::block_in_place(|| (cluster.database(), cluster.database()));
    let (url, memory) = (cluster.url(&database), KnownHistories::default());
    let fixture = open(&url, 1, memory.clone()).await.expect("opens");
    open_sale(&fixture).await;
    fixture.store.close().await;
    let again = open(&url, 1, memory.clone()).await.expect("opens");
    let reaction = again.store.react_to_history().await.expect("reacts");
    assert!(reaction.paused.is_empty(), "a restart of the node must not pause sales");
    again.store.close().await;
    tokio::task::block_in_place(|| {
        cluster.dump_into(&database, &cluster, &copy);
        for sql in [
            format!("DROP DATABASE {database} WITH (FORCE)"),
            format!("ALTER DATABASE {copy} RENAME TO {database}"),
        ] {
            cluster.psql("postgres", &sql).expect("replaces the database");
        }
    });
    let moved = open(&url, 1, memory).await.expect("opens");
    let reaction = moved.store.react_to_history().await.expect("reacts");
    let paused = PausedSale { sale: "sale-0".to_owned(), was: Phase::Open };
    assert_eq!(reaction.paused, [paused]);
    let history = moved.store.store_history().await.expect("reads");
    assert_eq!((history[0].fence, history[0].cause), (2, HistoryCause::Moved));
    moved.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_position_that_a_crash_may_lose_is_not_remembered() {
    let cluster = tokio::task::block_in_place(|| Cluster::start(&[]));
    let database = tokio::task::block_in_place(|| cluster.database());
    let url = cluster.url(&database);
    for (options, is_kept) in [(" options='-c synchronous_commit=off'", false), ("", true)] {
        let memory = KnownHistories::default();
        let fixture = open(&format!("{url}{options}"), 1, memory).await.expect("opens");
        fixture.store.commit_check().await.expect("commits");
        let known = fixture.store.database().expect("a database");
        assert_eq!(known.position > 0, is_kept, "{options}: {known:?}");
        fixture.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_commit_without_its_standby_is_not_confirmed() {
    let pair = Pair::start().await;
    tokio::task::block_in_place(|| pair.make_synchronous());
    let fixture = open(&pair.url(), 1, KnownHistories::default()).await.expect("opens");
    let other = open(&pair.url(), 2, KnownHistories::default()).await.expect("opens");
    let grant = open_sale(&fixture).await;
    tokio::task::block_in_place(|| pair.standby.stop());
    let wait = Duration::from_secs(2);
    let check = tokio::time::timeout(wait, fixture.store.commit_check()).await;
    assert!(check.is_err(), "the commit must stall: {check:?}");
    let replication = fixture.store.replication().await.expect("reads").expect("a database");
    assert!(replication.lacks_standbys(), "{replication:?}");
    assert_eq!(replication.missing, [STANDBY]);
    let ticket = fixture.ticket(&grant, 1, "buyer", "k", 1);
    let settling = tokio::spawn({
        let store = fixture.store.clone();
        async move { settle(&store, &[ticket]).await }
    });
    // The test lets the commit wait for the standby longer than any time limit of a statement.
    let waits = "SELECT count(*) FROM pg_stat_activity
                 WHERE wait_event = 'SyncRep' AND state_change < now() - interval '11 s'";
    tokio::task::block_in_place(|| {
        wait_until("the commit waits", || {
            pair.primary.psql(&pair.database, waits).expect("reads").trim() != "0"
        });
    });
    let orders = "SELECT count(*) FROM orders";
    let seen = tokio::task::block_in_place(|| pair.primary.psql(&pair.database, orders));
    assert_eq!(seen.expect("reads").trim(), "0", "the commit must not be visible");
    assert!(!settling.is_finished());
    tokio::task::block_in_place(|| pair.standby.restart());
    assert_eq!(settling.await.expect("settles").len(), 1);
    fixture.store.commit_check().await.expect("commits again");
    other.store.close().await;
    fixture.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_commit_that_a_crash_made_visible_is_not_shown_before_the_standby_has_it() {
    let pair = Pair::start().await;
    tokio::task::block_in_place(|| pair.make_synchronous());
    let fixture = open(&pair.url(), 1, KnownHistories::default()).await.expect("opens");
    let grant = open_sale(&fixture).await;
    tokio::task::block_in_place(|| pair.standby.stop());
    let ticket = fixture.ticket(&grant, 1, "buyer", "k", 1);
    let (buyer, key) = (ticket.buyer.clone(), ticket.key.clone());
    let order = || fixture.store.order_of(buyer.clone(), key.clone());
    let settling = tokio::spawn({
        let store = fixture.store.clone();
        async move { settle(&store, &[ticket]).await }
    });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    let orders = "SELECT count(*) FROM orders";
    tokio::task::block_in_place(|| {
        wait_until("the commit waits", || {
            pair.primary.psql(&pair.database, waits).expect("reads").trim() != "0"
        });
        pair.primary.crash();
        pair.primary.restart();
        let seen = pair.primary.psql(&pair.database, orders).expect("reads");
        assert_eq!(seen.trim(), "1", "the restart must make the commit visible");
    });
    let (begun, mut reason) = (Instant::now(), String::new());
    while !reason.contains(STANDBY) && begun.elapsed() < Duration::from_secs(3) {
        reason = fixture.store.health().await.err().map_or_else(String::new, |e| e.to_string());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(reason.contains(&format!("not connected: {STANDBY} (synchronous")), "{reason}");
    let replication = fixture.store.replication().await.expect("known").expect("a database");
    assert_eq!((replication.lacks_standbys(), &*replication.missing[0]), (true, STANDBY));
    let answer = tokio::time::timeout(Duration::from_secs(3), order()).await;
    assert!(
        !matches!(answer, Ok(Ok(_))),
        "the standby lacks the order, so the read must not succeed: {answer:?}"
    );
    assert!(!settling.is_finished());
    tokio::task::block_in_place(|| pair.standby.restart());
    assert_eq!(settling.await.expect("settles").len(), 1);
    let answer = order().await.expect("reads");
    assert!(answer.is_some(), "the node must show the order now");
    fixture.store.close().await;
}
