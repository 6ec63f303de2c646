//! The paths of event streams. A request for one of them needs its connection.

/// The path of server-sent events.
pub(super) const EVENTS_PATH: &str = "/v1/events";
/// The path of WebSockets.
pub(super) const WEBSOCKET_PATH: &str = "/v1/ws";
