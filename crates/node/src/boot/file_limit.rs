//! Raises the limit of open files, because each connection needs file handles.

use doorbuster_config::Shape;
use doorbuster_web::HANDLES_SPARE;

use super::ServeError;

/// A server starts only if it may have at least this many connections.
const CONNECTIONS_MIN: u64 = 16;

/// Raises the limit of open files for `wanted` connections, as far as the system allows. Returns
/// how many of these connections the new limit allows.
pub(super) fn raise(wanted: usize, shape: &Shape) -> Result<usize, ServeError> {
    let each = handles_each(shape);
    let needed = handles(wanted as u64, each);
    // If the limit cannot be read, it counts as high enough.
    let allowed = rlimit::increase_nofile_limit(needed).unwrap_or(needed);
    let connections = connections(allowed, each);
    if connections < CONNECTIONS_MIN {
        return Err(ServeError::Handles { allowed, needed: handles(CONNECTIONS_MIN, each) });
    }
    if connections < wanted as u64 {
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

/// Returns how many handles each connection needs. At an edge, a request also needs a connection to
/// the node to which the edge passes the request.
const fn handles_each(shape: &Shape) -> u64 {
    match shape {
        Shape::Edge { .. } => 2,
        Shape::Embedded | Shape::Postgres { .. } | Shape::Cluster { .. } => 1,
    }
}

const fn handles(connections: u64, each: u64) -> u64 {
    connections * each + HANDLES_SPARE
}

const fn connections(handles: u64, each: u64) -> u64 {
    handles.saturating_sub(HANDLES_SPARE) / each
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_needs_a_second_handle_for_each_connection() {
        let node = handles_each(&Shape::Embedded);
        let edge = handles_each(&Shape::Edge { slots: Vec::new(), upstreams: Vec::new() });
        assert_eq!(handles(1_000, node), 1_000 + HANDLES_SPARE);
        assert_eq!(handles(1_000, edge), 2_000 + HANDLES_SPARE);
        for each in [node, edge] {
            assert_eq!(connections(handles(1_000, each), each), 1_000);
            assert_eq!(connections(handles(1_000, each) - 1, each), 999);
            assert_eq!(connections(HANDLES_SPARE - 1, each), 0);
        }
    }
}
