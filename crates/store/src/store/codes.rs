//! Access codes: made in bulk by operators, kept as hashes, spent by buyers.
use doorbuster_core::BuyerId;

use crate::contract::{CodeCounts, CodesOutcome};

use super::{Store, StoreResult};

/// Hash of a code, which covers its sale.
pub type CodeHash = [u8; 32];

/// Access codes.
impl Store {
    /// Adds codes that may each be spent by so many buyers; all of them or none.
    pub async fn add_codes(
        &self,
        sale: &str,
        hashes: Vec<CodeHash>,
        uses: u32,
    ) -> StoreResult<CodesOutcome> {
        match self {
            Self::Sqlite(s) => s.add_codes(sale, hashes, uses).await,
            Self::Postgres(s) => Box::pin(s.add_codes(sale, hashes, uses)).await,
        }
    }

    /// Spends a code for the buyer. True: it is the buyer's, by this call or by an earlier one,
    /// which costs nothing again. False: there is no such code, or others have spent it.
    pub async fn spend_code(
        &self,
        sale: &str,
        hash: CodeHash,
        buyer: &BuyerId,
    ) -> StoreResult<bool> {
        match self {
            Self::Sqlite(s) => s.spend_code(sale, hash, buyer).await,
            Self::Postgres(s) => Box::pin(s.spend_code(sale, hash, buyer)).await,
        }
    }

    /// How many codes a sale has, and how much of them is spent.
    pub async fn code_counts(&self, sale: &str) -> StoreResult<CodeCounts> {
        match self {
            Self::Sqlite(s) => s.code_counts(sale).await,
            Self::Postgres(s) => Box::pin(s.code_counts(sale)).await,
        }
    }
}
