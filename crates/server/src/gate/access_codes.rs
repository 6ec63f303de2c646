//! Access codes of this deployment: made here, kept by the store as hashes.

use doorbuster_core::BuyerId;
use doorbuster_core::gate::code::{self, CODE_BYTES};
use doorbuster_store::{CodeHash, CodesOutcome, Store, StoreError};

/// Makes `count` codes for the sale, each for `uses` buyers, and keeps their hashes.
///
/// # Errors
/// When the store is away; codes that nobody saw may have been kept.
pub async fn create(
    store: &Store,
    sale: &str,
    count: u32,
    uses: u32,
) -> Result<(Vec<String>, CodesOutcome), StoreError> {
    let codes: Vec<String> =
        (0..count).map(|_| code::format_code(rand::random::<[u8; CODE_BYTES]>())).collect();
    let hashes: Vec<CodeHash> =
        codes.iter().filter_map(|text| code::hash_code(sale, text)).collect();
    debug_assert_eq!(hashes.len(), codes.len(), "what is written as a code is read as one");
    let outcome = store.add_codes(sale, hashes, uses).await?;
    Ok((codes, outcome))
}

/// Spends the code that was typed. False: it is none, or others have spent it.
///
/// # Errors
/// When the store is away. Asked again, the same buyer is not charged twice.
pub async fn spend(
    store: &Store,
    sale: &str,
    typed: &str,
    buyer: &BuyerId,
) -> Result<bool, StoreError> {
    match code::hash_code(sale, typed) {
        Some(hash_code) => store.spend_code(sale, hash_code, buyer).await,
        None => Ok(false),
    }
}
