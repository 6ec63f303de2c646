//! Tests how an edge uses the entries of the feed, and when it ends drains.
use doorbuster_base::clock::Clock;
use doorbuster_config::Roles;
use doorbuster_core::slot::SlotBounds;
use doorbuster_core::{IdKey, ItemId, NodeId, Phase, Spread, Stock};
use doorbuster_store::ItemRow;

use super::*;
use crate::edge::keys::NodeSettings;
use crate::start::{DatabaseOptions, EngineOptions, EngineParts, StockLocation, start};

/// An object that only a later version of the program can parse.
const LATER: &str = r#"{"later":1}"#;

async fn start_edge() -> (EngineParts, Arc<EdgeNode>) {
    let id_key = IdKey::new([3; 32]);
    let edge = EdgeNode::new(&[], &[], &id_key, NodeSettings::default());
    let edge = edge.expect("no address is invalid");
    let options = EngineOptions {
        pass_key: None,
        location: StockLocation::Edge(edge.clone()),
        roles: Roles::EDGE,
        id_key,
        clock: Clock::default(),
        node: NodeId(1),
        bounds: SlotBounds::default(),
        always_leads: false,
        allow_fsync_off: false,
        database: DatabaseOptions::default(),
        on_fatal: Arc::new(|reason| panic!("the store failed: {reason}")),
    };
    (start(options).await.expect("an edge has no store"), edge)
}

/// Returns the entry of a sale with one phone and this front door.
fn sale(front_door: &str) -> (String, Option<String>) {
    let phone = ItemRow {
        id: ItemId(1),
        name: "phone".into(),
        title: "Phone".into(),
        description: String::new(),
        image: None,
        price_minor: 10,
        currency: "CNY".into(),
        list_price_minor: None,
        limit: 1,
        hold_ms: 900_000,
        page: String::new(),
        counted: true,
        spread: Spread::default(),
    };
    let row = SaleRow {
        id: "spring".into(),
        title: "Spring".into(),
        phase: Phase::Open,
        starts_at: None,
        ends_at: None,
        front_door: front_door.into(),
        page: String::new(),
        version: 1,
        created_at: Millis(0),
        opened_at: None,
        closed_at: None,
        draining_until: None,
        items: vec![phone],
    };
    let text = serde_json::to_string(&row).expect("a row serialises");
    (records::sale_entry("spring"), Some(text))
}

/// Returns the entry with the counts of the sold-out phone. The phone has no waiting room.
fn counts() -> (String, Option<String>) {
    counts_with_room(None)
}

/// Returns the entry with the counts of the sold-out phone. `open_until` is the time until which
/// the phone's waiting room is open.
fn counts_with_room(open_until: Option<i64>) -> (String, Option<String>) {
    let phone = ItemCounts {
        item: ItemId(1),
        total: Stock::Counted(1),
        pool: 0,
        kept: 0,
        in_slots: 0,
        held: 1,
        paid: 0,
        waiting: 0,
    };
    let rooms = open_until.map(|open_until| (ItemId(1), open_until));
    let record = CountsRecord::new(0, rooms.into_iter(), std::iter::once(phone));
    let text = serde_json::to_string(&record).expect("numbers serialise");
    (records::counts_entry("spring"), Some(text))
}

#[tokio::test]
async fn a_sale_leaves_the_catalogue_if_its_front_door_or_its_counts_cannot_be_parsed() {
    let (parts, edge) = start_edge().await;
    let blocks = Blocks::default();
    let mut feed = FeedReader::new(&parts.node, &blocks, &edge);
    let mut is_shown_after = |entries: Vec<(String, Option<String>)>| {
        feed.kept.extend(entries);
        feed.show();
        let catalogue = parts.node.catalogue();
        catalogue.sale("spring").is_some_and(|sale| sale.item("phone").is_some())
    };
    let later_counts = || (records::counts_entry("spring"), Some(LATER.to_owned()));
    assert!(is_shown_after(vec![counts(), sale("{}")]));
    assert!(!is_shown_after(vec![counts(), sale(LATER)]), "the front door is unknown");
    assert!(is_shown_after(vec![counts(), sale("{}")]), "the front door is known again");
    assert!(!is_shown_after(vec![later_counts()]), "the counts are unknown");
    assert!(!is_shown_after(vec![later_counts(), sale("{}")]), "the counts are unknown");
    assert!(is_shown_after(vec![counts(), sale("{}")]), "the counts are known again");
    assert!(parts.node.catalogue().sales().all(|sale| !sale.front_door.needs_pass()));
}

/// The counts list only rooms that are or were open. If a room is no longer listed, it is closed.
#[tokio::test]
async fn a_room_that_is_no_longer_listed_is_closed() {
    let (parts, edge) = start_edge().await;
    let blocks = Blocks::default();
    let mut feed = FeedReader::new(&parts.node, &blocks, &edge);
    let mut open_until_after = |entries: Vec<(String, Option<String>)>| {
        feed.kept.extend(entries);
        feed.show();
        let catalogue = parts.node.catalogue();
        let phone = catalogue.item_by_id(ItemId(1)).expect("the sale has a phone");
        phone.work.room.open_until.load(Ordering::Relaxed)
    };
    assert_eq!(open_until_after(vec![counts_with_room(Some(9_000)), sale("{}")]), 9_000);
    assert_eq!(open_until_after(vec![counts()]), 0);
}

#[tokio::test]
async fn blocks_that_cannot_be_parsed_empty_the_edges_copy_of_the_blocks() {
    let (parts, edge) = start_edge().await;
    let blocks = Blocks::default();
    let mut feed = FeedReader::new(&parts.node, &blocks, &edge);
    let mut is_blocked_after = |text: &str| {
        feed.kept.insert(records::BLOCKS.to_owned(), Some(text.to_owned()));
        feed.show();
        blocks.has_buyer("robot", Millis(0))
    };
    assert!(is_blocked_after(r#"[["buyer","robot",null]]"#));
    assert!(!is_blocked_after(LATER));
}

#[test]
fn an_abandoned_drain_ends_at_its_time() {
    let (mut drains, runtime) = (Drains::default(), Arc::<SaleRuntime>::default());
    let is_draining = || runtime.draining.load(Ordering::Acquire);
    drains.observe("spring", &runtime, Some(Millis(10_000)), Millis(1_000));
    drains.end_overdue(Millis(9_999));
    assert!(is_draining());
    drains.end_overdue(Millis(10_000));
    assert!(!is_draining(), "the drain must end although the row did not change");
    drains.observe("spring", &runtime, Some(Millis(10_000)), Millis(10_000));
    assert!(!is_draining(), "a row whose drain is already over must not begin a drain");
    drains.observe("spring", &runtime, Some(Millis(30_000)), Millis(20_000));
    drains.observe("spring", &runtime, None, Millis(20_001));
    assert!(!is_draining(), "a drain must end when the sale's row has no drain any more");
    drains.observe("spring", &runtime, Some(Millis(30_000)), Millis(20_002));
    drains.end_overdue(Millis(1_000));
    assert!(!is_draining(), "if the database's clock was set back, the drain must end at once");
}
