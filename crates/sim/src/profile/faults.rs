//! Faults and the operations on slots: nodes that fail, leases that lapse, slots that fail, and
//! rolls.
use super::{Profile, below_four};
use crate::op::Op;
use crate::op::spread::Respread;
use crate::rng::SimRng;

pub(super) fn rolls(_: Profile, rng: &mut SimRng) -> Op {
    let (leader, slot) = (below_four(rng), below_four(rng));
    match rng.below(4) {
        0 => Op::Lapse { leader, slot },
        1 => Op::Unstop { leader, slot },
        _ => Op::Roll { leader, slot },
    }
}

pub(super) fn respread(_: Profile, rng: &mut SimRng) -> Op {
    let (leader, item) = (below_four(rng), below_four(rng));
    match rng.below(8) {
        0 | 1 => Op::Respread(Respread::Set {
            item,
            partitions: below_four(rng),
            choose: rng.below(3) as u8,
        }),
        2 => Op::Respread(Respread::Share { leader, item }),
        _ => Op::Respread(Respread::Leave { leader, slot: below_four(rng) }),
    }
}

pub(super) fn crash(_: Profile, rng: &mut SimRng) -> Op {
    if rng.percent(50) {
        return Op::CrashLeader { leader: below_four(rng) };
    }
    Op::CrashNode { node: below_four(rng) }
}

pub(super) fn leases(_: Profile, rng: &mut SimRng) -> Op {
    let node = below_four(rng);
    match rng.below(8) {
        0 => Op::Die { node },
        1 => Op::Rise { node },
        2 => Op::Tick { tenths: 30 },
        3 | 4 => Op::Leases { leader: below_four(rng) },
        _ => Op::Beat { node },
    }
}

pub(super) fn fault(_: Profile, rng: &mut SimRng) -> Op {
    let slot = below_four(rng);
    match rng.below(10) {
        0 => Op::Forget { slot },
        1..=4 => Op::Save { slot },
        _ => Op::Swap { slot },
    }
}
