//! Reads request bodies strictly, and reports each fault with its pointer.
//!
//! * A body that is not UTF-8 JSON, or not an object, gets `400 malformed_request`. Any other fault
//!   gets `422 invalid_request`.
//! * Only expected members are parsed, so deeply nested JSON cannot exhaust the stack.

mod json;
mod member_patch;
mod object;
mod purchase;
pub(crate) mod read;
pub(crate) mod text;

pub use member_patch::MemberPatch;
pub(crate) use object::{Faults, Object};
pub use purchase::Purchase;
pub use text::TextPatch;

use serde_json::value::RawValue;

use crate::header::PresentedKey;
use crate::problem::{Fault, Problem};

/// Reads an object that may have only `members`. The function `shape` reads the members.
pub(crate) fn object<'a, T>(
    bytes: &'a [u8],
    members: &'static [&'static str],
    shape: impl FnOnce(&mut Object<'a, '_>) -> Option<T>,
) -> Result<T, Problem> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Problem::malformed_request("the body is not UTF-8"))?;
    let root: &RawValue = serde_json::from_str(text)
        .map_err(|fault| Problem::malformed_request(format!("the body is not JSON: {fault}")))?;
    if !json::JsonKind::from_raw(root).is_object() {
        return Err(Problem::malformed_request("the body is not a JSON object"));
    }
    let mut faults = Faults::default();
    let found = Object::open(root, String::new(), members, &mut faults)
        .and_then(|mut object| shape(&mut object));
    faults.into_result(found)
}

/// Reads a body that must be absent or an object without members.
///
/// # Errors
/// `400` or `422`.
pub fn nothing(bytes: &[u8]) -> Result<(), Problem> {
    if bytes.is_empty() { Ok(()) } else { object(bytes, &[], |_| Some(())) }
}

/// Combines the parsed body and the parsed `Idempotency-Key`. If both have faults, one problem
/// lists all faults.
///
/// # Errors
/// The problem of the body, the fault of the key, or both together.
pub fn join_key_and_body<T>(
    key: Result<PresentedKey<'_>, Fault>,
    body: Result<T, Problem>,
) -> Result<(PresentedKey<'_>, T), Problem> {
    match (key, body) {
        (Ok(key), Ok(body)) => Ok((key, body)),
        (Ok(_), Err(problem)) => Err(problem),
        (Err(fault), Ok(_)) => Err(Problem::invalid_request(vec![fault])),
        (Err(fault), Err(problem)) if problem.faults().is_empty() => {
            // The problem `malformed_request` has no list of faults, so the response does not say
            // that the request key is invalid. The client learns this when it sends a valid body.
            drop(fault);
            Err(problem)
        }
        (Err(fault), Err(problem)) => {
            let mut faults = vec![fault];
            faults.extend_from_slice(problem.faults());
            Err(Problem::invalid_request(faults))
        }
    }
}

#[cfg(test)]
mod tests;
