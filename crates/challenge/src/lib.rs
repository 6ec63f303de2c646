//! Challenges that a buyer must solve before a pass is issued: a captcha to read, a puzzle to
//! slide, or a proof of work without a picture.
//!
//! This crate draws challenges and checks answers. It uses no clock, network or files. The server
//! decides who must solve a challenge and until when, and it accepts each answer only once. The
//! answer to a picture can be found only in its pixels. The name, the size and the metadata of its
//! file do not contain the answer.

mod canvas;
mod captcha;
mod glyphs;
mod picture;
mod puzzle;
mod random;
mod work;

pub use captcha::{
    CAPTCHA_CHARACTERS, CAPTCHA_HEIGHT, CAPTCHA_WIDTH, Captcha, draw_captcha, normalize_answer,
};
pub use puzzle::{
    PIECE_SIDE, PUZZLE_HEIGHT, PUZZLE_WIDTH, Puzzle, TOLERANCE_PX, draw_puzzle, is_in_place,
};
pub use random::RandomSource;
pub use work::{Effort, PAYLOAD_MAX, WorkChallenge, WorkKeys, solve_work};
