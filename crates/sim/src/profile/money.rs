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
        21..=24 => Op::CaptureAgain { payment: any(dice) },
        25..=28 => Op::Reconcile { leader, checkout: any(dice) },
        29..=32 => Op::AskRefund { leader, refund: any(dice) },
        33..=35 => {
            Op::RefundArrives { refund: any(dice), how: [0, 3, 5, 7][dice.below(4) as usize] }
        }
        40 | 43 => Op::RetryRefund { refund: any(dice) },
        36 => Op::Extend { order: any(dice), secs: dice.between(1, 60) as u8 },
        37 => Op::Wait { tens: dice.between(1, 15) as u8 },
        _ => Op::Provider { how: [0, 0, 0, 1, 1, 2, 14][dice.below(7) as usize] },
    }
}

/// Now and then a hold ends while its provider is away: it is asked in vain, perhaps about more time as well, and the order waits as long as it may.
pub(super) fn scene(profile: Profile, dice: &mut Dice) -> Vec<Op> {
    if profile != Profile::Silence || !dice.chance(3) {
        return Vec::new();
    }
    let (order, leader) = (any(dice), small(dice));
    let ask = |dice: &mut Dice| {
        [Op::Reconcile { leader, checkout: any(dice) }, Op::DeliverMany { count: 12 }]
    };
    let mut ops =
        vec![Op::Checkout { order }, Op::DeliverMany { count: 12 }, Op::Provider { how: 1 }];
    ops.push(Op::Wait { tens: dice.between(0, 4) as u8 });
    if dice.chance(75) {
        ops.extend(ask(dice));
    }
    if dice.chance(40) {
        ops.extend([
            Op::Extend { order, secs: dice.between(1, 60) as u8 },
            Op::Wait { tens: dice.between(4, 12) as u8 },
        ]);
        if dice.chance(50) {
            ops.extend(ask(dice));
        }
    }
    ops.push(Op::Wait { tens: if dice.chance(25) { 180 } else { dice.between(8, 13) as u8 } });
    ops.extend([Op::Expire { order }, Op::Provider { how: 0 }]);
    ops
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
