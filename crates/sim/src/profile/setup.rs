//! Chooses the items, slots and nodes of a simulated sale at random.
use super::Profile;
use crate::op::{ItemSetup, Setup, SlotSetup};
use crate::rng::SimRng;

pub(super) fn setup(profile: Profile, rng: &mut SimRng) -> Setup {
    let items = 1 + u8::from(rng.percent(if profile == Profile::Waitlist { 60 } else { 25 }));
    let nodes = rng.in_range(if profile == Profile::Nodes { 2 } else { 1 }, 3) as u8;
    let local = match profile {
        Profile::Restarts | Profile::Nodes => true,
        Profile::Slots | Profile::SlotsTail | Profile::Partitions | Profile::Respread => false,
        Profile::Waitlist => rng.percent(15),
        _ => rng.percent(40),
    };
    let tight = if rng.percent(15) { rng.in_range(2, 6) as u8 } else { 0 };
    let mut setup =
        Setup { items: Vec::new(), slots: Vec::new(), nodes, tight, alone: false, opens: 0 };
    for item in 0..items {
        let total = match profile {
            Profile::Waitlist => Some(rng.in_range(1, 3) as u8),
            _ => (!rng.percent(6)).then(|| rng.in_range(0, 14) as u8),
        };
        let (limit, hold_secs) = (rng.in_range(1, 5) as u8, rng.in_range(1, 30) as u8);
        let in_use =
            total.is_some() && rng.percent(if profile == Profile::Partitions { 80 } else { 25 });
        let [initial, threshold, refill] = if in_use { sizes(rng) } else { [0; 3] };
        let choose = rng.below(3) as u8;
        let changes = profile == Profile::Respread;
        let width = if changes { rng.in_range(1, 4) as u8 } else { 0 };
        setup.items.push(ItemSetup {
            total,
            limit,
            hold_secs,
            choose,
            initial,
            threshold,
            refill,
            width,
        });
        let least = if changes || profile == Profile::Partitions { 2 } else { 1 };
        let most = if profile == Profile::Waitlist { 2 } else { 4 };
        let slots = if local { nodes } else { rng.in_range(least, most) as u8 };
        for slot in 0..slots {
            let share = u64::from(total.unwrap_or(0)) / u64::from(slots);
            let least = if profile == Profile::Waitlist { share + 1 } else { share / 2 };
            let first = rng.in_range(least, share + 1) as u8;
            setup.slots.push(SlotSetup { item, node: local.then_some(slot), first });
        }
    }
    setup
}

/// Returns the sizes of an item's spread, chosen at random: the initial units of a slot, the
/// threshold, and the units of one refill.
fn sizes(rng: &mut SimRng) -> [u8; 3] {
    let threshold = rng.in_range(1, 3) as u8;
    [threshold + rng.below(3) as u8, threshold, rng.in_range(1, 4) as u8]
}
