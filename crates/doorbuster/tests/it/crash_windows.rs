//! Crash and race windows: each test opens one window in which a promise could be lost or a unit
//! sold twice, on the real process.

mod admission_end;
mod audit;
mod buyer_probe;
pub mod client;
mod clock;
mod decide;
mod disk;
mod failing;
pub mod faults;
pub mod fixture;
mod gone;
mod limits;
mod overload;
mod poison;
pub mod purchase_log;
pub mod random_load;
mod reads;
mod requests;
mod slow;
mod sold_out_is_not_final;
mod stock;
mod stop;
mod unavailable_receivers;
