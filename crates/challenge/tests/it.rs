//! Measures how often robots solve each kind of challenge. These measurements set the difficulty,
//! and `docs/front-door.md` has the table.

#[path = "it/ocr.rs"]
mod ocr;
#[path = "it/pace.rs"]
mod pace;
#[path = "it/pixels.rs"]
mod pixels;
#[path = "it/slide.rs"]
mod slide;
#[path = "it/sums.rs"]
mod sums;
