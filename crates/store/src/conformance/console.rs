//! Tests sessions, nodes, a sale's statistics by second and by minute, and counts of wrong keys.
use doorbuster_core::sale::PhaseStep;
use doorbuster_core::{Millis, NodeId};

use super::Fixture;
use super::sales::create;
use crate::contract::{
    AdminKey, DeleteOutcome, NodeRow, Person, PointQuery, PointStep, RetentionCutoffs, Role,
    SaleSeriesRow, SessionOwner,
};

/// The store finds a session until the session is deleted or expires.
pub async fn a_session_lasts_until_it_ends_or_expires(fixture: Fixture) {
    let store = &fixture.store;
    let until = fixture.clock.now().plus(1_000);
    for n in [1, 2] {
        let owner = SessionOwner::Key([9; 32]);
        store.insert_session([n; 32], owner, until).await.expect("writes");
    }
    let ann = Person { id: "oidc:ann".into(), name: "Ann".into(), role: Role::Operator };
    let ann = SessionOwner::Person(ann);
    store.insert_session([4; 32], ann.clone(), until).await.expect("writes");
    let found = async |n: u8| store.session([n; 32], [9; 32]).await.expect("reads");
    assert_eq!(found(4).await, Some((ann, until)));
    assert_eq!(found(1).await, Some((SessionOwner::Key([9; 32]), until)));
    assert_eq!(found(3).await, None);
    let key = AdminKey {
        id: "key_1".to_owned(),
        name: "night shift".to_owned(),
        role: Role::Viewer,
        hash: [8; 32],
        created_at: fixture.clock.now(),
    };
    store.insert_key(key).await.expect("writes");
    let of_key = SessionOwner::Key([8; 32]);
    store.insert_session([5; 32], of_key.clone(), until).await.expect("writes");
    assert_eq!(found(5).await, Some((of_key, until)));
    assert!(store.delete_key("key_1").await.expect("writes"));
    assert_eq!(found(5).await, None, "the session must end when its key is deleted");
    assert!(store.delete_session([1; 32]).await.expect("writes"));
    assert!(!store.delete_session([1; 32]).await.expect("writes"));
    assert_eq!(found(1).await, None);
    fixture.clock.advance(999);
    assert_eq!(found(2).await, Some((SessionOwner::Key([9; 32]), until)));
    fixture.clock.advance(1);
    assert_eq!(found(2).await, None);
}

/// The list of nodes shows each node's lease and description, and whether the node is the leader.
pub async fn nodes_describe_themselves(fixture: Fixture) {
    let store = &fixture.store;
    let now = fixture.clock.now();
    store.renew_node_lease(NodeId(3), 1_000, "{}").await.expect("writes");
    store.renew_node_lease(NodeId(7), 2_000, "{\"version\":\"1\"}").await.expect("writes");
    assert!(store.take_leader_lease(7, 1_500).await.expect("writes"));
    let row = |node, lease, leader, about: &str| NodeRow {
        node: NodeId(node),
        lease_until: now.plus(lease),
        leader,
        about: about.to_owned(),
    };
    let nodes = async || store.nodes().await.expect("reads");
    let seven = row(7, 2_000, true, "{\"version\":\"1\"}");
    assert_eq!(nodes().await, [row(3, 1_000, false, "{}"), seven.clone()]);
    fixture.clock.advance(1_000);
    assert_eq!(nodes().await, std::slice::from_ref(&seven));
    let gone = async |since| store.nodes_gone_since(now.plus(since)).await.expect("reads");
    assert_eq!([gone(999).await, gone(1_000).await], [1, 0]);
    fixture.clock.advance(500);
    assert_eq!(nodes().await, [NodeRow { leader: false, ..seven }]);
}

