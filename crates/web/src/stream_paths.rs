//! The paths of event streams. The handlers of these paths need access to the request's connection.

pub(super) const EVENTS_PATH: &str = "/v1/events";
pub(super) const WEBSOCKET_PATH: &str = "/v1/ws";
