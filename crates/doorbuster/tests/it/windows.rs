//! What must survive: each test opens one window in which a promise could be lost or a unit sold twice, on the real process.

#[path = "windows/client.rs"]
pub mod client;
#[path = "windows/faults.rs"]
pub mod faults;
#[path = "windows/latch.rs"]
mod latch;
#[path = "windows/limits.rs"]
mod limits;
#[path = "windows/requests.rs"]
mod requests;
#[path = "windows/rig.rs"]
pub mod rig;
#[path = "windows/stock.rs"]
mod stock;
#[path = "windows/storm.rs"]
pub mod storm;
