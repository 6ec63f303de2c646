//! Creates and redeems a sale's access codes. The store keeps only the hashes of the codes.

use doorbuster_core::BuyerId;
use doorbuster_core::gate::code::{self, CODE_BYTES};
use doorbuster_store::{CODE_PREFIX_CHARS, CodeHash, CodesOutcome, Store, StoreError};

/// Creates `count` codes for the sale, and stores their hashes. Each code can be used by `uses`
/// different buyers.
///
/// # Errors
///
/// If the store is unreachable. The hashes may be stored despite the error, but the caller does not
/// get the codes.
pub async fn create(
    store: &Store,
    sale: &str,
    count: u32,
    uses: u32,
) -> Result<(Vec<String>, CodesOutcome), StoreError> {
    let codes: Vec<String> =
        (0..count).map(|_| code::format_code(rand::random::<[u8; CODE_BYTES]>())).collect();
    let prefix = |text: &str| text.chars().take(CODE_PREFIX_CHARS).collect();
    let hashes: Vec<(String, CodeHash)> = codes
        .iter()
        .filter_map(|text| Some((prefix(text), code::hash_code(sale, text)?)))
        .collect();
    debug_assert_eq!(hashes.len(), codes.len(), "a new code could not be parsed");
    let outcome = store.add_codes(sale, hashes, uses).await?;
    Ok((codes, outcome))
}

/// Redeems a code for a buyer. Returns `false` if the code does not exist or is used up.
///
/// # Errors
///
/// If the store is unreachable. The caller may repeat the call: if the first call redeemed the code
/// despite the error, the store does not count the buyer again.
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
