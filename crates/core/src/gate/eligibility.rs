//! Eligibility: the membership, level or access code that a sale requires of its buyers.

use doorbuster_types::Requirement;

use super::pass::Membership;

/// Checks whether a buyer meets a sale's requirements for membership and level.
///
/// # Errors
/// Returns the first requirement that the buyer does not meet.
pub fn check_eligible(
    membership: Membership,
    members_only: bool,
    min_level: u8,
) -> Result<(), Requirement> {
    if members_only && !membership.member {
        return Err(Requirement::Member);
    }
    if membership.level < min_level {
        return Err(Requirement::Level);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn membership_is_checked_before_the_level() {
        let check = |member, level, members_only, min_level, expected| {
            assert_eq!(
                check_eligible(Membership { member, level }, members_only, min_level),
                expected
            );
        };
        check(false, 0, false, 0, Ok(()));
        check(true, 255, true, 255, Ok(()));
        check(false, 255, true, 0, Err(Requirement::Member));
        check(false, 0, true, 1, Err(Requirement::Member));
        check(true, 1, true, 2, Err(Requirement::Level));
        check(true, 0, false, 1, Err(Requirement::Level));
    }
}
