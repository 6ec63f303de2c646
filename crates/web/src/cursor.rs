//! Cursors of lists. A cursor encodes a position in a list. To get the next page, a client sends
//! the cursor back unchanged. The server refuses a text that is not a cursor, and a cursor of a
//! different list.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorbuster_api::problem::{Fault, FaultLocation, Problem};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    /// Orders, sorted by their positions in the store.
    Orders,
    /// Sales, sorted by the time of their creation and then by name.
    Sales,
    /// Payments, sorted by their positions in the store.
    Payments,
    /// Refunds, sorted by their positions in the store.
    Refunds,
    /// Deliveries, sorted by the positions of their events.
    Deliveries,
    /// Dead letters, sorted by kind and then by their positions in the store.
    DeadLetters,
    /// Waitlist entries, sorted by number. The cursor also contains the number of entries on all
    /// earlier pages.
    Waitlist,
    /// Operators' actions, sorted by number.
    Actions,
    /// Differences that a check of the units and the money found. The cursor has a position for
    /// each kind of difference that has rows after this page.
    Differences,
}

impl List {
    fn tag(self) -> u8 {
        match self {
            Self::Orders => b'o',
            Self::Sales => b's',
            Self::Payments => b'p',
            Self::Refunds => b'r',
            Self::Deliveries => b'd',
            Self::DeadLetters => b'l',
            Self::Waitlist => b'w',
            Self::Actions => b'a',
            Self::Differences => b'x',
        }
    }
}

/// Encodes a cursor for the page after `position`. `name` is the second part of the position, such
/// as the name of a sale or the kind of a dead letter. Some lists have no second part.
#[must_use]
pub(crate) fn cursor(list: List, position: i64, name: &str) -> String {
    let mut bytes = vec![list.tag()];
    bytes.extend_from_slice(&position.to_be_bytes());
    bytes.extend_from_slice(name.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Returns the position in a cursor, or `None` if there is no cursor.
///
/// # Errors
///
/// `422` if the text is not a cursor for `list`.
pub(crate) fn position(list: List, cursor: Option<&str>) -> Result<Option<(i64, String)>, Problem> {
    let Some(cursor) = cursor else { return Ok(None) };
    read(list, cursor).map(Some).ok_or_else(unknown_cursor)
}

pub(crate) fn unknown_cursor() -> Problem {
    let place = FaultLocation::Query("cursor".into());
    Problem::invalid_request(vec![Fault::new(
        place,
        "is not a cursor that this server issued for this list",
    )])
}

fn read(list: List, cursor: &str) -> Option<(i64, String)> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (tag, rest) = bytes.split_first()?;
    let (position, name) = rest.split_first_chunk()?;
    (*tag == list.tag()).then_some(())?;
    Some((i64::from_be_bytes(*position), String::from_utf8(name.to_vec()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_valid_for_its_own_list_only() {
        let text = cursor(List::Sales, -7, "spring");
        assert_eq!(position(List::Sales, Some(&text)), Ok(Some((-7, "spring".to_owned()))));
        assert_eq!(position(List::Sales, None), Ok(None));
        assert!(text.len() < doorbuster_api::limits::CURSOR_BYTES_MAX);
        for bad in [text.as_str(), "", "x", "AAAA", "====", "é"] {
            assert_eq!(
                position(List::Orders, Some(bad)).map_err(|problem| problem.status()),
                Err(422),
                "{bad}"
            );
        }
    }
}
