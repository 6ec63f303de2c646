//! Tests sales: the catalogue and its versions, operators' keys, and leadership.
use doorbuster_core::sale::{Phase, PhaseStep};
use doorbuster_core::{
    CloseCause, Counter, GrantId, ItemId, Millis, NodeId, PartitionChoice, Seq, SlotKey, Spread,
    Stock,
};

use super::{Fixture, new_item, new_sale};
use crate::actions::recorded;
use crate::contract::{
    ActionQuery, AdminKey, DeleteOutcome, FieldChange, NewAction, PatchOutcome, Role, SalePatch,
    SaleRow, SessionOwner, SpreadOutcome,
};

pub(super) async fn create(fixture: &Fixture, id: &str) -> SaleRow {
    let items = vec![new_item("zebra", Stock::Counted(5), 2), new_item("ape", Stock::Unlimited, 1)];
    fixture.store.create_sale(new_sale(id, items)).await.expect("writes").expect("a free id")
}

/// A new sale is a draft. All its stock is in the pools, and its items are in the sequence that the
/// shop gave.
pub async fn a_created_sale_is_a_draft(fixture: Fixture) {
    fixture.commits.forget();
    let sale = create(&fixture, "spring").await;
    assert_eq!((sale.phase, sale.version, sale.created_at), (Phase::Draft, 1, fixture.clock.now()));
    assert_eq!((sale.opened_at, sale.closed_at), (None, None));
    let items: Vec<_> = sale.items.iter().map(|i| (i.name.as_str(), i.counted, i.limit)).collect();
    assert_eq!(items, [("zebra", true, 2), ("ape", false, 1)]);
    assert_eq!(sale.items[0].list_price_minor, Some(2_999));
    assert_eq!(fixture.store.sale("spring").await.expect("reads"), Some(sale.clone()));
    assert_eq!(fixture.store.sale("autumn").await.expect("reads"), None);
    let again = new_sale("spring", vec![new_item("other", Stock::Counted(1), 1)]);
    assert_eq!(
        fixture.store.create_sale(again).await.expect("writes"),
        None,
        "an id that is taken must be refused"
    );
    assert_eq!(fixture.store.sale("spring").await.expect("reads"), Some(sale.clone()));
    fixture.expect_units(sale.items[0].id, 5, 0, 0, 0).await;
    let items: Vec<_> =
        fixture.commits.take().into_iter().flat_map(|t| t.counts).map(|c| c.item).collect();
    assert_eq!(items, [sale.items[0].id, sale.items[1].id]);
}

/// The catalogue lists the newest sale first.
pub async fn the_catalogue_is_newest_first(fixture: Fixture) {
    for id in ["b", "a", "c"] {
        create(&fixture, id).await;
    }
    let sales = fixture.store.sales().await.expect("reads");
    assert_eq!(sales.iter().map(|s| s.id.as_str()).collect::<Vec<_>>(), ["c", "a", "b"]);
    assert_eq!(sales[1], fixture.store.sale("a").await.expect("reads").expect("created"));
}

/// In a store that several nodes share, each change of the catalogue sets a new version, and
/// nothing else does. In an embedded store, the version is always empty.
pub async fn the_catalogue_has_another_version_after_each_change(fixture: Fixture) {
    let store = &fixture.store;
    let version = async || {
        let (read, version) = (
            store.catalogue().await.expect("reads"),
            store.catalogue_version().await.expect("reads"),
        );
        assert_eq!(read.version, version);
        assert_eq!(read.sales, store.sales().await.expect("reads"));
        version
    };
    let mut seen = vec![version().await];
    let alone = seen[0].is_empty();
    let sale = create(&fixture, "spring").await;
    seen.push(version().await);
    let patch = |sale: &mut SaleRow| {
        sale.title = "New".to_owned();
        Ok(())
    };
    let patched = store.patch_sale("spring", None, Box::new(patch)).await.expect("writes");
    assert!(matches!(patched, PatchOutcome::Done(_)));
    seen.push(version().await);
    let spread = Spread { partitions: 2, ..Spread::default() };
    store.set_spread(sale.items[0].id, spread, None).await.expect("writes");
    seen.push(version().await);
    store.step_sale("spring", PhaseStep::Schedule).await.expect("writes");
    seen.push(version().await);
    store.drain_sale("spring", 60_000).await.expect("writes");
    seen.push(version().await);
    store.step_sale("spring", PhaseStep::Close).await.expect("writes");
    seen.push(version().await);
    create(&fixture, "summer").await;
    seen.push(version().await);
    store.delete_sale("summer", None).await.expect("writes");
    seen.push(version().await);
    let several: std::collections::HashSet<_> = seen.iter().collect();
    assert_eq!(several.len(), if alone { 1 } else { seen.len() }, "{seen:?}");
    assert_eq!(store.delete_sale("autumn", None).await.expect("writes"), DeleteOutcome::NotFound);
    assert_eq!(
        Some(&version().await),
        seen.last(),
        "the version must stay, because nothing was changed"
    );
}

