//! Blocks: whom operators turn away, until when, and what tells other nodes that it changed.
use doorbuster_core::Millis;

use super::Rig;
use crate::contract::{Block, BlockKind, BlocksMark};

/// Room for so many.
const MOST: usize = 20;

async fn put(
    rig: &Rig,
    kind: BlockKind,
    value: &str,
    until: Option<Millis>,
    reason: &str,
) -> Option<Block> {
    rig.store.put_block(kind, value, until, reason, MOST).await.expect("writes")
}

async fn blocked(rig: &Rig) -> Vec<Block> {
    rig.store.blocks().await.expect("reads")
}

async fn mark(rig: &Rig) -> BlocksMark {
    rig.store.blocks_mark().await.expect("reads")
}

/// A block holds until its time, is replaced by one of the same name, and ends when it is deleted.
pub async fn blocks_hold_until_they_are_over(rig: Rig) {
    assert_eq!((blocked(&rig).await, mark(&rig).await), (Vec::new(), BlocksMark::default()));
    let soon = rig.clock.now().plus(1_000);
    let robot =
        put(&rig, BlockKind::Buyer, "robot", Some(soon), "a script").await.expect("there is room");
    assert_eq!(
        (robot.until, robot.reason.as_str(), robot.at),
        (Some(soon), "a script", rig.clock.now())
    );
    rig.clock.pass(10);
    let farm =
        put(&rig, BlockKind::Ip, "192.0.2.0/24", None, "a farm").await.expect("there is room");
    assert_eq!(blocked(&rig).await, [farm.clone(), robot], "newest first");
    let longer = put(&rig, BlockKind::Buyer, "robot", Some(soon.plus(1_000)), "again")
        .await
        .expect("there is room");
    assert_eq!(
        blocked(&rig).await.iter().find(|block| block.kind == BlockKind::Buyer),
        Some(&longer)
    );
    rig.clock.pass(2_000);
    assert_eq!(blocked(&rig).await, [farm], "what is over is not shown");
    assert!(
        !rig.store.delete_block(BlockKind::Buyer, "robot").await.expect("writes"),
        "it was over"
    );
    assert!(rig.store.delete_block(BlockKind::Ip, "192.0.2.0/24").await.expect("writes"));
    assert!(!rig.store.delete_block(BlockKind::Ip, "192.0.2.0/24").await.expect("writes"));
    assert_eq!(blocked(&rig).await, []);
}

/// The mark changes with every change of the blocks.
pub async fn a_mark_changes_with_the_blocks(rig: Rig) {
    let mut marks = vec![mark(&rig).await];
    for (value, until) in [("a", None), ("b", None), ("b", Some(rig.clock.now().plus(500)))] {
        put(&rig, BlockKind::Buyer, value, until, "").await.expect("there is room");
        marks.push(mark(&rig).await);
    }
    rig.store.delete_block(BlockKind::Buyer, "b").await.expect("writes");
    assert_eq!(mark(&rig).await, marks[1], "as it was before b");
    for (at, mark) in marks.iter().enumerate() {
        assert!(!marks[..at].contains(mark), "{marks:?}");
    }
}

/// There are no more of them than their bound; those that are over make room.
pub async fn blocks_are_bounded(rig: Rig) {
    let soon = rig.clock.now().plus(1_000);
    for n in 0..MOST {
        put(&rig, BlockKind::Buyer, &format!("robot-{n}"), Some(soon), "")
            .await
            .expect("there is room");
    }
    assert_eq!(put(&rig, BlockKind::Buyer, "one-more", None, "").await, None);
    assert!(
        put(&rig, BlockKind::Buyer, "robot-7", Some(soon), "said again").await.is_some(),
        "it has its place"
    );
    assert_eq!(blocked(&rig).await.len(), MOST);
    rig.clock.pass(1_000);
    assert!(put(&rig, BlockKind::Buyer, "one-more", None, "").await.is_some());
    assert_eq!(mark(&rig).await.count, 1);
}
