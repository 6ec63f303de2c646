//! Random faults and operations on slots: nodes that fail, leases that lapse, slots that fail, and
//! slots that move to a new epoch.
use super::{Profile, below_four};
use crate::op::Op;
use crate::op::spread::SpreadOp;
use crate::rng::SimRng;

pub(super) fn epoch_op(_: Profile, rng: &mut SimRng) -> Op {
    let (leader, slot) = (below_four(rng), below_four(rng));
    match rng.below(4) {
        0 => Op::Lapse { leader, slot },
        1 => Op::Round { node: leader, item: slot },
        _ => Op::Roll { leader, slot },
    }
}

pub(super) fn respread(_: Profile, rng: &mut SimRng) -> Op {
    let (leader, item) = (below_four(rng), below_four(rng));
    match rng.below(8) {
        0 | 1 => Op::Respread(SpreadOp::Set {
            item,
            partitions: below_four(rng),
            choose: rng.below(3) as u8,
        }),
        2 => Op::Round { node: leader, item },
        _ => Op::Respread(SpreadOp::Leave { leader, slot: below_four(rng) }),
    }
}

/// Sometimes returns a fixed sequence of operations: a slot leaves the spread while one of its
/// tickets is undecided. The ticket's buyer repeats the request. The node parks the repeated
/// request for the longest time allowed.
pub(super) fn narrowing_scene(profile: Profile, rng: &mut SimRng) -> Vec<Op> {
    if profile != Profile::Respread || !rng.percent(8) {
        return Vec::new();
    }
    let (node, item) = (rng.below(3) as u8, 0);
    let (buyer, key) = (rng.below(6) as u8, rng.below(6) as u8);
    let buy = Op::Buy { node, buyer, key, item, units: rng.in_range(1, 3) as u8 };
    let arrive = Op::DeliverMany { count: 12 };
    let narrow = SpreadOp::Set { item, partitions: 0, choose: rng.below(3) as u8 };
    vec![
        buy,
        arrive,
        Op::Respread(narrow),
        Op::Adjust { item, delta: 1 },
        Op::Snapshot { node },
        arrive,
        buy,
        arrive,
        Op::Tick { tenths: 11 },
        Op::Snapshot { node },
        arrive,
        Op::Retry { attempt: rng.below(8) as u8 },
        arrive,
    ]
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

pub(super) fn failover(_: Profile, rng: &mut SimRng) -> Op {
    match rng.below(10) {
        0 => Op::StandbyStops,
        1 => Op::FailOver,
        2 => Op::PauseAfterFailover,
        order @ 3..=5 => Op::Cancel { order: order as u8 + below_four(rng) },
        6 => Op::Expire { order: below_four(rng) },
        7 => Op::Resume { item: below_four(rng) },
        _ => Op::Snapshot { node: below_four(rng) },
    }
}
