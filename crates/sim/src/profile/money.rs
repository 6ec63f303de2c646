//! Random operations after a purchase: payments, checkouts, refunds, and event deliveries.
use super::{Profile, any_byte, below_four, cancel};
use crate::op::Op;
use crate::rng::SimRng;

pub(super) fn money(_: Profile, rng: &mut SimRng) -> Op {
    let leader = below_four(rng);
    match rng.below(52) {
        41 | 42 => Op::Expire { order: any_byte(rng) },
        48 | 49 => Op::Repeat { message: any_byte(rng) },
        50 | 51 => Op::Late { message: any_byte(rng) },
        44 | 45 => cancel(any_byte(rng)),
        46 | 47 => Op::Refund { order: any_byte(rng) },
        0..=5 => Op::Checkout { order: any_byte(rng) },
        6..=11 => Op::PayAt { session: any_byte(rng), how: below_four(rng) },
        12..=15 => Op::Charge { order: any_byte(rng), how: rng.below(7) as u8 },
        16 | 17 => Op::Charge { order: any_byte(rng), how: 0 },
        18..=20 => Op::TellAgain { payment: any_byte(rng), how: below_four(rng) },
        21..=24 => Op::EndWait { action: any_byte(rng) },
        25..=28 => Op::Reconcile { leader, checkout: any_byte(rng) },
        29..=32 => Op::AskRefund { leader, refund: any_byte(rng) },
        33..=35 => {
            Op::RefundArrives { refund: any_byte(rng), how: [0, 3, 5, 7][rng.below(4) as usize] }
        }
        40 | 43 => Op::RetryRefund { refund: any_byte(rng) },
        36 => Op::Extend { order: any_byte(rng), secs: rng.in_range(1, 60) as u8 },
        37 => Op::Wait { tens: rng.in_range(1, 15) as u8 },
        _ => Op::Provider { how: [0, 0, 0, 1, 1, 2, 14][rng.below(7) as usize] },
    }
}

/// Sometimes returns a sequence of operations in which a payment window ends while the provider is
/// unavailable. The order then waits for the provider for about the longest time allowed, and
/// expires.
pub(super) fn silence_scene(profile: Profile, rng: &mut SimRng) -> Vec<Op> {
    if profile != Profile::Silence || !rng.percent(3) {
        return Vec::new();
    }
    let (order, leader) = (any_byte(rng), below_four(rng));
    let ask = |rng: &mut SimRng| {
        [Op::Reconcile { leader, checkout: any_byte(rng) }, Op::DeliverMany { count: 12 }]
    };
    let mut ops =
        vec![Op::Checkout { order }, Op::DeliverMany { count: 12 }, Op::Provider { how: 1 }];
    ops.push(Op::Wait { tens: rng.in_range(0, 4) as u8 });
    if rng.percent(75) {
        ops.extend(ask(rng));
    }
    if rng.percent(40) {
        ops.extend([
            Op::Extend { order, secs: rng.in_range(1, 60) as u8 },
            Op::Wait { tens: rng.in_range(4, 12) as u8 },
        ]);
        if rng.percent(50) {
            ops.extend(ask(rng));
        }
    }
    ops.push(Op::Wait { tens: if rng.percent(25) { 180 } else { rng.in_range(8, 13) as u8 } });
    ops.extend([Op::Expire { order }, Op::Provider { how: 0 }]);
    ops
}

/// Returns operations that reverse one payment several times, or, usually, no operations. The
/// provider's reports about the reversals arrive late.
pub(super) fn reversal_scene(profile: Profile, rng: &mut SimRng) -> Vec<Op> {
    if !matches!(profile, Profile::Money | Profile::Failover) || !rng.percent(3) {
        return Vec::new();
    }
    let payment = any_byte(rng);
    let mut ops = vec![Op::DeliverMany { count: 12 }];
    for _ in 0..rng.in_range(1, 7) {
        ops.push(Op::Reverse { payment, how: any_byte(rng) });
        ops.push(match rng.below(8) {
            0..=2 => Op::Delay { message: 0 },
            3 => Op::Repeat { message: 0 },
            4 => Op::Lose { message: 0 },
            _ => Op::Deliver { message: 0 },
        });
        match rng.below(6) {
            0 => ops.push(Op::Tick { tenths: 1 }),
            1 => ops.push(Op::Late { message: any_byte(rng) }),
            _ => {}
        }
    }
    ops.extend((0..rng.below(4)).map(|_| Op::Late { message: any_byte(rng) }));
    ops
}

pub(super) fn delivery_op(_: Profile, rng: &mut SimRng) -> Op {
    let endpoint = below_four(rng);
    match rng.below(16) {
        0..=10 => Op::Tell { worker: if rng.percent(75) { 0 } else { 1 }, endpoint },
        11 => Op::CrashTeller { worker: below_four(rng) },
        12 => Op::Tick { tenths: rng.in_range(10, 60) as u8 },
        13 => Op::Endpoint { endpoint, mood: any_byte(rng) },
        _ => Op::Endpoint { endpoint, mood: rng.below(3) as u8 },
    }
}
