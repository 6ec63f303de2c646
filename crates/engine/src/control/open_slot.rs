//! A slot as a round of reconciliation sees it, and the start of slots.
//! [`doorbuster_steps::slot_start`] has the sequence of the effects.
use doorbuster_core::slot::SlotView;
use doorbuster_core::{CloseCause, Grant, GrantId, SlotKey};
use doorbuster_steps::slot_start::{Effect, Input, SlotStart, StartOutcome};
use futures_util::future::try_join_all;

use super::refill::Portions;
use crate::catalogue::{ItemState, SaleState};
use crate::engine::{Engine, EngineError};

/// A slot that this node reaches, and its open grant.
#[derive(Clone, Debug)]
pub(super) struct OpenSlot {
    /// The grant as it was read, plus the units that the slot got since then.
    pub(super) grant: Grant,
    /// The slot's own view.
    pub(super) view: SlotView,
    /// Whether the slot accepted its grant in this round.
    pub(super) is_new: bool,
    /// Whether the slot has applied all feed rows that the store had when the grant was read.
    pub(super) is_current: bool,
}

/// Starts each slot that this node reaches. If a slot has no open grant, opens a grant. The watch
/// job handles unreachable slots and slots that lost their memory.
pub(super) async fn start_slots(
    engine: &Engine,
    item: &ItemState,
    sale: &SaleState,
    grants: &[Grant],
) -> Result<Vec<OpenSlot>, EngineError> {
    let mut each = Vec::with_capacity(item.slots.len());
    for &slot in &item.slots {
        let open = grants.iter().find(|grant| grant.slot == slot);
        // The node that drains a sale waits until the grants of the sale's slots are closed. So no
        // new grant is opened during a drain.
        if open.is_some() || !sale.is_draining() {
            each.push(start_slot(engine, item, slot, open));
        }
    }
    Ok(try_join_all(each).await?.into_iter().flatten().collect())
}

async fn start_slot(
    engine: &Engine,
    item: &ItemState,
    slot: SlotKey,
    open: Option<&Grant>,
) -> Result<Option<OpenSlot>, EngineError> {
    let threshold = Portions::for_item(engine, item).spread.threshold;
    let (mut start, mut effect) = SlotStart::begin(open.cloned(), threshold);
    loop {
        // If a slot does not answer, a later round of reconciliation starts it.
        let input = match effect {
            Effect::OpenGrant => {
                let id = GrantId(rand::random::<u64>() >> 1);
                Input::Grant(engine.store().open_grant(slot, id, 0).await?)
            }
            Effect::ReadSlot => match engine.slots().view(slot).await {
                Ok(view) => Input::Slot(view),
                Err(_) => return Ok(None),
            },
            Effect::Init(terms) => match engine.slots().init(slot, terms).await {
                Ok(outcome) => Input::InitAnswer(outcome),
                Err(_) => return Ok(None),
            },
            Effect::Acknowledge(grant) => {
                engine.store().acknowledge_init(grant).await?;
                Input::Recorded
            }
            Effect::Finish(outcome) => return handle_outcome(engine, item, slot, outcome).await,
        };
        effect = start.next(input);
    }
}

/// Acts on the outcome of a slot's start. Returns the slot if it has its grant.
async fn handle_outcome(
    engine: &Engine,
    item: &ItemState,
    slot: SlotKey,
    outcome: StartOutcome,
) -> Result<Option<OpenSlot>, EngineError> {
    match outcome {
        StartOutcome::NoGrant => Ok(None),
        StartOutcome::HasGrant(grant, view) => {
            Ok(Some(OpenSlot { grant, view, is_new: false, is_current: false }))
        }
        StartOutcome::Accepted(grant) => {
            let view = engine.slots().view(slot).await?.filter(|view| view.grant == grant.id);
            Ok(view.map(|view| OpenSlot { grant, view, is_new: true, is_current: false }))
        }
        StartOutcome::Lost => {
            engine.control().suspect_loss();
            Ok(None)
        }
        StartOutcome::Ahead(grant) => {
            engine.store().close_grant(grant, CloseCause::Rolled).await?;
            engine.control().wake(item.row.id);
            Ok(None)
        }
    }
}
