//! Crash and race windows of the real process: each test stops the process, or delays a step, at a
//! moment when a fault could lose an order or sell a unit twice.

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
