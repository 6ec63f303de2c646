//! Chooses the time at which a new Checkout Session of Stripe ends.
use doorbuster_core::Millis;

pub(super) const MINUTE_MS: i64 = 60_000;
/// The shortest life of a session. Stripe requires half an hour. One more minute is for rounding.
/// Another minute is for a difference between Stripe's clock and this server's clock.
const LIFE_MIN_MS: i64 = 32 * MINUTE_MS;
/// The longest life of a session. Stripe allows a day. One minute less leaves room for rounding and
/// for a difference between the clocks.
const LIFE_MAX_MS: i64 = (24 * 60 - 1) * MINUTE_MS;

/// Returns the end of a new session twice: in seconds for Stripe, and in the store's time. `now` is
/// the store's time, and `wall` is the wall clock's time.
///
/// The clocks may differ so much that no end is within Stripe's limits by both clocks. The session
/// then gets the shortest life ([`LIFE_MIN_MS`]).
pub(super) fn session_end(pay_by: Millis, now: Millis, wall: Millis) -> (i64, Millis) {
    // Stripe compares the end with the real time. After a large step of the wall clock, either the
    // store's time or the wall clock may be right. So the end must be within Stripe's limits by
    // both clocks. The difference between the clocks is rounded, so that a repeated request has the
    // same end.
    let ahead_ms = (wall.0 - now.0 + MINUTE_MS / 2).div_euclid(MINUTE_MS) * MINUTE_MS;
    let late_ms = ahead_ms.max(0);
    // All requests within one minute have the same end. They may have the same idempotency key, and
    // Stripe then requires the same content.
    let minute_ms = now.0.div_euclid(MINUTE_MS) * MINUTE_MS;
    let earliest_ms = minute_ms + MINUTE_MS + late_ms + LIFE_MIN_MS;
    let latest_ms = minute_ms + ahead_ms.min(0) + LIFE_MAX_MS;
    let end_secs = pay_by.plus(late_ms).0.min(latest_ms).max(earliest_ms) / 1_000;
    (end_secs, Millis(end_secs * 1_000 - late_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stripe_accepts_the_end_whichever_clock_is_right() {
        let now = Millis(1_795_000_000_000);
        for step_ms in [0, 29_000, 59_000, 3_600_000, -29_000, -59_000, -3_600_000] {
            let wall = now.plus(step_ms);
            let (first, last) = (now.min(wall), now.max(wall));
            for pay_in_ms in [60_000, 900_000, 7_200_000, 86_400_000] {
                let pay_by = now.plus(pay_in_ms);
                let (end_secs, kept) = session_end(pay_by, now, wall);
                let end = Millis(end_secs * 1_000);
                let text = format!("{pay_in_ms} ms to pay, clock step {step_ms} ms: {end:?}");
                assert!(end >= last.plus(31 * MINUTE_MS), "{text}");
                assert!(end <= first.plus(24 * 60 * MINUTE_MS - MINUTE_MS / 2), "{text}");
                if pay_in_ms == 7_200_000 {
                    assert_eq!(kept, pay_by, "the stored end must be in the store's time");
                }
                let again = session_end(pay_by, now.plus(500), wall.plus(501));
                assert_eq!(again, (end_secs, kept), "{text}");
            }
        }
    }
}
