//! Reads the ids of events.

/// Returns the position that an event's id contains, or `None` if the id is invalid. A valid id may
/// lack the fingerprint, which is the part after the position.
#[must_use]
pub fn event_position(id: &str) -> Option<i64> {
    let rest = id.strip_prefix("evt_")?;
    let (digits, mark) =
        rest.split_once('_').map_or((rest, None), |(digits, mark)| (digits, Some(mark)));
    let is_mark = |mark: &str| {
        mark.len() == 10 && mark.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id = digits.len() == 16
        && digits.bytes().all(|b| b.is_ascii_digit())
        && mark.is_none_or(is_mark);
    digits.parse().ok().filter(|position| is_id && *position > 0)
}
