//! What a challenge costs the server to make.

use std::hint::black_box;
use std::time::{Duration, Instant};

use doorbuster_challenge::{Chance, Effort, WorkKeys, draw_captcha, draw_puzzle};

/// Most that one may take, in a release build.
const MOST: Duration = Duration::from_millis(2);
const BATCHES: u32 = 20;
const IN_A_BATCH: u32 = 10;

/// The mean of the quickest batch: what it costs when nothing else runs.
fn quickest(mut make: impl FnMut()) -> Duration {
    let batch = |_| {
        let began = Instant::now();
        (0..IN_A_BATCH).for_each(|_| make());
        began.elapsed() / IN_A_BATCH
    };
    (0..BATCHES).map(batch).min().expect("there are batches")
}

#[test]
fn a_challenge_is_made_in_two_milliseconds() {
    let mut chance = Chance::repeatable(2_026);
    let keys = WorkKeys::new(&[1; 32], &[2; 32]);
    let captcha = quickest(|| drop(black_box(draw_captcha(&mut chance))));
    let puzzle = quickest(|| drop(black_box(draw_puzzle(&mut chance))));
    let work = quickest(|| drop(black_box(keys.make(&mut chance, Effort::USUAL))));
    println!("captcha {captcha:?}, puzzle {puzzle:?}, work {work:?}");
    if cfg!(debug_assertions) {
        println!("SKIPPED: the bound is for release builds");
        return;
    }
    for (what, took) in [("captcha", captcha), ("puzzle", puzzle), ("work", work)] {
        assert!(took < MOST, "a {what} takes {took:?}");
    }
}
