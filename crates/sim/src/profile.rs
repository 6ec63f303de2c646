//! Turns a seed into a list of operations. The seed also selects a profile, which makes some
//! operations frequent.
mod faults;
mod money;
mod setup;
mod waitlist;
mod weights;

use crate::op::waitlist::WaitlistOp;
use crate::op::{Case, Op, REFUSED_AT_DOOR};
use crate::rng::{SimRng, mix};
use weights::{Weights, weights};

/// A profile: it decides which operations are frequent in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// There are no faults, but messages may arrive late.
    Calm,
    /// Messages are lost, repeated and delayed, and leaders and settlers fail. Slots keep their
    /// data.
    Network,
    /// Slots lose their data or return to old data.
    Slots,
    /// Slots lose their data or return to old data. Meanwhile, units are moved between slots.
    SlotsTail,
    /// Nodes fail and start again without the slots in their memory.
    Restarts,
    /// Requests ask for many units, and recalls and refills are frequent.
    Tail,
    /// Orders end often: they are cancelled, expired, refunded or paid late.
    Endings,
    /// The same requests are repeated at several nodes.
    Replays,
    /// Operators often pause and close sales, and slots often move to a new epoch.
    Phases,
    /// Grants are closed and opened frequently, while old messages still arrive.
    Epochs,
    /// An item has several partitions with sub-domains. Four cases are frequent: the active
    /// sub-domain switches, slots need a refill, two leaders refill, and a request tries a second
    /// partition.
    Partitions,
    /// The number of partitions changes again and again while buyers buy.
    Respread,
    /// Nodes with slots in their memory fail. Some nodes start again, and leases lapse.
    Nodes,
    /// A payment is on time, late, repeated or wrong, or its message is late. The provider is
    /// sometimes unavailable.
    Money,
    /// Like `Money`. In addition, payment windows end while the provider does not answer.
    Silence,
    /// Workers deliver events to endpoints that fail.
    Telling,
    /// There is little stock, orders end, and buyers wait for units to return.
    Waitlist,
    /// The database fails over to a standby that lacks commits.
    Failover,
    /// Most groups of operations get a random weight. A group with the weight 0 does not occur.
    Swarm,
}

impl Profile {
    /// Every profile. Consecutive seeds use consecutive profiles.
    pub const ALL: &[Self] = &[
        Self::Calm,
        Self::Network,
        Self::Slots,
        Self::SlotsTail,
        Self::Restarts,
        Self::Tail,
        Self::Endings,
        Self::Replays,
        Self::Phases,
        Self::Epochs,
        Self::Partitions,
        Self::Nodes,
        Self::Money,
        Self::Telling,
        Self::Silence,
        Self::Waitlist,
        Self::Respread,
        Self::Swarm,
        Self::Failover,
    ];

    /// Returns the profile of a seed.
    #[must_use]
    pub fn for_seed(seed: u64) -> Self {
        Self::ALL[(seed % Self::ALL.len() as u64) as usize]
    }
}

/// Makes a random operation of one group.
type MakeOp = fn(Profile, &mut SimRng) -> Op;

/// Returns the setup and the list of operations of a seed.
#[must_use]
pub fn case(seed: u64) -> Case {
    let profile = Profile::for_seed(seed);
    let mut rng = SimRng::new(seed);
    let mut setup = setup::setup(profile, &mut rng);
    // This choice uses the seed itself. If the choice drew a random number, every later choice of
    // every seed would change. A setup with failovers always has several processes, because only a
    // shared database can fail over.
    let nth = seed / Profile::ALL.len() as u64;
    setup.alone = nth.is_multiple_of(2) && profile != Profile::Failover && setup.may_be_alone();
    let mut opening_rng = SimRng::new(mix(seed));
    setup.opens = if nth % 5 == 1 { opening_rng.in_range(1, 30) as u8 } else { 0 };
    let count = match profile {
        _ if rng.percent(4) => rng.in_range(300, 600),
        Profile::Money | Profile::Silence | Profile::Waitlist => rng.in_range(80, 320),
        _ => rng.in_range(40, 200),
    };
    let mut reversal_rng = SimRng::new(mix(seed.wrapping_add(1)));
    let weights = weights(profile, &mut rng);
    let mut ops = Vec::new();
    for _ in 0..count {
        ops.push(op(profile, &weights, &mut rng));
        ops.extend(money::silence_scene(profile, &mut rng));
        ops.extend(money::reversal_scene(profile, &mut reversal_rng));
        ops.extend(faults::narrowing_scene(profile, &mut rng));
        if setup.opens > 0 {
            ops.extend(opening(&mut opening_rng));
        }
    }
    Case { setup, ops }
}

