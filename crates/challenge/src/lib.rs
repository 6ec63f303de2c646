//! What a person is asked before a pass is given: a captcha to read, a puzzle to slide, or work for
//! a device without any picture.
//!
//! Everything here is drawn and checked without a clock, a network or a file. Who is asked, until
//! when, and that an answer counts once is the server's. A picture's answer is in its pixels and
//! nowhere else: not in a name, a size or a chunk of its file.

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
