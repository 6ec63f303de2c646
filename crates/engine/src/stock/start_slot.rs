//! Starts the slots of an item. [`doorbuster_steps::slot_start`] has the sequence of the effects.
use doorbuster_core::{CloseCause, GrantId, SlotKey};
use doorbuster_steps::slot_reconciliation::{OpenSlot, SlotToStart};
use doorbuster_steps::slot_start::{Effect, Input, SlotStart, StartOutcome};
use futures_util::future::try_join_all;

use super::StockControl;
use crate::catalogue::ItemState;
use crate::error::EngineError;

/// Starts these slots. Returns the slots that accepted their grants. The result lacks slots that
/// are unreachable or have lost their memory, because the watch job handles these slots.
pub(super) async fn start_slots(
    stock: &StockControl,
    item: &ItemState,
    slots: Vec<SlotToStart>,
    threshold: u64,
) -> Result<Vec<OpenSlot>, EngineError> {
    let each = slots.into_iter().map(|to_start| start_slot(stock, item, to_start, threshold));
    Ok(try_join_all(each).await?.into_iter().flatten().collect())
}

async fn start_slot(
    stock: &StockControl,
    item: &ItemState,
    SlotToStart { slot, open }: SlotToStart,
    threshold: u64,
) -> Result<Option<OpenSlot>, EngineError> {
    let (mut start, mut effect) = SlotStart::begin(open, threshold);
    loop {
        // If the slot does not answer, this function returns `None`. A later reconciliation starts
        // the slot.
        let input = match effect {
            Effect::OpenGrant => {
                let id = GrantId(rand::random::<u64>() >> 1);
                Input::Grant(stock.node.store().open_grant(slot, id, 0).await?)
            }
            Effect::ReadSlot => match stock.view_in_time(slot).await {
                Some(view) => Input::Slot(view),
                None => return Ok(None),
            },
            Effect::Init(terms) => match stock.slots.init(slot, terms).await {
                Ok(outcome) => Input::InitAnswer(outcome),
                Err(_) => return Ok(None),
            },
            Effect::Acknowledge(grant) => {
                stock.node.store().acknowledge_init(grant).await?;
                Input::Recorded
            }
            Effect::Finish(outcome) => return handle_outcome(stock, item, slot, outcome).await,
        };
        effect = start.next(input);
    }
}

/// Returns the slot if it now has a grant, and `None` otherwise.
async fn handle_outcome(
    stock: &StockControl,
    item: &ItemState,
    slot: SlotKey,
    outcome: StartOutcome,
) -> Result<Option<OpenSlot>, EngineError> {
    match outcome {
        StartOutcome::NoGrant => Ok(None),
        StartOutcome::HasGrant(grant, view) => Ok(Some(OpenSlot { grant, view, is_new: false })),
        StartOutcome::Accepted(grant) => {
            let view = stock.slots.view(slot).await?.filter(|view| view.grant == grant.id);
            Ok(view.map(|view| OpenSlot { grant, view, is_new: true }))
        }
        StartOutcome::Lost => {
            stock.node.control().suspect_loss();
            Ok(None)
        }
        StartOutcome::Ahead(grant) => {
            stock.node.store().close_grant(grant, CloseCause::Rolled).await?;
            stock.node.control().wake(item.row.id);
            Ok(None)
        }
    }
}
