//! Tests this version of the store on a database that a newer version has migrated. Nodes of this
//! version must keep running and be able to start, and must leave the newer version's data
//! unchanged.
use doorbuster_core::OrderState;
use doorbuster_core::event::Attribution;
use doorbuster_core::order::EndReason;

use crate::cluster;
use crate::fixture::open_postgres;
use crate::nodes::two;

/// The newer version's migration: a new column in every table, with a value in the existing rows.
const LATER: &str = "DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public'
    AND tablename <> 'schema_migration' LOOP
        EXECUTE format('ALTER TABLE %I ADD COLUMN later text DEFAULT ''newer''', name);
        EXECUTE format('ALTER TABLE %I ALTER COLUMN later DROP DEFAULT', name);
    END LOOP; END $$;
    INSERT INTO schema_migration (version, name) SELECT max(version) + 1, 'later'
    FROM schema_migration";
/// Counts the rows in which the new column still has its value. The store updates the rows of these
/// tables in place, so an update could lose the value.
const LEFT: &str = "SELECT (SELECT count(later) FROM sale), (SELECT count(later) FROM item),
    (SELECT count(later) FROM slot_grant), (SELECT count(later) FROM orders), (SELECT count(later)
    FROM quota)";

#[tokio::test]
async fn rows_of_a_newer_version_are_kept() {
    let (runs, other, database) = two().await;
    other.store.close().await;
    let cluster = cluster::shared();
    let grant = runs.slot(10, 8, 5).await;
    let item = grant.slot.item;
    let first = runs.reserve(&grant, 1, "anna", 2).await;
    let second = runs.reserve(&grant, 2, "anna", 1).await;
    runs.reserve(&grant, 3, "anna", 1).await;
    cluster.psql(&database, LATER).expect("a newer version migrates");
    let left = cluster.psql(&database, LEFT).expect("a query");
    assert_eq!(left.trim(), "1|1|1|3|1");
    let starts = open_postgres(&cluster.url(&database), 3).await;
    for (fixture, order, n) in [(&runs, &first, 4), (&starts, &second, 5)] {
        let new = fixture.reserve(&grant, n, &format!("buyer-{n}"), 1).await;
        let read = fixture.store.order(new.id).await.expect("reads").expect("the order exists");
        assert_eq!((read.units, read.state), (new.units, OrderState::Reserved));
        fixture
            .store
            .end_order(order.id, EndReason::Cancel, Attribution::BUYER.clone())
            .await
            .expect("writes");
        let ended = fixture.store.order(order.id).await.expect("reads").expect("the order exists");
        assert_eq!(ended.state, OrderState::Cancelled);
    }
    starts.expect_units(item, 5, 2, 3, 0).await;
    assert_eq!(cluster.psql(&database, LEFT).expect("a query"), left);
    for fixture in [runs, starts] {
        fixture.store.close().await;
    }
}
