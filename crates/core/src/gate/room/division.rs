//! Divides the admissions of one step between the rooms of a sale in which each item has its own
//! room.
//!
//! Two limits apply to all rooms together: the number of admissions in a step, and the number of
//! open admissions ([`OPEN_ADMISSIONS_MAX`](super::OPEN_ADMISSIONS_MAX)). If there are enough
//! admissions, each room that can use an admission gets at least one. The remaining admissions are
//! divided in proportion to the numbers of waiting visitors.

/// How many admissions a room can use in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomDemand {
    /// Visitors who wait.
    pub waiting: u64,
    /// The largest number of visitors that the room may admit now.
    pub admissions: u64,
}

impl RoomDemand {
    fn most(&self) -> u64 {
        self.admissions.min(self.waiting)
    }
}

/// Divides at most `total` admissions between these rooms, and returns the part of each room.
/// `step` is the number of the step. If there are fewer admissions than rooms, `step` decides which
/// rooms get one. Over several steps, each room gets its turn.
#[must_use]
pub fn divide_admissions(total: u64, rooms: &[RoomDemand], step: usize) -> Vec<u64> {
    let mut parts = vec![0; rooms.len()];
    let mut left = total;
    give_one_each(&mut parts, &mut left, rooms, step);
    loop {
        let unmet =
            |(room, part): (&RoomDemand, &u64)| if *part < room.most() { room.waiting } else { 0 };
        let waiting: u64 = rooms.iter().zip(&parts).map(unmet).sum();
        if left == 0 || waiting == 0 {
            return parts;
        }
        let before = left;
        for (room, part) in rooms.iter().zip(&mut parts) {
            let share = u128::from(before) * u128::from(room.waiting) / u128::from(waiting);
            let more = u64::try_from(share).unwrap_or(left).min(room.most() - *part).min(left);
            *part += more;
            left -= more;
        }
        if left == before {
            give_one_each(&mut parts, &mut left, rooms, step);
        }
    }
}

fn give_one_each(parts: &mut [u64], left: &mut u64, rooms: &[RoomDemand], step: usize) {
    for n in 0..rooms.len() {
        let at = (step % rooms.len() + n) % rooms.len();
        if *left > 0 && parts[at] < rooms[at].most() {
            parts[at] += 1;
            *left -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rooms(demands: &[(u64, u64)]) -> Vec<RoomDemand> {
        let room = |&(waiting, admissions)| RoomDemand { waiting, admissions };
        demands.iter().map(room).collect()
    }

    #[test]
    fn admissions_are_divided_by_the_number_of_waiting_visitors() {
        let divided = |total, demands: &[_]| divide_admissions(total, &rooms(demands), 0);
        assert_eq!(divided(500, &[(9_000, 9_000), (1_000, 1_000)]), [450, 50]);
        assert_eq!(divided(500, &[(9_000, 9_000)]), [500]);
        assert_eq!(divided(500, &[(9_000, 9_000), (0, 500), (1, 1)]), [499, 0, 1]);
        assert_eq!(
            divided(500, &[(9_000, 3), (1_000, 1_000)]),
            [3, 497],
            "a room must not get more admissions than it may use"
        );
        assert_eq!(divided(500, &[(9_000, 0), (9, 9)]), [0, 9]);
        assert!(divided(500, &[]).is_empty());
    }

    #[test]
    fn rooms_take_turns_if_there_are_fewer_admissions_than_rooms() {
        let three = rooms(&[(9, 9), (5, 5), (1, 1)]);
        let by_step = [0, 1, 2, 3].map(|step| divide_admissions(1, &three, step));
        assert_eq!(by_step, [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]);
    }

    proptest! {
        #[test]
        fn the_sum_is_never_exceeded_and_every_waiting_room_gets_a_part(
            total in 0..100_000u64,
            demands in prop::collection::vec((0..4_000_000u64, 0..5_000u64), 0..100),
            step in any::<usize>(),
        ) {
            let rooms = rooms(&demands);
            let parts = divide_admissions(total, &rooms, step);
            let most: u64 = rooms.iter().map(RoomDemand::most).sum();
            prop_assert_eq!(parts.iter().sum::<u64>(), total.min(most), "the parts must add up");
            let waiting = rooms.iter().filter(|room| room.most() > 0).count();
            for (room, part) in rooms.iter().zip(&parts) {
                prop_assert!(*part <= room.most());
                prop_assert!(*part > 0 || room.most() == 0 || total < waiting as u64);
            }
        }
    }
}
