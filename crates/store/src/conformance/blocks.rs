//! Tests blocks: which buyers they block, when they end, and the version with which other nodes
//! notice changes.
use doorbuster_core::Millis;

use super::Fixture;
use crate::actions::recorded;
use crate::contract::{ActionQuery, Block, BlockKind, BlocksVersion, NewAction, RetentionCutoffs};

/// The maximum number of blocks.
const MOST: usize = 20;

async fn put(
    fixture: &Fixture,
    kind: BlockKind,
    value: &str,
    until: Option<Millis>,
    reason: &str,
) -> Option<Block> {
    fixture.store.insert_block(kind, value, until, reason, MOST).await.expect("writes")
}

async fn blocked(fixture: &Fixture) -> Vec<Block> {
    fixture.store.blocks().await.expect("reads")
}

async fn version(fixture: &Fixture) -> BlocksVersion {
    fixture.store.blocks_version().await.expect("reads")
}

/// A block is in force until its end, its replacement or its deletion.
pub async fn blocks_hold_until_they_end(fixture: Fixture) {
    assert_eq!(
        (blocked(&fixture).await, version(&fixture).await),
        (Vec::new(), BlocksVersion::default())
    );
    let soon = fixture.clock.now().plus(1_000);
    let robot = put(&fixture, BlockKind::Buyer, "robot", Some(soon), "a script")
        .await
        .expect("there is room");
    assert_eq!(
        (robot.until, robot.reason.as_str(), robot.at),
        (Some(soon), "a script", fixture.clock.now())
    );
    fixture.clock.advance(10);
    let farm =
        put(&fixture, BlockKind::Ip, "192.0.2.0/24", None, "a farm").await.expect("there is room");
    assert_eq!(blocked(&fixture).await, [farm.clone(), robot], "the newest block must come first");
    let longer = put(&fixture, BlockKind::Buyer, "robot", Some(soon.plus(1_000)), "again")
        .await
        .expect("there is room");
    assert_eq!(
        blocked(&fixture).await.iter().find(|block| block.kind == BlockKind::Buyer),
        Some(&longer)
    );
    fixture.clock.advance(2_000);
    assert_eq!(blocked(&fixture).await, [farm], "an ended block must not be listed");
    assert!(
        !fixture.store.delete_block(BlockKind::Buyer, "robot").await.expect("writes"),
        "an ended block must not count as deleted"
    );
    assert!(fixture.store.delete_block(BlockKind::Ip, "192.0.2.0/24").await.expect("writes"));
    assert!(!fixture.store.delete_block(BlockKind::Ip, "192.0.2.0/24").await.expect("writes"));
    assert_eq!(blocked(&fixture).await, []);
}

/// A second request for the same block changes nothing, so it writes no second action.
pub async fn a_repeated_block_is_recorded_once(fixture: Fixture) {
    let block = async || {
        let action = NewAction::by_engine("block.created", "block:blk_1".to_owned(), "a test");
        recorded(action, put(&fixture, BlockKind::Buyer, "robot", None, "a script")).await
    };
    let first = block().await.expect("there is room");
    fixture.clock.advance(10);
    assert_eq!(block().await, Some(first), "the block must stay as it is");
    let query = ActionQuery { limit: 9, ..ActionQuery::default() };
    assert_eq!(fixture.store.actions(query).await.expect("reads").rows.len(), 1);
}

/// Every change of a block changes the version of the blocks.
pub async fn the_version_changes_with_the_blocks(fixture: Fixture) {
    let mut marks = vec![version(&fixture).await];
    for (value, until) in [("a", None), ("b", None), ("b", Some(fixture.clock.now().plus(500)))] {
        put(&fixture, BlockKind::Buyer, value, until, "").await.expect("there is room");
        marks.push(version(&fixture).await);
    }
    fixture.store.delete_block(BlockKind::Buyer, "b").await.expect("writes");
    assert_eq!(
        version(&fixture).await,
        marks[1],
        "after the deletion of `b`, the version must be as before `b` was added"
    );
    for (at, version) in marks.iter().enumerate() {
        assert!(!marks[..at].contains(version), "{marks:?}");
    }
}

/// The number of blocks is limited. A block that has ended does not count against the limit.
pub async fn blocks_are_bounded(fixture: Fixture) {
    let soon = fixture.clock.now().plus(1_000);
    for n in 0..MOST {
        put(&fixture, BlockKind::Buyer, &format!("robot-{n}"), Some(soon), "")
            .await
            .expect("there is room");
    }
    assert_eq!(put(&fixture, BlockKind::Buyer, "one-more", None, "").await, None);
    assert!(
        put(&fixture, BlockKind::Buyer, "robot-7", Some(soon), "replaced").await.is_some(),
        "an existing block must be replaced even at the bound"
    );
    assert_eq!(blocked(&fixture).await.len(), MOST);
    fixture.clock.advance(1_000);
    assert!(put(&fixture, BlockKind::Buyer, "one-more", None, "").await.is_some());
    assert_eq!(version(&fixture).await.count, 1);
}

/// A block that has ended is deleted. So the store does not keep the buyer's id longer than needed.
pub async fn ended_blocks_are_deleted(fixture: Fixture) {
    let now = fixture.clock.now();
    for (value, until) in [("ended", Some(now.plus(1_000))), ("later", Some(now.plus(1_001)))] {
        put(&fixture, BlockKind::Buyer, value, until, "").await.expect("there is room");
    }
    put(&fixture, BlockKind::Buyer, "endless", None, "").await.expect("there is room");
    let delete =
        async || fixture.store.delete_expired(RetentionCutoffs::NONE, 100).await.expect("writes");
    assert_eq!(delete().await, 0, "a block in force must stay");
    fixture.clock.advance(1_000);
    // The version also counts ended blocks until they are deleted, because the version counts all
    // rows of the table.
    assert_eq!((delete().await, version(&fixture).await.count), (1, 2));
    assert_eq!(blocked(&fixture).await.len(), 2);
}