/// A patch changes the permitted fields and increases the version. Of concurrent patches that
/// expect the same version, only one succeeds.
pub async fn a_patch_raises_the_version(fixture: Fixture) {
    let before = create(&fixture, "spring").await;
    let patch = |sale: &mut SaleRow| {
        sale.title = "New".to_owned();
        sale.starts_at = Some(Millis(77));
        sale.front_door = "{}".to_owned();
        sale.items[1].price_minor = 5;
        sale.items[1].limit = 9;
        sale.items[1].image = Some("/a.png".to_owned());
        Ok(())
    };
    let outcome =
        fixture.store.patch_sale("spring", Some(1), Box::new(patch)).await.expect("writes");
    let PatchOutcome::Done(after) = outcome else { panic!("{outcome:?}") };
    let mut wanted = before.clone();
    patch(&mut wanted).expect("the patch succeeds");
    wanted.version = 2;
    assert_eq!(after, wanted);
    assert_eq!(fixture.store.sale("spring").await.expect("reads"), Some(wanted));
    let stale = fixture.store.patch_sale("spring", Some(1), Box::new(patch)).await.expect("writes");
    assert_eq!(stale, PatchOutcome::VersionMismatch(2));
    let same = fixture.store.patch_sale("spring", None, Box::new(patch)).await.expect("writes");
    assert_eq!(same, PatchOutcome::Done(after), "a patch without a change must keep the version");
    let none = fixture.store.patch_sale("autumn", None, Box::new(patch)).await.expect("writes");
    assert_eq!(none, PatchOutcome::NotFound);
}

/// If a patch returns an error, it changes nothing, and the caller gets this error.
pub async fn a_refused_patch_changes_nothing(fixture: Fixture) {
    let before = create(&fixture, "spring").await;
    let patch = |sale: &mut SaleRow| {
        sale.title = "New".to_owned();
        Err("too late".to_owned())
    };
    let outcome = fixture.store.patch_sale("spring", None, Box::new(patch)).await.expect("writes");
    assert_eq!(outcome, PatchOutcome::Refused("too late".to_owned()));
    assert_eq!(fixture.store.sale("spring").await.expect("reads"), Some(before));
}

/// A patch cannot change ids, phase, version or stock.
pub async fn a_patch_cannot_change_fields_of_the_store(fixture: Fixture) {
    let before = create(&fixture, "spring").await;
    let patch = |sale: &mut SaleRow| {
        sale.id = "other".to_owned();
        sale.phase = Phase::Open;
        sale.version = 99;
        sale.created_at = Millis(0);
        sale.items[0].name = "other".to_owned();
        sale.items[0].counted = false;
        sale.items.truncate(1);
        Ok(())
    };
    fixture.store.patch_sale("spring", None, Box::new(patch)).await.expect("writes");
    let after = fixture.store.sale("spring").await.expect("reads").expect("the sale exists");
    assert_eq!(SaleRow { version: before.version, ..after }, before);
    fixture.expect_units(before.items[0].id, 5, 0, 0, 0).await;
}

