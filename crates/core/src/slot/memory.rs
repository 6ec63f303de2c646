//! What a slot remembers of one request, packed: there is one for every known request.
use super::Cut;
use crate::value::{GrantId, Millis, TicketN, Token, Units};

/// [`Cut`] without the grant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed([u8; 20]);

impl Packed {
    pub(super) fn new(cut: &Cut) -> Self {
        let mut b = [0; 20];
        b[0..6].copy_from_slice(&cut.token.0.to_be_bytes()[2..]);
        b[6..11].copy_from_slice(&cut.n.0.to_be_bytes()[3..]);
        b[11..14].copy_from_slice(&cut.units.get().to_be_bytes()[1..]);
        b[14..20].copy_from_slice(&cut.decide_by.0.to_be_bytes()[2..]);
        Self(b)
    }

    pub(super) fn cut(&self, grant: GrantId) -> Cut {
        let big = |range: std::ops::Range<usize>| self.0[range].iter().fold(0u64, |acc, &b| acc << 8 | u64::from(b));
        Cut {
            token: Token(big(0..6)),
            grant,
            n: TicketN(big(6..11)),
            units: Units::new(big(11..14) as u32).expect("packed from units in range"),
            decide_by: Millis(big(14..20) as i64),
        }
    }
}
