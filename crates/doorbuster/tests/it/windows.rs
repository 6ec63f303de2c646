//! Crash and race windows: each test opens one window in which a promise could be lost or a unit
//! sold twice, on the real process.

#[path = "windows/admission_end.rs"]
mod admission_end;
#[path = "windows/audit.rs"]
mod audit;
#[path = "windows/buyer_probe.rs"]
mod buyer_probe;
#[path = "windows/client.rs"]
pub mod client;
#[path = "windows/clock.rs"]
mod clock;
#[path = "windows/decide.rs"]
mod decide;
#[path = "windows/disk.rs"]
mod disk;
#[path = "windows/failing.rs"]
mod failing;
#[path = "windows/faults.rs"]
pub mod faults;
#[path = "windows/fixture.rs"]
pub mod fixture;
#[path = "windows/gone.rs"]
mod gone;
#[path = "windows/latch.rs"]
mod latch;
#[path = "windows/limits.rs"]
mod limits;
#[path = "windows/overload.rs"]
mod overload;
#[path = "windows/poison.rs"]
mod poison;
#[path = "windows/purchase_log.rs"]
pub mod purchase_log;
#[path = "windows/random_load.rs"]
pub mod random_load;
#[path = "windows/reads.rs"]
mod reads;
#[path = "windows/requests.rs"]
mod requests;
#[path = "windows/sinks.rs"]
mod sinks;
#[path = "windows/slow.rs"]
mod slow;
#[path = "windows/stock.rs"]
mod stock;
#[path = "windows/stop.rs"]
mod stop;
