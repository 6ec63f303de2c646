//! Operations on waitlists.
use super::{Profile, any_byte, below_four};
use crate::op::Op;
use crate::op::waitlist::WaitlistOp;
use crate::rng::SimRng;

pub(super) fn waitlist(_: Profile, rng: &mut SimRng) -> Op {
    let item = below_four(rng);
    Op::Waitlist(match rng.below(16) {
        // Only three buyers join, so that one buyer often joins more than once.
        0..=5 => WaitlistOp::Join { buyer: rng.below(3) as u8, key: rng.below(6) as u8, item },
        6 if rng.percent(50) => WaitlistOp::Leave { place: any_byte(rng) },
        7 | 8 => WaitlistOp::Ask { place: any_byte(rng) },
        9 if rng.percent(40) => return Op::Adjust { item, delta: rng.in_range(1, 3) as i8 },
        10 => match below_four(rng) {
            // Sometimes a sale ends while buyers wait.
            0 if item > 1 => return Op::Close { item },
            leader => WaitlistOp::End { leader, item },
        },
        // An operator cancels an order that may come from the waitlist. Its buyer can then join
        // again.
        11 if rng.percent(60) => WaitlistOp::TakeAway { order: any_byte(rng) },
        _ => WaitlistOp::Serve { leader: below_four(rng), item },
    })
}
