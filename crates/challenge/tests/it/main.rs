//! Measures how often robots solve each kind of challenge. These measurements decide how difficult
//! the challenges are. A table in `docs/front-door.md` lists the results.

mod ocr;
mod pace;
mod pixels;
mod slide;
mod sums;
