//! What happens in lines.
use super::{Profile, any, small};
use crate::dice::Dice;
use crate::op::Op;
use crate::op::line::Line;

pub(super) fn line(_: Profile, dice: &mut Dice) -> Op {
    let item = small(dice);
    Op::Line(match dice.below(16) {
        0..=5 => Line::Join { buyer: dice.below(6) as u8, key: dice.below(6) as u8, item },
        6 if dice.chance(50) => Line::Leave { place: any(dice) },
        7 | 8 => Line::Ask { place: any(dice) },
        9 if dice.chance(40) => return Op::Adjust { item, delta: dice.between(1, 3) as i8 },
        10 => match small(dice) {
            // Now and then a sale ends while they stand there.
            0 if item > 1 => return Op::Close { item },
            leader => Line::End { leader, item },
        },
        _ => Line::Serve { leader: small(dice), item },
    })
}
