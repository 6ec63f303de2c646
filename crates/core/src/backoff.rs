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

/// Returns a pause between 75 % and 100 % of `ms`. The random number `spread` chooses the pause.
/// Because of this jitter, requests that failed at the same time are not repeated at the same time.
#[must_use]
pub fn with_jitter(ms: i64, spread: u32) -> i64 {
    ms - ms / 4 + (ms / 4).saturating_mul(i64::from(spread >> 16)) / (1 << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_never_longer_than_documented() {
        for ms in [1_000, BACKOFF_MS_MAX] {
            assert_eq!(with_jitter(ms, 0), ms * 3 / 4);
            let longest = with_jitter(ms, u32::MAX);
            assert!((ms - ms / 65_536 - 1..=ms).contains(&longest), "{longest}");
        }
    }
}
