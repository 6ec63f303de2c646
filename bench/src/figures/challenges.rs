//! E4: what a challenge costs the server to make, which it does beside its buyers.
use doorbuster_challenge::{Chance, Effort, WorkKeys, draw_captcha, draw_puzzle};

use crate::cores;
use crate::figure::{Figure, Target, median};
use crate::setting::Setting;

/// Milliseconds.
const TARGET: Target = Target::AtMost { floor: 2.0, goal: 1.0 };
/// Challenges of a round.
const TIMES: u32 = 100;

/// Measures E4.
pub fn measure(setting: &Setting, _ids: &[&'static str]) -> Vec<Figure> {
    let keys = WorkKeys::new(&[1; 32], &[2; 32]);
    let mut chance = Chance::new();
    vec![
        cost(setting, "drawing a captcha", || drop(std::hint::black_box(draw_captcha(&mut chance)))),
        cost(setting, "drawing a sliding puzzle", || drop(std::hint::black_box(draw_puzzle(&mut Chance::new())))),
        cost(setting, "making proof of work", || {
            drop(std::hint::black_box(keys.make(&mut Chance::new(), Effort::USUAL)));
        }),
    ]
}

/// Processor time of one, the mean of each round, which does not count what else the machine does.
fn cost(setting: &Setting, what: &str, mut make: impl FnMut()) -> Figure {
    make();
    let rounds: Vec<f64> = (0..setting.rounds)
        .map(|_| {
            let before = cores::spent();
            (0..TIMES).for_each(|_| make());
            cores::spent().saturating_sub(before).as_secs_f64() * 1e3 / f64::from(TIMES)
        })
        .collect();
    let figure = Figure::new("E4", what, TARGET).plain(median(&rounds), "ms");
    Figure { rounds, ..figure }.note(format!("processor time of one thread, the mean of {TIMES} in each round"))
}