/// Only a draft can be deleted. The ids of its items are never used again.
pub async fn only_a_draft_is_deleted(fixture: Fixture) {
    let sale = create(&fixture, "spring").await;
    let delete =
        async |version| fixture.store.delete_sale("spring", version).await.expect("writes");
    assert_eq!(delete(Some(2)).await, DeleteOutcome::VersionMismatch(1));
    assert_eq!(delete(Some(1)).await, DeleteOutcome::Done);
    assert_eq!(delete(None).await, DeleteOutcome::NotFound);
    assert_eq!(fixture.store.counts(None).await.expect("reads"), []);
    let again = create(&fixture, "spring").await;
    assert!(again.items[0].id > sale.items[1].id);
    fixture.store.step_sale("spring", PhaseStep::Schedule).await.expect("writes");
    assert_eq!(delete(None).await, DeleteOutcome::WrongState(Phase::Scheduled));
    // The grants of a scheduled sale are closed when the sale becomes a draft again.
    let slot = SlotKey { item: again.items[0].id, index: 0 };
    for grant in [GrantId(1), GrantId(2)] {
        let opened = fixture.store.open_grant(slot, grant, 2).await.expect("writes");
        assert!(opened.is_some_and(|grant| grant.open));
        fixture.store.acknowledge_init(grant).await.expect("writes");
        fixture.store.refill(grant, 1, Counter::A).await.expect("writes");
        if grant == GrantId(1) {
            fixture.store.close_grant(grant, CloseCause::Rolled).await.expect("writes");
        }
    }
    fixture.store.step_sale("spring", PhaseStep::Unschedule).await.expect("writes");
    assert_eq!(fixture.store.open_grants().await.expect("reads"), []);
    assert!(!fixture.store.feed_after(GrantId(2), Seq(0), 10).await.expect("reads").is_empty());
    assert_eq!(delete(None).await, DeleteOutcome::Done);
    for grant in [GrantId(1), GrantId(2)] {
        assert_eq!(fixture.store.grant(grant).await.expect("reads"), None);
        assert!(fixture.store.feed_after(grant, Seq(0), 10).await.expect("reads").is_empty());
    }
}

/// Counts can be read for certain items. Unknown items are left out.
pub async fn counts_are_listed_by_item(fixture: Fixture) {
    let (a, b) =
        (fixture.item(Stock::Counted(1), 1).await, fixture.item(Stock::Counted(2), 1).await);
    let counts = fixture.store.counts(Some(vec![b, ItemId(404), a, b])).await.expect("reads");
    assert_eq!(counts.iter().map(|c| (c.item, c.pool)).collect::<Vec<_>>(), [(a, 1), (b, 2)]);
    assert_eq!(fixture.store.counts(None).await.expect("reads"), counts);
    assert_eq!(fixture.store.counts(Some(Vec::new())).await.expect("reads"), []);
}

/// Keys are added, listed and deleted.
pub async fn keys_are_added_and_deleted(fixture: Fixture) {
    let key = |id: &str, role, at, hash| AdminKey {
        id: id.to_owned(),
        name: format!("{id} of the shop"),
        role,
        hash: [hash; 32],
        created_at: Millis(at),
    };
    let keys = [key("key_b", Role::Admin, 1, 7), key("key_a", Role::Viewer, 2, 8)];
    for key in &keys {
        fixture.store.insert_key(key.clone()).await.expect("writes");
    }
    assert_eq!(fixture.store.keys().await.expect("reads"), keys);
    assert!(
        fixture.store.insert_key(key("key_b", Role::Admin, 3, 9)).await.is_err(),
        "an id that is taken must be refused"
    );
    assert!(fixture.store.delete_key("key_b").await.expect("writes"));
    assert!(!fixture.store.delete_key("key_b").await.expect("writes"));
    assert_eq!(fixture.store.keys().await.expect("reads"), keys[1..]);
}

