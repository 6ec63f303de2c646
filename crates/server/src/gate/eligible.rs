//! Who comes to a purchase, by token, by pass or by both, and what the front door has against it.

use doorbuster_core::Millis;
use doorbuster_core::gate::eligible::eligible;
use doorbuster_core::gate::pass::{PASS_BYTES_MAX, Standing};

use super::pass::{Passes, Presented};
use crate::auth::{BuyerName, Shopper};
use crate::catalogue::{ItemState, SaleState};
use crate::purchase::Refusal;

/// Somebody at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who, if that is proven; if it is not, there is a refusal.
    pub buyer: Option<BuyerName>,
    /// What the door has against it.
    pub refusal: Option<Refusal>,
}

/// Looks at what a purchase of `item` presents. `token` is whom the token names, if one was sent and holds.
///
/// A pass that is sent must hold, whether or not the sale asks for one, and speaks for its buyer: by what the shop said when it was made.
#[must_use]
pub fn enter(
    passes: &Passes,
    sale: &SaleState,
    item: &ItemState,
    token: Option<Shopper>,
    pass: Presented<'_>,
    now: Millis,
) -> Entry {
    let named = token.map(|shopper| shopper.name);
    let text = match pass {
        Presented::Nothing => {
            let refusal = token.and_then(|shopper| without_pass(sale, shopper.standing));
            return Entry { buyer: named, refusal };
        }
        Presented::Nonsense => return Entry { buyer: named, refusal: Some(Refusal::PassInvalid) },
        Presented::Pass(text) => text,
    };
    let mut room = [0; PASS_BYTES_MAX + 2];
    let terms = passes.open(text, &sale.row.id, &item.row.name, now, &mut room);
    let buyer = terms.and_then(|terms| BuyerName::new(terms.buyer));
    let (Some(terms), Some(buyer)) = (terms, buyer) else {
        return Entry { buyer: named, refusal: Some(Refusal::PassInvalid) };
    };
    let refusal = if named.is_some_and(|named| named != buyer) {
        Some(Refusal::PassInvalid)
    } else if now >= terms.expires_at {
        Some(Refusal::PassExpired)
    } else {
        threshold(sale, terms.standing)
            .or_else(|| (terms.is_free && sale.has_open_room(now)).then_some(Refusal::WaitingRoom))
    };
    Entry { buyer: named.or(Some(buyer)), refusal }
}

fn without_pass(sale: &SaleState, standing: Standing) -> Option<Refusal> {
    if sale.door.is_off() {
        return None;
    }
    threshold(sale, standing).or_else(|| sale.door.needs_pass().then_some(Refusal::PassRequired))
}

/// What a buyer of this standing lacks for the sale.
#[must_use]
pub fn threshold(sale: &SaleState, standing: Standing) -> Option<Refusal> {
    eligible(standing, sale.door.members_only, sale.door.min_level).err().map(Refusal::NotEligible)
}
