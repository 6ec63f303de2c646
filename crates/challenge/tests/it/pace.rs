//! Measures the time that the server needs to make a challenge.

use std::hint::black_box;
use std::time::Duration;

use doorbuster_challenge::{Effort, RandomSource, WorkKeys, draw_captcha, draw_puzzle};

/// The test fails if one challenge takes more processor time than this in a release build.
const MOST: Duration = Duration::from_millis(2);
const TIMES: u32 = 40;
/// The number of measurements. The test uses the smallest result, because other programs on the
/// machine can raise a result, but never lower it.
const ROUNDS: u32 = 5;

/// Returns the processor time of this thread, without the time of other threads and programs.
fn spent() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")
        .expect("Linux reports the processor time");
    let nanos = text.split(' ').next().and_then(|word| word.parse().ok());
    Duration::from_nanos(nanos.expect("the first word is a number of nanoseconds"))
}

/// Measures several rounds. Returns the average processor time of one challenge in the fastest
/// round.
fn cost(mut make: impl FnMut()) -> Duration {
    make();
    let round = |_| {
        let before = spent();
        (0..TIMES).for_each(|_| make());
        (spent() - before) / TIMES
    };
    (0..ROUNDS).map(round).min().expect("at least one round")
}

#[test]
#[cfg_attr(debug_assertions, ignore = "the bound is for release builds")]
fn a_challenge_is_made_in_two_milliseconds() {
    let mut random = RandomSource::from_seed(2_026);
    let keys = WorkKeys::new(&[1; 32], &[2; 32]);
    let captcha = cost(|| drop(black_box(draw_captcha(&mut random))));
    let puzzle = cost(|| drop(black_box(draw_puzzle(&mut random))));
    let work = cost(|| drop(black_box(keys.new_challenge(&mut random, Effort::DEFAULT))));
    println!("captcha {captcha:?}, puzzle {puzzle:?}, work {work:?}");
    for (what, took) in [("captcha", captcha), ("puzzle", puzzle), ("work", work)] {
        assert!(took < MOST, "a {what} takes {took:?}, which is more than {MOST:?}");
    }
}