/// A node stays the only leader as long as it renews the leader's lease.
pub async fn one_node_leads_at_a_time(fixture: Fixture) {
    let take_leader_lease =
        async |node| fixture.store.take_leader_lease(node, 1_000).await.expect("writes");
    assert!(take_leader_lease(1).await);
    assert!(!take_leader_lease(2).await);
    fixture.clock.advance(999);
    assert!(take_leader_lease(1).await, "the leader must be able to renew its lease");
    fixture.clock.advance(999);
    assert!(!take_leader_lease(2).await);
    fixture.clock.advance(1);
    assert!(take_leader_lease(2).await, "another node must get an expired lease");
    assert!(!take_leader_lease(1).await);
}

/// When the store's clock is set back, every earlier lease becomes invalid.
pub async fn a_lease_from_before_a_clock_step_is_void(fixture: Fixture) {
    let store = &fixture.store;
    let take_leader_lease =
        async |node| store.take_leader_lease(node, 1_000).await.expect("writes");
    let nodes = async || {
        let rows = store.nodes().await.expect("reads");
        rows.into_iter().map(|row| (row.node.0, row.leader)).collect::<Vec<_>>()
    };
    store.renew_node_lease(NodeId(1), 1_000, "{}").await.expect("writes");
    assert!(take_leader_lease(1).await);
    let since = fixture.clock.now();
    fixture.clock.advance(-3_600_000);
    store.renew_node_lease(NodeId(2), 1_000, "{}").await.expect("writes");
    assert_eq!(nodes().await, [(2, false)]);
    assert_eq!(store.nodes_gone_since(since).await.expect("reads"), 1);
    assert!(take_leader_lease(2).await, "another node must get a void lease");
    assert!(!take_leader_lease(1).await);
    store.renew_node_lease(NodeId(1), 1_000, "{}").await.expect("writes");
    assert_eq!(nodes().await, [(1, false), (2, true)], "a renewed lease must be valid");
}

/// An operator's change is recorded with its changed fields, in the transaction of the change.
pub async fn operator_actions_are_recorded(fixture: Fixture) {
    let store = &fixture.store;
    let action = |action: &str, subject: &str| NewAction {
        by: "key_a".to_owned(),
        action: action.to_owned(),
        subject: subject.to_owned(),
        changes: vec![FieldChange::set("/reason", "a test")],
        address: Some("192.0.2.7".to_owned()),
        request_id: Some("r1".to_owned()),
    };
    let sale = create(&fixture, "unrecorded").await;
    let retitle = |title: &'static str| -> SalePatch {
        Box::new(move |sale: &mut SaleRow| {
            sale.title = title.to_owned();
            Ok(())
        })
    };
    for title in ["New title", "New title"] {
        let patch = store.patch_sale("unrecorded", None, retitle(title));
        recorded(action("sale.changed", "sale:unrecorded"), patch).await.expect("writes");
    }
    let refused: SalePatch = Box::new(|_| Err("no".to_owned()));
    let refused = store.patch_sale("unrecorded", None, refused);
    recorded(action("sale.changed", "sale:unrecorded"), refused).await.expect("answers");
    let open = store.step_sale("unrecorded", PhaseStep::Open);
    recorded(action("sale.opened", "sale:unrecorded"), open).await.expect("writes");
    let again = store.step_sale("unrecorded", PhaseStep::Open);
    recorded(action("sale.opened", "sale:unrecorded"), again).await.expect("answers");
    let until = fixture.clock.now().plus(1_000);
    let sign_in = store.insert_session([1; 32], SessionOwner::Key([2; 32]), until);
    recorded(action("session.created", "key:key_a"), sign_in).await.expect("writes");
    let query = |action: Option<&str>, after| ActionQuery {
        action: action.map(str::to_owned),
        after,
        limit: 10,
        ..ActionQuery::default()
    };
    let list = async |query| store.actions(query).await.expect("reads").rows;
    let rows = list(query(None, None)).await;
    let names: Vec<&str> = rows.iter().map(|row| row.action.action.as_str()).collect();
    assert_eq!(
        names,
        ["session.created", "sale.opened", "sale.changed"],
        "the newest action must come first"
    );
    let change = |path: &str, from: &str, to: &str| FieldChange {
        path: path.to_owned(),
        from: from.into(),
        to: to.into(),
    };
    let reason = FieldChange::set("/reason", "a test");
    let retitled = vec![change("/title", &sale.title, "New title"), reason.clone()];
    assert_eq!(rows[2].action, NewAction { changes: retitled, ..rows[2].action.clone() });
    assert_eq!(rows[1].action.changes, [change("/phase", "draft", "open"), reason.clone()]);
    assert_eq!(rows[0].action, action("session.created", "key:key_a"));
    assert_eq!(rows[0].at, fixture.clock.now());
    assert_eq!(list(query(Some("sale.opened"), None)).await, rows[1..2]);
    assert_eq!(list(query(None, Some(rows[1].seq))).await, rows[2..]);
    let oldest_first = |after| ActionQuery { oldest_first: true, ..query(None, after) };
    assert!(list(oldest_first(None)).await.iter().eq(rows.iter().rev()));
    assert_eq!(list(oldest_first(Some(rows[1].seq))).await, rows[..1]);
    let by_another_key = ActionQuery { by: Some("key_b".to_owned()), ..query(None, None) };
    assert_eq!(list(by_another_key).await, []);
}

