//! File handles: each connection is one.

use super::ServeError;
use crate::web::HANDLES_SPARE;

/// Fewest connections that are worth a server.
const CONNECTIONS_MIN: u64 = 16;

/// Raises the process's limit of open files as far as it goes, and says how many connections that
/// allows, `wanted` at most.
pub(super) fn raise(wanted: usize) -> Result<usize, ServeError> {
    let needed = wanted as u64 + HANDLES_SPARE;
    // Not to be told is not to be limited: where the limit cannot be read, accepting will show it.
    let allowed = rlimit::increase_nofile_limit(needed).unwrap_or(needed);
    if allowed < CONNECTIONS_MIN + HANDLES_SPARE {
        return Err(ServeError::Handles { allowed, needed: CONNECTIONS_MIN + HANDLES_SPARE });
    }
    if allowed < needed {
        let connections = allowed - HANDLES_SPARE;
        tracing::warn!(
            wanted,
            connections,
            "the limit of open files (ulimit -n) is {allowed}, so fewer connections are taken than limits.connections \
             says"
        );
        return Ok(usize::try_from(connections).unwrap_or(wanted));
    }
    Ok(wanted)
}
