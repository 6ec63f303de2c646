//! Blocked buyers and addresses.
use doorbuster_core::Millis;

use crate::contract::{Block, BlockKind, BlocksVersion};

use super::{Store, StoreResult};

/// Blocks of buyers and addresses.
impl Store {
    /// Blocks this buyer or network until the given time. Replaces an earlier block of the same
    /// value, and deletes blocks that have ended. Returns `None` if there are already `most` other
    /// blocks.
    pub async fn insert_block(
        &self,
        kind: BlockKind,
        value: &str,
        until: Option<Millis>,
        reason: &str,
        most: usize,
    ) -> StoreResult<Option<Block>> {
        match self {
            Self::Sqlite(s) => s.insert_block(kind, value, until, reason, most).await,
            Self::Postgres(s) => Box::pin(s.insert_block(kind, value, until, reason, most)).await,
        }
    }

    /// Removes a block. Returns false if there was no such block.
    pub async fn delete_block(&self, kind: BlockKind, value: &str) -> StoreResult<bool> {
        match self {
            Self::Sqlite(s) => s.delete_block(kind, value).await,
            Self::Postgres(s) => Box::pin(s.delete_block(kind, value)).await,
        }
    }

    /// Returns every block that has not ended, newest first.
    pub async fn blocks(&self) -> StoreResult<Vec<Block>> {
        match self {
            Self::Sqlite(s) => s.blocks().await,
            Self::Postgres(s) => Box::pin(s.blocks()).await,
        }
    }

    /// Returns a value that changes whenever the blocks change. Reading it costs less than reading
    /// the blocks.
    pub async fn blocks_version(&self) -> StoreResult<BlocksVersion> {
        match self {
            Self::Sqlite(s) => s.blocks_version().await,
            Self::Postgres(s) => Box::pin(s.blocks_version()).await,
        }
    }
}