/// A spread can change until the sale is closed. Each change increases the version.
pub async fn a_spread_changes_until_the_sale_is_closed(fixture: Fixture) {
    let sale = create(&fixture, "spring").await;
    let item = sale.items[1].id;
    assert_eq!(sale.items[1].spread, Spread::default());
    let spread = Spread {
        partitions: 8,
        auto: false,
        choose: PartitionChoice::RoundRobin,
        initial: 400,
        threshold: 30,
        refill: 100,
    };
    let set =
        async |item, spread| fixture.store.set_spread(item, spread, None).await.expect("writes");
    let SpreadOutcome::Done(after) = set(item, spread).await else { panic!("a draft must change") };
    assert_eq!(
        (after.version, after.items[0].spread, after.items[1].spread),
        (2, Spread::default(), spread)
    );
    assert_eq!(
        set(item, spread).await,
        SpreadOutcome::Done(after.clone()),
        "a call without a change must not change the sale"
    );
    let after_version = after.version;
    assert_eq!(fixture.store.sale("spring").await.expect("reads"), Some(after));
    assert_eq!(set(ItemId(404), spread).await, SpreadOutcome::NotFound);
    fixture.store.step_sale("spring", PhaseStep::Open).await.expect("writes");
    let wider = Spread { partitions: 16, auto: true, ..spread };
    let SpreadOutcome::Done(open) = set(item, wider).await else {
        panic!("an open sale must change")
    };
    assert_eq!((open.phase, open.items[1].spread), (Phase::Open, wider));
    let set_if = async |version| {
        fixture.store.set_spread(item, spread, Some(version)).await.expect("writes")
    };
    let (now, before) = (open.version, after_version);
    assert_eq!(set_if(before).await, SpreadOutcome::VersionMismatch(now));
    assert!(matches!(set_if(now).await, SpreadOutcome::Done(_)));
    fixture.store.step_sale("spring", PhaseStep::Close).await.expect("writes");
    assert_eq!(set(item, spread).await, SpreadOutcome::WrongState(Phase::Closed));
}

/// A node is alive as long as it renews its lease.
pub async fn nodes_live_until_their_leases_expire(fixture: Fixture) {
    let live = async || {
        let rows = fixture.store.nodes().await.expect("reads");
        rows.into_iter().map(|row| row.node).collect::<Vec<_>>()
    };
    assert_eq!(live().await, []);
    for node in [NodeId(7), NodeId(3)] {
        fixture.store.renew_node_lease(node, 1_000, "{}").await.expect("writes");
    }
    assert_eq!(live().await, [NodeId(3), NodeId(7)]);
    fixture.clock.advance(999);
    fixture.store.renew_node_lease(NodeId(7), 1_000, "{}").await.expect("writes");
    fixture.clock.advance(1);
    assert_eq!(live().await, [NodeId(7)]);
}
