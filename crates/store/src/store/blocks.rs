//! Buyers and addresses that operators turn away.
use doorbuster_core::Millis;

use crate::contract::{Block, BlockKind, BlocksVersion};

use super::{Store, StoreResult};

/// Blocks.
impl Store {
    /// Turns this buyer or network away until then, in place of what was said of it before; forgets
    /// blocks that are over. `None`: there are `most` others.
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

    /// Lets them in again. False: they were not turned away.
    pub async fn delete_block(&self, kind: BlockKind, value: &str) -> StoreResult<bool> {
        match self {
            Self::Sqlite(s) => s.delete_block(kind, value).await,
            Self::Postgres(s) => Box::pin(s.delete_block(kind, value)).await,
        }
    }

    /// Every block that is not over, newest first.
    pub async fn blocks(&self) -> StoreResult<Vec<Block>> {
        match self {
            Self::Sqlite(s) => s.blocks().await,
            Self::Postgres(s) => Box::pin(s.blocks()).await,
        }
    }

    /// What changes with them, for less than it takes to read them.
    pub async fn blocks_version(&self) -> StoreResult<BlocksVersion> {
        match self {
            Self::Sqlite(s) => s.blocks_version().await,
            Self::Postgres(s) => Box::pin(s.blocks_version()).await,
        }
    }
}
