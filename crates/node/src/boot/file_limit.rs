//! Raises the limit of open files, because each connection needs one file handle.

use doorbuster_web::HANDLES_SPARE;

use super::ServeError;

/// A server starts only if it may have at least this many connections.
const CONNECTIONS_MIN: u64 = 16;

/// Raises the limit of open files for `wanted` connections, as far as the system allows. Returns
/// how many of these connections the new limit allows.
pub(super) fn raise(wanted: usize) -> Result<usize, ServeError> {
    let needed = wanted as u64 + HANDLES_SPARE;
    // If the limit cannot be read, it counts as high enough.
    let allowed = rlimit::increase_nofile_limit(needed).unwrap_or(needed);
    if allowed < CONNECTIONS_MIN + HANDLES_SPARE {
        return Err(ServeError::Handles { allowed, needed: CONNECTIONS_MIN + HANDLES_SPARE });
    }
    if allowed < needed {
        let connections = allowed - HANDLES_SPARE;
        tracing::warn!(
            wanted,
            connections,
            event = "server.few_files",
            "the limit of open files (ulimit -n) is {allowed}, so the server accepts fewer \
             connections than limits.connections; raise the limit, or lower limits.connections"
        );
        return Ok(usize::try_from(connections).unwrap_or(wanted));
    }
    Ok(wanted)
}
