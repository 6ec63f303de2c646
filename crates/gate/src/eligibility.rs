//! Identifies the buyer of a purchase request from the token, the pass or both. Then checks the
//! sale's requirements for buyers, for example that a buyer needs a pass.

use doorbuster_auth::{BuyerName, VerifiedBuyer};
use doorbuster_core::Millis;
use doorbuster_core::gate::eligibility::check_eligible;
use doorbuster_core::gate::pass::{Membership, PASS_BYTES_MAX};
use doorbuster_engine::catalogue::{ItemState, SaleState};
use doorbuster_engine::purchase::DoorRefusal;

use super::pass::{Passes, PresentedPass};

/// Checks the token and the pass of a request for `item`. `token` is the buyer whom the request's
/// token names. Returns the buyer, if the token or the pass identifies one, and the front door's
/// refusal, if it refuses the request.
///
/// If a request has a pass, the pass must be valid, even if the sale requires no pass. A pass
/// identifies its buyer. It also has the membership and level that the buyer had when the pass was
/// issued.
#[must_use]
pub fn check_entry(
    passes: &Passes,
    sale: &SaleState,
    item: &ItemState,
    token: Option<VerifiedBuyer>,
    pass: PresentedPass<'_>,
    now: Millis,
) -> (Option<BuyerName>, Option<DoorRefusal>) {
    let named = token.map(|buyer| buyer.name);
    let text = match pass {
        PresentedPass::Missing => {
            let refusal = token.and_then(|buyer| without_pass(sale, buyer.membership));
            return (named, refusal);
        }
        PresentedPass::Malformed => return (named, Some(DoorRefusal::PassInvalid)),
        PresentedPass::Pass(text) => text,
    };
    let mut room = [0; PASS_BYTES_MAX + 2];
    let terms = passes.open(text, &sale.row.id, &item.row.name, now, &mut room);
    let buyer = terms.and_then(|terms| BuyerName::new(terms.buyer));
    let (Some(terms), Some(buyer)) = (terms, buyer) else {
        return (named, Some(DoorRefusal::PassInvalid));
    };
    let refusal = if named.is_some_and(|named| named != buyer) {
        Some(DoorRefusal::PassInvalid)
    } else if now >= terms.expires_at {
        Some(DoorRefusal::PassExpired)
    } else {
        eligibility_refusal(sale, terms.membership).or_else(|| {
            let is_refused = terms.issued_without_room && sale.room_of(item).is_open(now);
            is_refused.then_some(DoorRefusal::WaitingRoom)
        })
    };
    (named.or(Some(buyer)), refusal)
}

fn without_pass(sale: &SaleState, membership: Membership) -> Option<DoorRefusal> {
    if sale.front_door.is_off() {
        return None;
    }
    eligibility_refusal(sale, membership)
        .or_else(|| sale.front_door.needs_pass().then_some(DoorRefusal::PassRequired))
}

/// Returns the refusal if a buyer with this membership does not meet a requirement of the sale.
#[must_use]
pub fn eligibility_refusal(sale: &SaleState, membership: Membership) -> Option<DoorRefusal> {
    check_eligible(membership, sale.front_door.members_only, sale.front_door.min_level)
        .err()
        .map(DoorRefusal::NotEligible)
}
