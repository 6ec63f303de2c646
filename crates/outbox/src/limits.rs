//! The bounds of endpoints.

/// The maximum number of endpoints of a deployment. Further endpoints are refused.
pub const ENDPOINTS_MAX: usize = 50;
/// The maximum number of active secrets of one endpoint. Every active secret signs each message. A
/// further secret replaces the oldest one.
pub const SECRETS_MAX: usize = 5;
