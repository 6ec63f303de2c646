//! The protocol's rules, by name. A test removes one rule at a time; the simulator must then find
//! an error.
//!
//! Without the `mutants` feature, no rule can be removed, and [`enforces`] compiles to `true`.

#[macro_use]
mod list;
#[cfg(feature = "mutants")]
mod removed;

rules! {
    /// Settling never consumes more units than were granted. If a ticket would exceed the granted
    /// units, settling closes the grant instead.
    SettleGuard,
    /// Settling consumes a ticket only if the ticket's grant is open.
    GrantOpen,
    /// Settling refuses a ticket that exceeds the buyer's limit.
    Quota,
    /// A resolved ticket is not resolved again.
    TicketOnce,
    /// A request that holds an order gets that order, not a second one.
    OrderExists,
    /// A request gets the order of its key only if the item and the number of units are the same.
    /// Otherwise, the key was reused.
    OrderExistsCompares,
    /// If a ticket is returned while its grant is open, a feed row (a credit) gives the units back
    /// to the ticket's slot.
    CreditWhileOpen,
    /// If a ticket is returned after its grant was closed, the ticket's slot gets no credit.
    NoCreditOnceClosed,
    /// When an order ends, the store lowers the buyer's quota by the order's units.
    QuotaBack,
    /// When an order ends, a feed row tells the order's slot that the buyer's quota is lower.
    QuotaBackToSlot,
    /// An order that ends returns its units to the pool.
    UnitsBack,
    /// An order ends only once: the state is checked in the transaction that changes it.
    EndOnce,
    /// The credit for a returned ticket makes the slot forget the ticket's request.
    ForgetOnCredit,
    /// A slot applies feed rows only in sequence.
    ApplySeq,
    /// A slot applies a feed row only if the row has the slot's grant and epoch.
    ApplyEpoch,
    /// A slot accepts a grant only if the grant's epoch is higher than the slot's epoch.
    InitEpoch,
    /// A slot without an epoch issues no tickets.
    FailClosed,
    /// If a slot has no epoch any more, the slot lost its memory.
    LossEpochMissing,
    /// If a slot's grant or epoch differs from the store's open grant, the slot lost its memory.
    LossEpochForeign,
    /// If a slot counted fewer tickets than the store has seen, the slot lost its memory. If a slot
    /// applied more feed rows than the feed has, the slot lost its memory too.
    LossNumberBehind,
    /// If an idle slot's units differ from the store's count, the slot lost its memory.
    LossQuietMismatch,
    /// A slot whose grant was closed gets a new grant, even if the new grant has no units.
    GrantOfZero,
    /// A node reads the evidence of a lost memory in this sequence: the grant in the store, the
    /// slot, the length of the grant's feed.
    EvidenceOrder,
    /// A node reads the grant, then the pending recalls, and then the grant again. If a recall
    /// finishes meanwhile, the two readings of the grant differ.
    RecallsReadFirst,
    /// Evidence of a lost memory counts only if the slot acknowledged its `init`.
    EvidenceAfterInit,
    /// If a ticket's number already belongs to another ticket, the slot lost its memory. The number
    /// is not recorded twice.
    ReusedNumber,
    /// A recall takes at most the unsettled units of the grant.
    RecallClamp,
    /// A recall finishes once.
    RecallDone,
    /// A slot remembers how many units it gave to each recall.
    RecallMemory,
    /// A slot refuses a recall for another epoch.
    RecallEpoch,
    /// One transaction takes recalled units out of a grant and adds them to the grant of the target
    /// slot.
    RecallTarget,
    /// If a slot refuses a recall, the recall stays pending.
    RecallRefusalFinishesNothing,
    /// Closing a grant finishes its recalls.
    CloseFinishesRecalls,
    /// Closing a grant returns the granted units that are not settled.
    CloseReturns,
    /// One grant id opens at most one grant.
    OpenOnce,
    /// An item whose sale is paused or ended gets no grant.
    OpenOnSale,
    /// A grant is closed once.
    CloseOnce,
    /// A refill takes its units from the pool.
    RefillFromPool,
    /// A grant gets units through its feed only after its slot acknowledged `init`. Before that,
    /// the slot gets all units of the grant in `init`.
    RefillAfterInit,
    /// A node answers "sold out" only if too few units are free. Units of unsettled tickets, and
    /// units on their way to a slot, count as free.
    InFlightIsFree,
    /// A node answers "sold out" from a snapshot only if the node knows every request that holds an
    /// order in this snapshot.
    WinnersInSnapshot,
    /// A node remembers each order that it returns to a buyer, even if the node's snapshot lacks
    /// the order.
    OwnOrders,
    /// The front door refuses no request whose order or queued ticket the node remembers.
    HeldBeforeDoor,
    /// If a node answers that a ticket is queued, the node remembers the ticket until `decide_by`.
    /// The node forgets the ticket earlier if a repeated request finds that the ticket was refused.
    OwnQueued,
    /// A node refuses no buyer on the basis of a snapshot that is too old.
    SnapshotAge,
    /// Before a node refuses a request that was parked for the longest allowed time, the node sends
    /// the request to its slots once more.
    LastTry,
    /// The last try of a parked request goes to every partition. In any of them, an earlier try may
    /// have a ticket that is not settled.
    LastTryEverywhere,
    /// The server shows a sale as paused or ended only after the sale's slots are drained.
    PhaseAfterDrain,
    /// If a sale is changed during the drain of its slots, the slots are drained again before the
    /// sale's phase changes. The slots are drained at most three times.
    ShowAsIntended,
    /// The transaction that shows an item as paused or ended also closes the item's grants.
    PhaseClosesGrants,
    /// A ticket cannot become an order after its `decide_by`.
    DecideBy,
    /// A verdict is forced only after `decide_by`.
    ForceAfterDecideBy,
    /// After `decide_by`, any node can force a verdict.
    ForcedVerdict,
    /// A forced verdict is stored. If two transactions decide the same ticket, the first commit
    /// counts.
    FirstCommitWins,
    /// If the ticket's request already has an order, a forced verdict names that order.
    ForcedFindsOrder,
    /// After a slot got a new epoch, a request is sent again only if the buyer has not received a
    /// ticket id.
    AskAgainOnlyWithoutId,
    /// A slot remembers each request, and answers a repeated request with the same ticket.
    SlotRemembers,
    /// If a slot still remembers a refused ticket, it may answer a new attempt with this ticket.
    /// The refused ticket does not decide the new attempt.
    NewTryAfterRefusal,
    /// A slot checks that a repeated request asks for the same number of units.
    SlotDigest,
    /// A slot enforces the buyer's limit by its own count of the buyer's units.
    SlotLimit,
    /// A slot issues tickets for no more units than it has.
    SlotEnough,
    /// A slot switches to the other counter if the active counter has too few units for a request.
    FlipWhenShort,
    /// A slot switches to the other counter if the active counter is below the threshold, and the
    /// other counter has more units.
    FlipBelowThreshold,
    /// A slot merges its counters if a request needs more units than either counter has.
    MergeCounters,
    /// A slot asks for a refill if its active counter has too few units.
    RefillMark,
    /// A recall takes from the inactive counter first.
    RecallInactiveFirst,
    /// A feed row's units go to the counter that the row names.
    RowNamesCounter,
    /// A stopped slot issues no tickets.
    SlotStops,
    /// A slot's queue is bounded.
    SlotQueueBound,
    /// A partition leaves the registry only when all units that were granted to it are settled.
    RegistryWaitsForSettled,
    /// A partition leaves the registry only when the pool is empty.
    RegistryWaitsForPool,
    /// If a request's home partition left the registry, the request goes to another partition.
    HomeLeftGoesOn,
    /// If the first partition has too few units, the second try goes to another partition.
    SecondTryElsewhere,
    /// The second try goes to the partition with the most units in the latest snapshot.
    SecondTryFullest,
    /// New slots get equal parts of the pool's units.
    WarmUpFair,
    /// A refill adds its units to the drained counter, and not to the active counter.
    RefillNamesDrained,
    /// A refill takes only a small portion of the pool.
    RefillSmall,
    /// Only a slot that has few units gets a refill.
    RefillWhenLow,
    /// A slot is not refilled while units are on their way to it.
    RefillWaitsForFeed,
    /// The missing units of a parked request are gathered in a slot to which the request can be
    /// sent.
    GatherReachable,
    /// The missing units of a parked request come from the pool.
    GatherFromPool,
    /// The missing units of a parked request come from other slots.
    GatherFromOthers,
    /// The grant of a slot that left the spread is closed only after its tickets are settled.
    LeaveDrains,
    /// The units of a slot outside the spread are recalled while the slot's tickets settle.
    LeaveRecalls,
    /// The grant of a slot outside the spread is closed, so that other slots get the grant's units.
    LeaveCloses,
    /// If the pool is empty, a slot that joined the spread gets units from other slots.
    NewSlotGetsShare,
    /// The last try of a parked request also goes to the slots that are leaving the spread.
    LastTryAsksLeaving,
    /// The number of requests that a node parks is bounded.
    ParkedBound,
    /// For a new snapshot, a node reads every transaction that may have committed since the
    /// previous snapshot. Transactions may commit in another order than that of their numbers.
    RefreshFromXmin,
    /// When a node applies a commit or a snapshot, it first remembers which requests hold orders.
    /// Only then does it use the new counts.
    HoldersWithCounts,
    /// If a node's lease lapses, the node's grants are closed.
    LapsedLeaseCloses,
    /// The grants of a node with a valid lease are not closed.
    LiveLeaseKept,
    /// A late payment for an ended order takes the order's units only from the pool.
    LatePayTakesUnits,
    /// A late payment for an ended order stays within the buyer's limit.
    LatePayHoldsLimit,
    /// A sale opens by itself only when its start is due.
    SaleOpensWhenDue,
    /// After a sale's start was moved, the sale does not open by itself at the old start.
    TimedStepStillNeeded,
    /// A slot may answer "limit reached" or "key reused". A node refuses the request for this
    /// reason only after a later snapshot shows that the request holds no order.
    SlotRefusalConfirmed,
    /// A node counts a buyer's units and may refuse the buyer because of this count. After an order
    /// of the item has ended, the node no longer uses the count.
    LimitCountUntilEnd,
    /// A node refuses a buyer for the buyer's count of units only if its snapshot is newer than the
    /// count. Such a snapshot shows whether the count includes the request's own order.
    LimitCountInSnapshot,
    /// After a failover of the database, a node no longer uses an earlier count of a buyer's units
    /// to refuse the buyer. The failover may have lost the counted orders.
    LimitCountUntilFailover,
    /// An acknowledgement names a position in the queue and a token. It has no effect if the ticket
    /// at this position has another token.
    AcknowledgeCompares,
    /// A settler acknowledges tickets only after the commit.
    AcknowledgeAfterCommit,
    /// The buyer gets the answer `reserved` only after the commit.
    TellAfterCommit,
    /// An unpaid order expires only after its payment window.
    ExpireWhenDue,
    /// An operator cannot lower the stock below the held and sold units.
    LowerOnlyFree,
    /// A reader of events continues after the last position that it read. Only committed events get
    /// positions. With row numbers instead, a reader could miss an event that is committed late.
    ReadByPosition,
    /// After a failover that lost events, no new event gets the position of a lost event.
    NewPositionsAfterFailover,
    /// A delivery worker moves an endpoint's position only if the position has not changed since
    /// the worker read it.
    AdvanceCompares,
    /// The outcome of a retry is stored before another event is sent.
    NoteBeforeNext,
    /// The outcome of an attempt changes only the row of an event that still waits for delivery.
    NoteOnlyWhatWaits,
    /// At most one event about an order is in delivery to an endpoint at a time.
    OneOnItsWay,
    /// The earliest failed event about an order is retried first.
    RowsInTurn,
    /// An event waits behind an earlier failed event about the same order.
    FreshBehindFailed,
    /// An endpoint's position is not moved past an event in delivery.
    AdvanceBehindSent,
    /// When an endpoint's position passes a failed event, the store keeps the event for retry.
    FailedIsKept,
    /// The number of events that wait for one endpoint is bounded.
    PendingBound,
    /// If an event is given up, the events behind it wait until the store has the dead letter.
    GivenUpOnceKept,
    /// An event that is refused for a long time is given up, so that other events can be sent.
    DeadAtLast,
    /// One transaction makes a change and writes the change's event.
    EventWithChange,
    /// A provider's report takes effect only once.
    InboxOnce,
    /// A payment takes effect only once, even if several reports are about it.
    PaymentOnce,
    /// Only a payment with the order's exact amount and currency pays for the order.
    AmountMatches,
    /// A failed payment may still be captured later.
    FailedMaySucceed,
    /// If a payment is captured, a late message about its failure does not undo the capture.
    CaptureStays,
    /// A payment is refunded once.
    RefundOnce,
    /// When an order is refunded, each of its captured payments is refunded.
    RefundWithOrder,
    /// A settled refund changes only if a later report says that its money came back or was lost.
    SettledStays,
    /// If the money of a settled refund comes back to the shop, the refund is not settled any more.
    CameBackUndoes,
    /// If a refund has changed since the server asked the provider, the provider's answer does not
    /// settle the refund. The server ignores the answer or asks the provider again.
    AnswerMayBeOld,
    /// After a refund's money came back, a provider's webhook cannot settle the refund. The webhook
    /// only makes the server query the provider.
    OldNewsAsk,
    /// If the server itself refunds a payment, a report of this refund is no reversal.
    OwnRefundIsNoReversal,
    /// Of two reports about one reversal, the newer report counts, even if it arrives first.
    NewestReversalReport,
    /// If two reports about a reversal have the same time, the report about its end counts.
    ReversalEndWins,
    /// The report that a refund by hand failed ends only a reversal of the same amount.
    ReturnsHaveAmounts,
    /// A report of a smaller refund by hand moves the stored reversal's time past its own time.
    SmallerReturnCounts,
    /// The number of failed requests to a provider for one refund is bounded.
    RefundTriesBounded,
    /// Each request to a provider for a refund has an idempotency key of this refund.
    RefundUnderItsKey,
    /// After a failover, a node again applies the payments that it remembers.
    ApplyAgainAfterFailover,
    /// The payments that a node remembers include the payments that the server refunds.
    RememberRefunding,
    /// If slots may have the units for a late payment, the payment waits until these units are
    /// recalled.
    LatePayRecalls,
    /// Units are recalled for a late payment only if the buyer's limit allows the order.
    RecallWithinLimit,
    /// The server answers a provider's webhook only after the webhook's effect is committed.
    AnswerAfterEffect,
    /// An order's payment window is only extended and never shortened.
    ExtendOnlyLater,
    /// If an order's checkout may still accept money, the order expires only after its provider has
    /// answered or has been unavailable for a long time.
    AskBeforeExpiry,
    /// An unavailable provider delays the expiry of an order only for a limited time.
    GraceEnds,
    /// The time for which an unavailable provider delays an expiry starts with the first failed
    /// query to the provider, not at `pay_by`.
    GraceAfterQuestion,
    /// Even if no query was sent, an order waits for its provider only for a bounded time.
    AskedWithin,
    /// After an extension of the payment window, earlier failed queries to the provider do not
    /// count.
    GraceAnew,
    /// Only an order that waits for its payment gets a checkout.
    CheckoutWhileReserved,
    /// An order keeps one open checkout.
    CheckoutOnce,
    /// A provider's report about an older checkout does not close the order's current checkout.
    CloseNamesSession,
    /// A checkout counts as closed only after its provider accepts no more money for it.
    CloseAtProvider,
    /// A checkout counts as closed only after every payment at this checkout has taken effect.
    CaptureBeforeClosed,
    /// Units that come back are kept for the waitlist.
    LineKeepsUnits,
    /// A buyer cannot join a waitlist while a unit can be bought directly.
    JoinWhenNothingFree,
    /// A buyer has at most one entry in an item's waitlist.
    OnePlace,
    /// The number of entries in a waitlist is bounded.
    LineBounded,
    /// If a waitlist already has an entry for each unit that may be returned, nobody can join it.
    LineWithinReturns,
    /// If a buyer's order from a waitlist expired, or the buyer cancelled the order, the buyer
    /// cannot join that waitlist again.
    LapsedStaysOut,
    /// A buyer may join a waitlist again if somebody else cancelled the order that the buyer got.
    OwnDoingStaysOut,
    /// Waitlist entries are served in the sequence in which the buyers joined.
    LineInTurn,
    /// A served waitlist entry takes its unit from the pool.
    LineTakesFromPool,
    /// A waitlist entry gets no unit above the buyer's limit.
    LineHoldsLimit,
    /// A served waitlist entry gets no second order under the same key.
    LineFindsOrder,
    /// No waitlist entry is served while the sale is paused, or after the sale's end.
    LineOnSale,
    /// When a sale has ended, the waitlists of its items end too.
    LineEndsWithSale,
    /// A sale that is open or paused keeps its waitlists.
    PauseKeepsLine,
    /// A waitlist entry ends once.
    PlaceEndsOnce,
    /// The verdict on a waitlist entry is not forced, because the entry waits as long as its buyer
    /// wants.
    ForceLeavesLine,
}

#[cfg(feature = "mutants")]
pub use removed::{enforces, remove};

/// Returns true: every rule is active, because only a test build can remove a rule.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
#[must_use]
pub const fn enforces(_rule: Rule) -> bool {
    true
}
