//! Compares real slots with the reference slot, call by call.
use std::time::Duration;

use doorbuster_core::{QueuedTicket, SlotKey, Token};
use doorbuster_sim::recorded::RecordedRun;
use doorbuster_sim::state::{Call, RecordedCall, SlotReply};
use doorbuster_slots::{DeliveryRef as Acknowledged, SlotError, Slots};
use hashbrown::{HashMap, HashSet};
use tokio::time::timeout;

/// The longest time that a ticket may take from the slot to the settler.
const ARRIVES_WITHIN: Duration = Duration::from_secs(5);

/// Repeats the calls of a recorded run on real slots. `fresh` creates slots without data.
///
/// # Errors
/// Returns the difference, or a failed call.
pub async fn compare_slots(
    run: &RecordedRun,
    fresh: impl AsyncFn() -> Result<Slots, SlotError>,
) -> Result<(), String> {
    let mut comparers = Vec::new();
    for &at in &run.slot_keys {
        comparers.push(SlotComparer::new(at, &fresh).await.map_err(|e| e.to_string())?);
    }
    for (i, called) in run.calls.iter().enumerate() {
        let RecordedCall { slot, call, reply: expected, view: expected_view } = called;
        let comparer = &mut comparers[*slot];
        let reply = match call {
            Call::Forget => {
                *comparer =
                    SlotComparer::new(comparer.at, &fresh).await.map_err(|e| e.to_string())?;
                Ok(SlotReply::Done)
            }
            call => comparer.apply_call(call, expected).await,
        };
        let reply = reply.map_err(|e| format!("call {i}, {call:?}: {e}"))?;
        let view = comparer.slots.view(comparer.at).await.map_err(|e| e.to_string())?;
        if reply != *expected || view != *expected_view {
            return Err(format!(
                "call {i}, {call:?}: the slot returned {reply:?} and has the state {view:?}, but \
                 the reference returned {expected:?} and has the state {expected_view:?}"
            ));
        }
    }
    Ok(())
}

/// Each slot has its own `Slots`, so that `Slots::take` returns only this slot's tickets.
struct SlotComparer {
    slots: Slots,
    at: SlotKey,
    /// Maps a queue position of the reference to the position in the real queue. A redelivery
    /// clears the map, because it makes all earlier positions of the reference invalid.
    positions: HashMap<u64, u64>,
    /// Tickets that were acknowledged in the real slot. The reader of the real queue may have read
    /// such a ticket just before its acknowledgement, and may then deliver the ticket again. The
    /// comparison ignores this delivery, because it settles nothing.
    acknowledged: HashSet<(u64, Token)>,
    /// Whether the slot is stopped. A real slot without a grant cannot be stopped, so the stop is
    /// repeated after `init`.
    stopped: bool,
}

impl SlotComparer {
    async fn new(
        at: SlotKey,
        fresh: &impl AsyncFn() -> Result<Slots, SlotError>,
    ) -> Result<Self, SlotError> {
        let slots = fresh().await?;
        slots.serve(&[at])?;
        Ok(Self {
            slots,
            at,
            positions: HashMap::default(),
            acknowledged: HashSet::default(),
            stopped: false,
        })
    }

    async fn apply_call(
        &mut self,
        call: &Call,
        expected: &SlotReply,
    ) -> Result<SlotReply, SlotError> {
        let (slots, at) = (&self.slots, self.at);
        Ok(match call {
            Call::Init(terms) => {
                let is_new = slots.view(at).await?.is_none();
                let reply = slots.init(at, *terms).await?;
                if is_new {
                    slots.stop(at, self.stopped).await?;
                }
                SlotReply::ApplyOutcome(reply)
            }
            Call::Ticket(request) => SlotReply::Ticket(slots.ticket(at, request).await?),
            Call::Apply(epoch, row) => {
                SlotReply::ApplyOutcome(slots.apply(at, *epoch, std::slice::from_ref(row)).await?)
            }
            Call::Recall(id, grant, epoch, units) => {
                SlotReply::RecallOutcome(slots.recall(at, *id, *grant, *epoch, *units).await?)
            }
            Call::Take(at_most) => SlotReply::Taken(self.take(*at_most, expected).await?),
            Call::Redeliver => {
                self.positions.clear();
                slots.redeliver(at).await?;
                SlotReply::Done
            }
            Call::Acknowledge(position, token) => {
                if let Some(&position) = self.positions.get(position) {
                    self.acknowledged.insert((position, *token));
                    slots
                        .acknowledge(&[Acknowledged { slot: at, at: position, token: *token }])
                        .await?;
                }
                SlotReply::Done
            }
            Call::Stop(stopped) => {
                self.stopped = *stopped;
                slots.stop(at, *stopped).await?;
                SlotReply::Done
            }
            // For `Forget`, the caller makes a new slot. A run for real slots has no saved copies,
            // so `Save` and `Swap` do nothing.
            Call::Forget | Call::Save | Call::Swap => SlotReply::Done,
        })
    }

    /// Replaces each ticket's position by the reference's position, so that the results can be
    /// compared. `Slots::take` may return only some of the tickets, so it is repeated. The last
    /// call looks for unexpected tickets.
    async fn take(
        &mut self,
        at_most: usize,
        expected: &SlotReply,
    ) -> Result<Vec<QueuedTicket>, SlotError> {
        let SlotReply::Taken(expected) = expected else { return Ok(Vec::new()) };
        let acknowledged = &self.acknowledged;
        let is_news =
            |delivery: &QueuedTicket| !acknowledged.contains(&(delivery.at, delivery.ticket.token));
        let mut taken = Vec::new();
        while taken.len() < expected.len() {
            let Ok(some) = timeout(ARRIVES_WITHIN, self.slots.take(at_most - taken.len())).await
            else {
                break;
            };
            taken.extend(some?.into_iter().map(|t| t.delivery).filter(is_news));
        }
        if taken.len() < at_most {
            let more = tokio::select! {
                biased;
                more = self.slots.take(at_most - taken.len()) => more?,
                () = std::future::ready(()) => Vec::new(),
            };
            taken.extend(more.into_iter().map(|t| t.delivery).filter(is_news));
        }
        for (here, there) in taken.iter_mut().zip(expected) {
            self.positions.insert(there.at, here.at);
            here.at = there.at;
        }
        Ok(taken)
    }
}
