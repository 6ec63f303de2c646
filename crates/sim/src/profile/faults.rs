//! What goes wrong: processes that die, leases that lapse, slots that fail; and what is done about slots.
use super::{Profile, small};
use crate::dice::Dice;
use crate::op::Op;

pub(super) fn rolls(_: Profile, dice: &mut Dice) -> Op {
    let (leader, slot) = (small(dice), small(dice));
    match dice.below(4) {
        0 => Op::Lapse { leader, slot },
        1 => Op::Unstop { leader, slot },
        _ => Op::Roll { leader, slot },
    }
}

pub(super) fn crash(_: Profile, dice: &mut Dice) -> Op {
    if dice.chance(50) {
        return Op::CrashLeader { leader: small(dice) };
    }
    Op::CrashNode { node: small(dice) }
}

pub(super) fn leases(_: Profile, dice: &mut Dice) -> Op {
    let node = small(dice);
    match dice.below(8) {
        0 => Op::Die { node },
        1 => Op::Rise { node },
        2 => Op::Tick { tenths: 30 },
        3 | 4 => Op::Leases { leader: small(dice) },
        _ => Op::Beat { node },
    }
}

pub(super) fn fault(_: Profile, dice: &mut Dice) -> Op {
    let slot = small(dice);
    match dice.below(10) {
        0 => Op::Forget { slot },
        1..=4 => Op::Save { slot },
        _ => Op::Swap { slot },
    }
}
