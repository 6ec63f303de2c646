//! Measures how long a robot needs to solve proofs of work. A robot must do the whole work, because
//! no faster method is known.

use std::time::Instant;

use altcha::{Challenge, Payload, SolveChallengeOptions, solve_challenge};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use doorbuster_challenge::{Effort, RandomSource, WorkChallenge, WorkKeys};

const ROUNDS: u32 = 3;

fn solve(work: &WorkChallenge, from: u32) -> Payload {
    let challenge: Challenge =
        serde_json::from_value(work.json.clone()).expect("a challenge of the protocol");
    let mut options = SolveChallengeOptions::new(&challenge);
    options.counter_start = from;
    let solution = solve_challenge(options).expect("a valid challenge").expect("solved in time");
    Payload { solution, challenge }
}

#[test]
fn proof_of_work_is_solved_and_its_cost_is_printed() {
    let keys = WorkKeys::new(&[1; 32], &[2; 32]);
    let mut random = RandomSource::from_seed(2_026);
    let (mut took, mut tried) = (std::time::Duration::ZERO, 0);
    let mut checking = std::time::Duration::ZERO;
    for _ in 0..ROUNDS {
        let work = keys.new_challenge(&mut random, Effort::DEFAULT);
        let began = Instant::now();
        // The solution of a challenge is never a counter below `first`. The author of a robot can
        // learn this from the code, so the robot skips these counters.
        let first = Effort::DEFAULT.keys_min - 1;
        let payload = solve(&work, first);
        took += began.elapsed();
        tried += payload.solution.counter - first;
        let encoded = STANDARD.encode(serde_json::to_vec(&payload).expect("plain data"));
        let began = Instant::now();
        assert!(keys.check(&encoded, &work.mark));
        checking += began.elapsed();
    }
    println!(
        "{} ms and {} keys a challenge, {:?} to check",
        took.as_millis() / u128::from(ROUNDS),
        tried / ROUNDS,
        checking / ROUNDS
    );
}
