//! Tests the store while PostgreSQL loses sessions, crashes, refuses rows, or has unsafe settings.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use doorbuster_core::outbox::PositionAdvance;
use doorbuster_core::{Grant, Seq, Ticket, TicketId, Verdict};
use doorbuster_store::conformance::{Clock, CommitLog, Fixture, id_key};
use doorbuster_store::{
    DeadLetterContent, DeadLetterId, NewAction, OpenError, Store, StoreError, recorded,
};

use crate::cluster::{self, Cluster};
use crate::fixture::{open_postgres, postgres_options};
use crate::nodes::wait;
use crate::unreadable::endpoint;

/// The time limit for work that waits for PostgreSQL.
pub const AGAIN_WITHIN: Duration = Duration::from_secs(60);

const KILLS: usize = 25;
/// After this time, no more sessions are killed, even if a failed test does not stop the killing.
const KILLS_WITHIN: Duration = Duration::from_secs(300);

pub fn batches(fixture: &Fixture, grant: &Grant, count: u64, size: u64) -> Vec<Vec<Arc<Ticket>>> {
    let ticket = |n: u64| fixture.ticket(grant, n, &format!("buyer-{n}"), "k", 1);
    (0..count).map(|b| (0..size).map(|i| ticket(b * size + i + 1)).collect()).collect()
}

