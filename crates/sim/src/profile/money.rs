//! What happens after the click: payments, checkouts, refunds, and telling.
use super::{Profile, any, cancel, small};
use crate::dice::Dice;
use crate::op::Op;

pub(super) fn money(_: Profile, dice: &mut Dice) -> Op {
    let leader = small(dice);
    match dice.below(52) {
        41 | 42 => Op::Expire { order: any(dice) },
        48 | 49 => Op::Repeat { message: any(dice) },
        50 | 51 => Op::Late { message: any(dice) },
        44 | 45 => cancel(any(dice)),
        46 | 47 => Op::Refund { order: any(dice) },
        0..=5 => Op::Checkout { order: any(dice) },
        6..=11 => Op::PayAt { session: any(dice), how: small(dice) },
        12..=15 => Op::Charge { order: any(dice), how: dice.below(7) as u8 },
        16 | 17 => Op::Charge { order: any(dice), how: 0 },
        18..=20 => Op::TellAgain { payment: any(dice), how: small(dice) },
        21..=23 => Op::CaptureAgain { payment: any(dice) },
        24..=28 => Op::Reconcile { leader, checkout: any(dice) },
        29..=32 => Op::AskRefund { leader, refund: any(dice) },
        33..=35 => Op::RefundArrives { refund: any(dice), how: [0, 3, 5, 7][dice.below(4) as usize] },
        40 | 43 => Op::RetryRefund { refund: any(dice) },
        36 => Op::Extend { order: any(dice), secs: dice.between(1, 60) as u8 },
        37 => Op::Wait { tens: wait(dice.between(1, 15) as u8) },
        _ => Op::Provider { how: [0, 0, 0, 1, 1, 2, 14][dice.below(7) as usize] },
    }
}

/// Mostly about as long as an order waits for a provider that was asked; now and then longer than for one that nobody could ask.
fn wait(drawn: u8) -> u8 {
    match drawn {
        15 => 190,
        8.. => drawn + 4,
        _ => drawn,
    }
}

pub(super) fn telling(_: Profile, dice: &mut Dice) -> Op {
    let endpoint = small(dice);
    match dice.below(16) {
        0..=10 => Op::Tell { worker: if dice.chance(75) { 0 } else { 1 }, endpoint },
        11 => Op::CrashTeller { worker: small(dice) },
        12 => Op::Tick { tenths: dice.between(10, 60) as u8 },
        13 => Op::Endpoint { endpoint, mood: any(dice) },
        _ => Op::Endpoint { endpoint, mood: dice.below(3) as u8 },
    }
}
