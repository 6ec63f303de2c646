//! Access codes. Operators create them in bulk, the store keeps their hashes, and buyers spend
//! them.
use doorbuster_core::BuyerId;

use crate::contract::{CodeCounts, CodeSelection, CodesOutcome};

use super::{Store, StoreResult};

/// The hash of a code, which includes its sale.
pub type CodeHash = [u8; 32];

/// Access codes.
impl Store {
    /// Adds codes. Each of them admits the given number of buyers. Adds either all or none. A code
    /// is given by its first characters and its hash.
    pub async fn add_codes(
        &self,
        sale: &str,
        hashes: Vec<(String, CodeHash)>,
        uses: u32,
    ) -> StoreResult<CodesOutcome> {
        match self {
            Self::Sqlite(s) => s.add_codes(sale, hashes, uses).await,
            Self::Postgres(s) => Box::pin(s.add_codes(sale, hashes, uses)).await,
        }
    }

    /// Revokes codes of the sale, so that no further buyer can use them. Returns their number.
    pub async fn revoke_codes(&self, sale: &str, codes: CodeSelection) -> StoreResult<u64> {
        match self {
            Self::Sqlite(s) => s.revoke_codes(sale, codes).await,
            Self::Postgres(s) => Box::pin(s.revoke_codes(sale, codes)).await,
        }
    }

    /// Spends a code for the buyer. Returns true if the buyer has the code, by this call or by an
    /// earlier one. A repeated call uses nothing up. Returns false if the code does not exist, or
    /// other buyers have spent it.
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

    /// Returns the number of codes of a sale, and how many uses are spent.
    pub async fn code_counts(&self, sale: &str) -> StoreResult<CodeCounts> {
        match self {
            Self::Sqlite(s) => s.code_counts(sale).await,
            Self::Postgres(s) => Box::pin(s.code_counts(sale)).await,
        }
    }
}