fn op(profile: Profile, w: &Weights, rng: &mut SimRng) -> Op {
    let groups: [(u64, MakeOp); 22] = [
        (w.buy, buy),
        (w.replay, replay),
        (w.hand_out, hand_out),
        (w.endings, ending),
        (w.time, time),
        (w.deliver, deliver),
        (w.lose, lose),
        (w.settle, settle),
        (w.grants, grants),
        (w.recalls, recalls),
        (w.look, look),
        (w.phases, phases),
        (w.rolls, faults::epoch_op),
        (w.snapshots, |_, rng| Op::Snapshot { node: below_four(rng) }),
        (w.crashes, faults::crash),
        (w.leases, faults::leases),
        (w.faults, faults::fault),
        (w.money, money::money),
        (w.deliveries, money::delivery_op),
        (w.line, waitlist::waitlist),
        (w.respread, faults::respread),
        (w.failovers, faults::failover),
    ];
    let all: u64 = groups.iter().map(|(weight, _)| weight).sum();
    let mut at = rng.below(all);
    for (weight, make) in groups {
        if at < weight {
            return make(profile, rng);
        }
        at -= weight;
    }
    Op::Tick { tenths: 1 }
}

fn below_four(rng: &mut SimRng) -> u8 {
    rng.below(4) as u8
}

fn any_byte(rng: &mut SimRng) -> u8 {
    rng.below(256) as u8
}

fn buy(profile: Profile, rng: &mut SimRng) -> Op {
    let most = match profile {
        Profile::Tail => 5,
        Profile::Waitlist => 1 + u64::from(rng.percent(20)),
        _ => 3,
    };
    let units = rng.in_range(1, most) as u8;
    Op::Buy {
        node: below_four(rng),
        buyer: rng.below(6) as u8,
        key: rng.below(6) as u8,
        item: below_four(rng),
        units,
    }
}

fn replay(_: Profile, rng: &mut SimRng) -> Op {
    let more = if rng.percent(12) { 1 } else { 0 };
    let (node, attempt) = (below_four(rng), any_byte(rng));
    // This choice uses `attempt`. If the choice drew a random number, every later choice of the
    // seed would change.
    let door = if attempt % 4 == 0 { REFUSED_AT_DOOR } else { 0 };
    Op::Replay { node, attempt, more: more | door }
}

fn hand_out(_: Profile, rng: &mut SimRng) -> Op {
    match rng.below(6) {
        0 | 1 => Op::HandOut { attempt: any_byte(rng) },
        2 => Op::Get { id: any_byte(rng) },
        3 => Op::Poll { attempt: any_byte(rng) },
        _ => Op::Retry { attempt: any_byte(rng) },
    }
}

fn ending(_: Profile, rng: &mut SimRng) -> Op {
    let order = any_byte(rng);
    match rng.below(10) {
        0..=3 => cancel(order),
        4 | 5 => Op::Expire { order },
        6 | 7 => Op::Pay { order, event: rng.below(8) as u8 },
        8 => Op::Pay { order, event: any_byte(rng) },
        _ => Op::Refund { order },
    }
}