/// Settles a batch as a settler does: if the settler gets no answer, it settles the same tickets
/// again.
pub async fn settle(store: &Store, batch: &[Arc<Ticket>]) -> Vec<TicketId> {
    let since = Instant::now();
    loop {
        match store.settle(batch.to_vec()).await {
            Ok(resolved) => {
                assert!(resolved.iter().all(|r| r.verdict == Verdict::Reserved), "{resolved:?}");
                return resolved.into_iter().map(|r| r.id).collect();
            }
            Err(StoreError::Unavailable { .. }) if since.elapsed() < AGAIN_WITHIN => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn killed_sessions_lose_no_order_and_repeat_none() {
    let cluster = cluster::shared();
    let database = cluster.database();
    let fixture = open_postgres(&cluster.url(&database), 1).await;
    let grant = fixture.slot(10_000, 10_000, 5).await;
    fixture.commits.forget();
    let stop = Arc::new(AtomicBool::new(false));
    let killer = tokio::task::spawn_blocking({
        let (stop, database) = (Arc::clone(&stop), database.clone());
        move || {
            let (mut kills, until) = (0_usize, Instant::now() + KILLS_WITHIN);
            while !stop.load(Ordering::SeqCst) && kills < KILLS && Instant::now() < until {
                let sql = "SELECT count(pg_terminate_backend(pid)) FROM (
                               SELECT pid FROM pg_stat_activity WHERE datname = current_database()
                               AND pid <> pg_backend_pid()
                                      AND state <> 'idle' ORDER BY random() LIMIT 1) s";
                kills += cluster
                    .psql(&database, sql)
                    .expect("psql runs")
                    .trim()
                    .parse::<usize>()
                    .expect("a count");
                std::thread::sleep(Duration::from_millis(25));
            }
            kills
        }
    });
    let mut settlers = tokio::task::JoinSet::new();
    for share in batches(&fixture, &grant, 60, 50).chunks(20) {
        let (store, share) = (fixture.store.clone(), share.to_vec());
        settlers.spawn(async move {
            let mut ids = Vec::new();
            for batch in share {
                ids.extend(settle(&store, &batch).await);
            }
            ids
        });
    }
    let promised: BTreeSet<TicketId> = settlers.join_all().await.into_iter().flatten().collect();
    stop.store(true, Ordering::SeqCst);
    let kills = killer.await.expect("no panic");
    assert!(kills > 0);
    assert_eq!(promised.len(), 3_000);
    let known: BTreeSet<_> =
        fixture.commits.take().iter().flat_map(|c| &c.orders).map(|o| o.id).collect();
    assert_eq!(known, promised, "every order must be published before its caller gets the answer");
    fixture.expect_units(grant.slot.item, 0, 7_000, 3_000, 0).await;
    fixture.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_the_database_loses_no_confirmed_order() {
    let cluster = Cluster::start(&[]);
    let url = cluster.url(&cluster.database());
    let (fixture, other) = (open_postgres(&url, 1).await, open_postgres(&url, 2).await);
    let grant = fixture.slot(1_000, 1_000, 5).await;
    let all = batches(&fixture, &grant, 6, 20);
    let mut promised = BTreeSet::new();
    for (at, batch) in all.iter().enumerate() {
        let settling = tokio::spawn({
            let (store, batch) = (fixture.store.clone(), batch.clone());
            async move { settle(&store, &batch).await }
        });
        if at % 2 == 1 {
            tokio::task::block_in_place(|| if at == 1 { cluster.crash() } else { cluster.stop() });
            let refused = fixture.store.counts(None);
            assert!(matches!(
                refused.await,
                Err(StoreError::Unavailable { may_have_happened: false, .. })
            ));
            tokio::task::block_in_place(|| cluster.restart());
        }
        promised.extend(settling.await.expect("no panic"));
    }
    assert_eq!(promised.len(), 120);
    let known = wait(&other, AGAIN_WITHIN, |all| {
        all.iter().flat_map(|c| &c.orders).map(|o| o.id).collect::<BTreeSet<_>>().len() >= 120
    });
    let known: BTreeSet<_> = known.await.iter().flat_map(|c| &c.orders).map(|o| o.id).collect();
    assert_eq!(known, promised, "the other node must know all orders");
    let since = Instant::now();
    while fixture.store.health().await.is_err() {
        assert!(since.elapsed() < AGAIN_WITHIN, "the database is not available again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    fixture.expect_units(grant.slot.item, 0, 880, 120, 0).await;
    fixture.store.close().await;
    other.store.close().await;
}

/// Makes a table refuse rows of one buyer, as a bug would.
fn poison(database: &str, table: &str, condition: &str) {
    let sql = format!(
        "CREATE OR REPLACE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE
         EXCEPTION 'poison'; END $$;
         CREATE TRIGGER poison BEFORE INSERT ON {table} FOR EACH ROW WHEN ({condition}) EXECUTE
         FUNCTION poison()"
    );
    cluster::shared().psql(database, &sql).expect("a trigger");
}

#[tokio::test]
async fn a_ticket_that_cannot_settle_becomes_a_dead_letter_and_the_others_settle() {
    let cluster = cluster::shared();
    let database = cluster.database();
    let fixture = open_postgres(&cluster.url(&database), 1).await;
    let grant = fixture.slot(20, 20, 3).await;
    poison(&database, "orders", "NEW.buyer = 'poison'");
    let tickets: Vec<_> = (1..=7)
        .map(|n| {
            fixture.ticket(
                &grant,
                n,
                &if n == 4 { "poison".to_owned() } else { format!("buyer-{n}") },
                "k",
                1,
            )
        })
        .collect();
    let mut wanted = vec![Verdict::Reserved; 7];
    wanted[3] = Verdict::Unavailable;
    for round in ["first", "delivered again"] {
        let resolved = fixture.store.settle(tickets.clone()).await.expect("settles");
        assert_eq!(resolved.iter().map(|r| r.verdict).collect::<Vec<_>>(), wanted, "{round}");
        let letters = fixture.dead_tickets().await;
        let id = id_key().id_of(&tickets[3]);
        let ids: Vec<_> = letters.iter().map(|l| &l.id).collect();
        assert_eq!(ids, [&DeadLetterId::Ticket(id)], "{round}");
        assert!(letters[0].reason.contains("poison"), "{}", letters[0].reason);
        let (_, held) = fixture
            .store
            .dead_letter(DeadLetterId::Ticket(id))
            .await
            .expect("reads")
            .expect("the dead letter exists");
        let DeadLetterContent::Request { item, buyer, units } = held else { panic!("{held:?}") };
        assert_eq!((item, buyer.as_str(), units), (grant.slot.item, "poison", 1));
        let feed = fixture.store.feed_after(grant.id, Seq(0), 9).await.expect("reads");
        assert_eq!(
            feed.iter().map(|f| (f.ticket, f.units)).collect::<Vec<_>>(),
            [(Some(id), 1)],
            "the ticket must be credited once"
        );
    }
    poison(&database, "resolution", "TRUE");
    let lost = fixture.ticket(&grant, 8, "poison", "k", 1);
    assert_eq!(fixture.settle(&lost).await.verdict, Verdict::Unavailable);
    let letters = fixture.dead_tickets().await;
    let reason = &letters[0].reason;
    assert!(reason.contains("could not be returned either"), "{reason}");
    fixture.expect_units(grant.slot.item, 0, 14, 6, 0).await;
    fixture.store.close().await;
}

#[tokio::test]
async fn a_job_that_panics_is_rolled_back_and_the_store_keeps_working() {
    let cluster = cluster::shared();
    let fixture = open_postgres(&cluster.url(&cluster.database()), 1).await;
    fixture.item(doorbuster_core::Stock::Counted(1), 1).await;
    let bug = |_: &mut doorbuster_store::SaleRow| panic!("a bug in a patch");
    let panicked = fixture.store.patch_sale("sale-0", None, Box::new(bug)).await;
    let Err(StoreError::Unexpected(reason)) = panicked else { panic!("{panicked:?}") };
    assert!(reason.contains("a bug in a patch"), "{reason}");
    assert!(
        fixture.store.delete_sale("sale-0", Some(9)).await.is_ok(),
        "the failed patch must not leave a lock"
    );
    fixture.store.close().await;
    assert!(
        matches!(fixture.store.sales().await, Err(StoreError::Unavailable { .. })),
        "a closed store must refuse calls"
    );
}

async fn opened(
    url: &str,
    change: impl FnOnce(&mut doorbuster_store::PostgresOptions),
) -> Result<Store, String> {
    let mut options = postgres_options(url, 1, &Clock::new(), &CommitLog::default());
    change(&mut options);
    Store::open_postgres(options).await.map_err(|error: OpenError| error.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unsuitable_database_is_refused_with_the_reason() {
    let cluster = cluster::shared();
    let database = cluster.database();
    let url = cluster.url(&database);
    let refused = opened(&url, |o| o.allow_fsync_off = false).await.err().expect("refused");
    assert!(refused.contains("fsync"), "{refused}");
    let refused = opened(&format!("{url} sslmode=require"), |_| ()).await.err().expect("refused");
    assert!(refused.contains("TLS"), "{refused}");
    let refused = opened(&format!("{url}nowhere"), |_| ()).await.err().expect("refused");
    assert!(refused.contains("does not exist"), "{refused}");
    let (a, b) = tokio::join!(opened(&url, |_| ()), opened(&url, |_| ()));
    let (a, b) =
        (a.expect("opens"), b.expect("the second node waits for the first node's migration"));
    let warnings = a.warnings();
    assert!(
        warnings.iter().any(|w| w.contains("fsync"))
            && warnings.iter().any(|w| w.contains("standby")),
        "{warnings:?}"
    );
    a.close().await;
    b.close().await;
    let newer = "INSERT INTO schema_migration (version, name) SELECT max(version) + 1, 'later'
                 FROM schema_migration";
    cluster.psql(&database, newer).expect("a change");
    opened(&url, |_| ())
        .await
        .expect("a schema that is one version ahead can be used")
        .close()
        .await;
    cluster.psql(&database, newer).expect("a change");
    let refused = opened(&url, |_| ()).await.err().expect("refused");
    assert!(refused.contains("run the newer program"), "{refused}");
    let foreign = cluster.database();
    cluster.psql(&foreign, "CREATE TABLE orders (a int)").expect("a table");
    let refused = opened(&cluster.url(&foreign), |_| ()).await.err().expect("refused");
    assert!(refused.contains("tables of another program"), "{refused}");
}

/// Creates a trigger. When a transaction with an action is committed for the first time, the
/// trigger ends the session during the COMMIT.
const END_FIRST_COMMIT: &str = "CREATE SEQUENCE recorded_actions;
     CREATE FUNCTION end_first_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         IF nextval('recorded_actions') = 1 THEN
             PERFORM pg_terminate_backend(pg_backend_pid());
             PERFORM pg_sleep(60);
         END IF;
         RETURN NULL;
     END $$;
     CREATE CONSTRAINT TRIGGER end_first_commit AFTER INSERT ON action
     DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION end_first_commit()";

/// The first transaction may have committed. So the store must not run this transaction again: a
/// second run could record the operator's request twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redelivery_with_an_unknown_outcome_is_not_run_again() {
    let cluster = cluster::shared();
    let database = cluster.database();
    let store = open_postgres(&cluster.url(&database), 1).await.store;
    store.insert_endpoint(endpoint(), 9).await.expect("writes");
    let event = "INSERT INTO event (type, sale_id, at, actor)
                 VALUES ('sale.opened', 'first', 1, 'engine')";
    cluster.psql(&database, event).expect("inserts");
    while store.sequence_events(9).await.expect("writes") > 0 {}
    let passed = PositionAdvance { from: 0, to: 1, failed: vec![] };
    assert!(store.advance_endpoint("end_1", passed).await.expect("writes"));
    cluster.psql(&database, END_FIRST_COMMIT).expect("the trigger is created");
    let subject = "endpoint:end_1".to_owned();
    let action = NewAction::by_engine("endpoint.redelivered", subject, "a test");
    let answer = recorded(action, store.redeliver("end_1", 1, 9)).await;
    assert!(
        matches!(answer, Err(StoreError::Unavailable { may_have_happened: true, .. })),
        "{answer:?}"
    );
    store.close().await;
}

#[tokio::test]
async fn the_stores_time_is_the_databases_time() {
    let cluster = cluster::shared();
    let database = cluster.database();
    let store = opened(&cluster.url(&database), |o| o.clock = None).await.expect("opens");
    let sql = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    let there =
        || cluster.psql(&database, sql).expect("a query").trim().parse::<i64>().expect("a number");
    let (before, here, after) = (there(), store.now().0, there());
    assert!(
        (before - 500..after + 500).contains(&here),
        "the store's time is {here}, and the database's time was {before} to {after}"
    );
    store.close().await;
}
