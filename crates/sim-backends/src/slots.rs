//! Compares real slots with the simulator's slot (the *reference*), call by call.
use std::time::Duration;

use doorbuster_core::{QueuedTicket, SlotKey, Token};
use doorbuster_sim::recorded::RecordedRun;
use doorbuster_sim::state::{Call, RecordedCall, SlotReply};
use doorbuster_slots::{DeliveryRef as Acknowledged, SlotError, Slots};
use hashbrown::{HashMap, HashSet};
use tokio::time::timeout;

/// How long the comparison waits for the tickets in a slot's queue to reach the settler.
const ARRIVES_WITHIN: Duration = Duration::from_secs(5);

/// Repeats the calls of a recorded run on real slots. `fresh` creates slots without data.
///
/// # Errors
/// Describes the first difference from the recorded results, or the call that failed.
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
    /// Maps each ticket's queue position in the reference to its position in the real queue. A
    /// redelivery clears the map, because it makes all earlier positions of the reference invalid.
    positions: HashMap<u64, u64>,
    /// The acknowledged tickets of the real slot. The reader of the real queue may read a ticket
    /// just before its acknowledgement, and deliver it afterwards. The comparison ignores such a
    /// delivery, because a settler has already settled this ticket.
    acknowledged: HashSet<(u64, Token)>,
    /// Whether the reference's slot is stopped. A real slot without a grant cannot be stopped, so
    /// the comparison stops it again after `init`.
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
            // The caller handles `Forget`: it makes a new slot. A run for real slots has no saved
            // copies, so `Save` and `Swap` do nothing.
            Call::Forget | Call::Save | Call::Swap => SlotReply::Done,
        })
    }

    /// Takes tickets from the real queue. One call of `Slots::take` may return only some of the
    /// tickets, so the call is repeated until all expected tickets have arrived. A last call, which
    /// does not wait, finds unexpected tickets. The returned tickets have the positions of the
    /// expected tickets, so that the caller can compare both lists.
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
