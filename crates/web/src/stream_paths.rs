//! The paths of event streams. The handlers of these paths need the request's connection.

/// The path of server-sent events.
pub(super) const EVENTS_PATH: &str = "/v1/events";
/// The path of WebSockets.
pub(super) const WEBSOCKET_PATH: &str = "/v1/ws";
