//! What must survive: each test opens one window in which a promise could be lost or a unit sold twice, on the real process.

#[path = "windows/client.rs"]
pub mod client;
#[path = "windows/faults.rs"]
pub mod faults;
#[path = "windows/requests.rs"]
mod requests;
#[path = "windows/rig.rs"]
pub mod rig;
#[path = "windows/storm.rs"]
pub mod storm;