/// If a node inserts its statistics of a time step twice, the second call changes nothing. The
/// statistics by second and the statistics by minute expire at different times.
pub async fn the_numbers_of_a_step_are_written_once_and_expire(fixture: Fixture) {
    let store = &fixture.store;
    let point = |step, at, node, text: &str| SaleSeriesRow {
        sale: "spring".to_owned(),
        step,
        at: Millis(at),
        node: NodeId(node),
        point: text.to_owned(),
    };
    use PointStep::{Minute, Second};
    let rows = [
        point(Second, 60_000, 1, "{}"),
        point(Second, 60_000, 2, "{}"),
        point(Second, 61_000, 1, "{}"),
        point(Minute, 60_000, 1, "{}"),
    ];
    store.insert_points(rows.to_vec()).await.expect("writes");
    store.insert_points(vec![point(Second, 60_000, 1, "{\"a\":1}")]).await.expect("writes");
    let read = async |sale: &str, step, from, to| {
        let (sale, from, to) = (sale.to_owned(), Millis(from), Millis(to));
        store.points(PointQuery { sale, step, from, to }).await.expect("reads")
    };
    assert_eq!(read("spring", Second, 60_000, 62_000).await, rows[..3]);
    assert_eq!(read("spring", Second, 60_001, 62_000).await, rows[2..3]);
    assert_eq!(read("spring", Second, 60_000, 61_000).await, rows[..2]);
    assert_eq!(read("spring", Minute, 0, 120_000).await, rows[3..]);
    assert_eq!(read("autumn", Second, 0, 120_000).await, []);
    let longer = point(Minute, 60_000, 1, "{\"a\":2}");
    for _ in 0..2 {
        store.replace_points(vec![longer.clone()]).await.expect("writes");
    }
    assert_eq!(read("spring", Minute, 0, 120_000).await, std::slice::from_ref(&longer));
    store.replace_points(vec![rows[3].clone()]).await.expect("writes");
    let old = RetentionCutoffs { seconds_before: Millis(61_000), ..RetentionCutoffs::NONE };
    assert_eq!(store.delete_expired(old, 100).await.expect("writes"), 2);
    assert_eq!(read("spring", Second, 0, 120_000).await, rows[2..3]);
    assert_eq!(read("spring", Minute, 0, 120_000).await, rows[3..]);
    let old = RetentionCutoffs { minutes_before: Millis(120_000), ..RetentionCutoffs::NONE };
    assert_eq!(store.delete_expired(old, 100).await.expect("writes"), 1);
    create(&fixture, "spring").await;
    store.insert_points(rows.to_vec()).await.expect("writes");
    assert_eq!(store.delete_sale("spring", None).await.expect("writes"), DeleteOutcome::Done);
    let left = read("spring", Second, 0, 120_000).await;
    assert_eq!(left, [], "the statistics of a draft must be deleted with the draft");
    old_minutes_last_until_their_sale_is_closed_for_long(&fixture).await;
}

async fn old_minutes_last_until_their_sale_is_closed_for_long(fixture: &Fixture) {
    let store = &fixture.store;
    create(fixture, "winter").await;
    store.step_sale("winter", PhaseStep::Open).await.expect("writes");
    let minute = SaleSeriesRow {
        sale: "winter".to_owned(),
        step: PointStep::Minute,
        at: Millis(60_000),
        node: NodeId(1),
        point: "{}".to_owned(),
    };
    store.insert_points(vec![minute]).await.expect("writes");
    let delete = async |before: Millis| {
        let old = RetentionCutoffs { minutes_before: before, ..RetentionCutoffs::NONE };
        store.delete_expired(old, 100).await.expect("writes")
    };
    fixture.clock.advance(1_000);
    assert_eq!(delete(fixture.clock.now()).await, 0, "an open sale must keep its statistics");
    store.step_sale("winter", PhaseStep::Close).await.expect("writes");
    let sale = store.sale("winter").await.expect("reads").expect("created");
    let closed_at = sale.closed_at.expect("a closed sale");
    assert_eq!(
        delete(closed_at).await,
        0,
        "if a sale closed exactly at the cutoff, its statistics must not be deleted"
    );
    assert_eq!(delete(closed_at.plus(1)).await, 1);
}

/// The store counts wrong keys for each network and each minute. The store deletes the counts of
/// past minutes.
pub async fn wrong_keys_are_counted_by_minute(fixture: Fixture) {
    let store = &fixture.store;
    let [one, other] = ["192.0.2.1", "2001:db8::"];
    let minute = fixture.clock.now().0.div_euclid(60_000);
    let count = async |network: &str, minute| {
        store.count_wrong_key(network.to_owned(), minute).await.expect("writes")
    };
    let take_back = async |network: &str, minute| {
        store.take_back_wrong_key(network.to_owned(), minute).await.expect("writes");
    };
    for wrong in 1..=3 {
        assert_eq!(count(one, minute).await, wrong);
    }
    assert_eq!(count(other, minute).await, 1);
    take_back(one, minute).await;
    assert_eq!(count(one, minute).await, 3, "a key that was taken back must not be counted");
    assert_eq!(count(one, minute + 1).await, 1, "a new minute must have a new count");
    take_back(one, minute).await;
    assert_eq!(
        count(one, minute).await,
        2,
        "a late wrong key of a past minute must be counted in the newest minute"
    );
    fixture.clock.advance(60_000);
    let deleted = store.delete_expired(RetentionCutoffs::NONE, 100).await.expect("writes");
    assert_eq!(deleted, 1, "only the count of the network `other` must be deleted");
    assert_eq!(count(one, minute + 1).await, 3);
}
