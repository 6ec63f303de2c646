//! Reads the ticket's data from an order's id. The auditor needs no secret for this, because it
//! does not check the id's MAC.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The size of an id in bytes. The parts of an id are `decide_by` (6 bytes), token (6), grant (8),
/// number (5), units (3), request (3) and MAC (8). The numbers are big-endian.
const BYTES: usize = 39;

/// The readable parts of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OrderIdParts {
    /// The time after which the ticket cannot become an order, in milliseconds.
    pub decide_by: i64,
    /// The grant under which the ticket was issued.
    pub grant: i64,
    /// The ticket's number under that grant.
    pub n: i64,
    /// The ticket's units.
    pub units: i64,
}

pub(super) fn read(id: &str) -> Option<OrderIdParts> {
    let mut bytes = [0; BYTES];
    let written = URL_SAFE_NO_PAD.decode_slice(id.strip_prefix("ord_")?, &mut bytes).ok()?;
    // The store has grant ids as signed numbers. So this function converts the unsigned number in
    // the id to the signed number with the same bits.
    (written == BYTES).then(|| OrderIdParts {
        decide_by: number(&bytes[0..6]) as i64,
        grant: number(&bytes[12..20]) as i64,
        n: number(&bytes[20..25]) as i64,
        units: number(&bytes[25..28]) as i64,
    })
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Makes an id with an invalid MAC, for a test's store.
#[cfg(test)]
pub(super) fn write(parts: OrderIdParts) -> String {
    let mut bytes = Vec::with_capacity(BYTES);
    bytes.extend_from_slice(&parts.decide_by.to_be_bytes()[2..]);
    bytes.extend_from_slice(b"token.");
    bytes.extend_from_slice(&parts.grant.to_be_bytes());
    bytes.extend_from_slice(&parts.n.to_be_bytes()[3..]);
    bytes.extend_from_slice(&parts.units.to_be_bytes()[5..]);
    bytes.extend_from_slice(b"key");
    bytes.extend_from_slice(b"mac.mac.");
    format!("ord_{}", URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_returns_its_parts_and_other_text_is_rejected() {
        let parts =
            OrderIdParts { decide_by: 1_795_000_000_123, grant: -7, n: 42, units: 1_000_000 };
        let id = write(parts);
        assert_eq!((id.len(), read(&id)), (56, Some(parts)));
        for other in
            ["", "ord_", "pay_1", &id[..55], &format!("{id}A"), &id.replace("ord_", "evt_")]
        {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
