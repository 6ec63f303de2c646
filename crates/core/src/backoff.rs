//! The pauses between the attempts to send one request to a webhook endpoint, a broker or a payment
//! provider.

/// The longest pause between two attempts of one request, in milliseconds.
pub const BACKOFF_MS_MAX: i64 = 6 * 3_600_000;

/// Returns the pause after this many failed attempts. The first pause is 1 s, and each further
/// pause is twice as long, up to [`BACKOFF_MS_MAX`]. The caller adds jitter.
#[must_use]
pub fn backoff_ms(tries: u32) -> i64 {
    let doubled = 1_000_i64.checked_shl(tries.saturating_sub(1).min(32)).unwrap_or(BACKOFF_MS_MAX);
    doubled.min(BACKOFF_MS_MAX)
}

/// Returns a pause between 75 % and 125 % of `ms`, chosen by the random number `spread`. Because of
/// this jitter, requests that failed at the same time are not repeated at the same time.
#[must_use]
pub fn with_jitter(ms: i64, spread: u32) -> i64 {
    ms - ms / 4 + (ms / 2).saturating_mul(i64::from(spread >> 16)) / (1 << 16)
}
