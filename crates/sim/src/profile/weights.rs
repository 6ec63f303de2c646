//! Defines how frequent each group of operations is in the lists of each profile.
use super::Profile;
use crate::rng::SimRng;

/// A weight for each group of operations. A group with the weight 2 is chosen twice as often as a
/// group with the weight 1.
pub(super) struct Weights {
    pub(super) buy: u64,
    pub(super) replay: u64,
    pub(super) hand_out: u64,
    pub(super) endings: u64,
    pub(super) time: u64,
    pub(super) deliver: u64,
    pub(super) lose: u64,
    pub(super) settle: u64,
    pub(super) grants: u64,
    pub(super) recalls: u64,
    pub(super) look: u64,
    pub(super) phases: u64,
    pub(super) rolls: u64,
    pub(super) snapshots: u64,
    pub(super) crashes: u64,
    pub(super) leases: u64,
    pub(super) faults: u64,
    pub(super) money: u64,
    pub(super) deliveries: u64,
    pub(super) line: u64,
    pub(super) respread: u64,
    pub(super) failovers: u64,
}

/// The default weights. Each profile changes some of them.
const BASE: Weights = Weights {
    buy: 14,
    replay: 5,
    hand_out: 5,
    endings: 4,
    time: 3,
    deliver: 46,
    lose: 3,
    settle: 13,
    grants: 7,
    recalls: 4,
    look: 4,
    phases: 1,
    rolls: 1,
    snapshots: 5,
    crashes: 1,
    leases: 1,
    faults: 0,
    money: 1,
    deliveries: 1,
    line: 0,
    respread: 0,
    failovers: 0,
};

pub(super) fn weights(profile: Profile, rng: &mut SimRng) -> Weights {
    match profile {
        Profile::Money | Profile::Silence => {
            Weights { money: 34, endings: 5, time: 5, lose: 5, recalls: 2, phases: 0, ..BASE }
        }
        Profile::Telling => {
            Weights { deliveries: 34, endings: 9, money: 3, lose: 8, recalls: 1, ..BASE }
        }
        Profile::Waitlist => Weights {
            line: 36,
            buy: 36,
            settle: 34,
            deliver: 70,
            endings: 6,
            lose: 2,
            phases: 3,
            recalls: 1,
            ..BASE
        },
        Profile::Calm => Weights { lose: 0, crashes: 0, leases: 0, ..BASE },
        Profile::Partitions => Weights { grants: 18, recalls: 8, buy: 22, ..BASE },
        Profile::Respread => {
            Weights { respread: 26, grants: 10, recalls: 8, buy: 22, replay: 9, crashes: 2, ..BASE }
        }
        Profile::Nodes => Weights { leases: 9, grants: 12, crashes: 2, ..BASE },
        Profile::Network => Weights { lose: 9, crashes: 2, ..BASE },
        Profile::Slots => Weights { faults: 8, look: 7, ..BASE },
        Profile::SlotsTail => Weights { faults: 7, recalls: 12, grants: 9, look: 7, ..BASE },
        Profile::Epochs => {
            Weights { rolls: 8, recalls: 10, grants: 12, lose: 14, endings: 6, ..BASE }
        }
        Profile::Restarts => Weights { crashes: 5, rolls: 2, ..BASE },
        Profile::Tail => Weights { recalls: 14, grants: 10, ..BASE },
        Profile::Endings => Weights { endings: 12, time: 6, ..BASE },
        Profile::Replays => Weights { replay: 16, snapshots: 8, endings: 6, ..BASE },
        Profile::Swarm => swarm(rng),
        Profile::Failover => Weights {
            failovers: 9,
            line: 6,
            respread: 3,
            money: 12,
            deliveries: 6,
            replay: 9,
            snapshots: 7,
            phases: 2,
            ..BASE
        },
        Profile::Phases => Weights { phases: 8, rolls: 4, ..BASE },
    }
}

/// Returns random weights for most groups. Three groups keep their default weights: new requests,
/// arrivals of messages, and settling.
fn swarm(rng: &mut SimRng) -> Weights {
    let mut some = |weight: u64| weight * [0, 0, 1, 1, 2, 4][rng.below(6) as usize];
    Weights {
        replay: some(BASE.replay),
        hand_out: some(BASE.hand_out),
        endings: some(BASE.endings),
        time: some(BASE.time),
        lose: some(BASE.lose),
        grants: some(BASE.grants),
        recalls: some(BASE.recalls),
        look: some(BASE.look),
        phases: some(BASE.phases),
        rolls: some(BASE.rolls),
        snapshots: some(BASE.snapshots),
        crashes: some(BASE.crashes),
        leases: some(2),
        faults: some(2),
        money: some(4),
        deliveries: some(4),
        line: some(6),
        respread: some(6),
        ..BASE
    }
}