/// Returns a cancellation by an operator if `order` is odd, and by the buyer otherwise. The
/// function draws no random number, because that would change every later choice of the seed.
fn cancel(order: u8) -> Op {
    match order % 2 {
        0 => Op::Cancel { order },
        _ => Op::Waitlist(WaitlistOp::TakeAway { order }),
    }
}

fn time(_: Profile, rng: &mut SimRng) -> Op {
    match rng.below(8) {
        0..=3 => Op::Tick { tenths: rng.in_range(1, 5) as u8 },
        4 | 5 => Op::Tick { tenths: rng.in_range(5, 30) as u8 },
        6 => Op::Tick { tenths: rng.in_range(50, 150) as u8 },
        _ if rng.percent(15) => Op::Step { minutes: rng.in_range(0, 120) as i8 - 60 },
        _ => Op::Skew { node: below_four(rng), tenths: rng.in_range(0, 40) as i8 - 20 },
    }
}

/// Returns an operation that opens a sale or moves its start. At most times, returns `None`.
fn opening(rng: &mut SimRng) -> Option<Op> {
    let item = below_four(rng);
    match rng.below(16) {
        0 | 1 => Some(Op::TakeDueStep { leader: below_four(rng), item }),
        2 if rng.percent(30) => Some(Op::MoveStart { item, tenths: rng.in_range(0, 30) as u8 }),
        _ => None,
    }
}

fn mostly_first(rng: &mut SimRng) -> u8 {
    if rng.percent(60) { 0 } else { any_byte(rng) }
}

fn deliver(_: Profile, rng: &mut SimRng) -> Op {
    if rng.percent(35) {
        return Op::DeliverMany { count: rng.in_range(2, 12) as u8 };
    }
    Op::Deliver { message: mostly_first(rng) }
}

fn lose(_: Profile, rng: &mut SimRng) -> Op {
    let message = mostly_first(rng);
    match rng.below(8) {
        0 | 1 => Op::Lose { message },
        2 | 3 => Op::Repeat { message },
        4 => Op::Delay { message },
        _ => Op::Late { message: any_byte(rng) },
    }
}

fn settle(_: Profile, rng: &mut SimRng) -> Op {
    let slot = below_four(rng);
    if rng.percent(12) {
        return Op::Redeliver { slot };
    }
    if rng.percent(3) {
        return Op::Poison { message: any_byte(rng) };
    }
    Op::Take { slot, at_most: rng.in_range(1, 8) as u8 }
}

fn grants(_: Profile, rng: &mut SimRng) -> Op {
    let (leader, slot, units) = (below_four(rng), below_four(rng), rng.in_range(0, 5) as u8);
    match rng.below(8) {
        0 => Op::Open { leader, slot, units },
        1 | 2 => Op::Refill { leader, slot, units, counter: rng.below(2) as u8 },
        3 | 4 => Op::Round { node: leader, item: slot },
        _ => Op::Feed { leader, slot },
    }
}

fn recalls(_: Profile, rng: &mut SimRng) -> Op {
    let leader = below_four(rng);
    match rng.below(8) {
        0 | 1 => Op::Recall {
            leader,
            slot: below_four(rng),
            units: rng.in_range(1, 5) as u8,
            target: rng.below(5) as u8,
        },
        2 => Op::RecallAgain { leader, recall: any_byte(rng) },
        3 => Op::Adjust { item: below_four(rng), delta: rng.in_range(0, 8) as i8 - 4 },
        _ => Op::Round { node: leader, item: below_four(rng) },
    }
}

fn look(_: Profile, rng: &mut SimRng) -> Op {
    Op::Look { leader: below_four(rng), slot: below_four(rng) }
}

fn phases(_: Profile, rng: &mut SimRng) -> Op {
    let item = below_four(rng);
    match rng.below(9) {
        0 | 1 => Op::Pause { item },
        2 | 3 => Op::Resume { item },
        4 if rng.percent(30) => Op::Close { item },
        _ => Op::Drain { leader: below_four(rng), item },
    }
}
