//! Measures, in a separate process, how much memory a slot needs for each request that it
//! remembers.
use std::process::Command;

use anyhow::{Context, Result, ensure};
use doorbuster_core::slot::{GrantTerms, Slot, SlotBounds, TicketAnswer, TicketRequest};
use doorbuster_core::{
    BuyerId, Epoch, GrantId, IdKey, ItemId, Millis, NodeId, RequestKey, Token, Units,
};

use crate::process;

/// Measures a slot in a child process. Returns the bytes of memory for one request.
///
/// # Errors
/// Fails if the child process fails.
pub fn measure_in_child(requests: u32) -> Result<f64> {
    let output = Command::new(std::env::current_exe()?)
        .args(["--slot-alone", &requests.to_string()])
        .output();
    let output = output.context("cannot start this program again")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .context("the output is not a number of bytes")
}

/// Measures a slot in this process. Returns the bytes of memory that the slot keeps for a request
/// after the request was settled and acknowledged.
///
/// # Errors
/// Fails if the slot refuses a request.
pub fn measure_in_process(requests: u32) -> Result<f64> {
    let key = IdKey::new([7; 32]);
    let mut slot = Slot::with_bounds(ItemId(1), SlotBounds::default());
    let before = process::resident("self")?;
    let (grant, epoch, available) = (GrantId(1), Epoch(1), u64::from(requests));
    slot.init(GrantTerms { grant, epoch, counted: true, available, threshold: 0 });
    let mut taken = Vec::new();
    for number in 0..requests {
        let name = format!("buyer-{number:08}");
        let (buyer, request_key) = (
            BuyerId::new(&name).context("the name is invalid")?,
            RequestKey::new(&name).context("the key is invalid")?,
        );
        let request = TicketRequest {
            token: Token(u64::from(number)),
            buyer_hash: key.buyer_hash(&name),
            request: key.request_hash(&name, &name),
            buyer,
            key: request_key,
            units: Units::new(1).expect("one is in range"),
            limit: 1,
            decide_by: Millis(1),
            node: NodeId(1),
        };
        ensure!(
            matches!(slot.ticket(&request), TicketAnswer::Issued(_)),
            "the slot refused a request"
        );
        slot.take(1, &mut taken);
        taken.drain(..).for_each(|delivery| slot.acknowledge(delivery.at, delivery.ticket.token));
    }
    let grown = process::resident("self")?.saturating_sub(before);
    drop(slot);
    Ok(grown as f64 / f64::from(requests))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remembered_request_takes_few_bytes() {
        let each = measure_in_process(200_000).expect("the slot accepts every request");
        assert!((8.0..400.0).contains(&each), "{each} bytes");
    }
}
