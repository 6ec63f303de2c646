//! The bounds of endpoints.

/// The maximum number of endpoints of a deployment. The server refuses to add more.
pub const ENDPOINTS_MAX: usize = 50;
/// The maximum number of active secrets of one endpoint. Each message has a signature for every
/// active secret. Adding one more secret removes the oldest one.
pub const SECRETS_MAX: usize = 5;
