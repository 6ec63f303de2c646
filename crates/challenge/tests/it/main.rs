//! Measures how often robots solve each kind of challenge. These measurements set the difficulty,
//! and `docs/front-door.md` has the table.

mod ocr;
mod pace;
mod pixels;
mod slide;
mod sums;
