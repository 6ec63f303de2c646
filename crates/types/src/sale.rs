//! The words of sales and orders.

words! {
    /// A sale's phase. Buyers never see a draft.
    Phase {
        /// The sale is in preparation, and buyers cannot see the sale.
        Draft = "draft",
        /// The sale is announced. The server opens the sale at its start time.
        Scheduled = "scheduled",
        /// The sale is open, and buyers can buy.
        Open = "open",
        /// The sale is paused: buyers cannot buy until it is resumed.
        Paused = "paused",
        /// The sale is over.
        Closed = "closed",
    }
}

impl Phase {
    /// Returns whether an operator may change prices and limits in this phase.
    #[must_use]
    pub fn is_before_opening(self) -> bool {
        matches!(self, Self::Draft | Self::Scheduled)
    }
}

words! {
    /// An order's state: `reserved → paid | cancelled | expired`, `paid → refunded`. A late payment
    /// can change `cancelled` or `expired` to `paid`.
    OrderState {
        /// The units are held for the buyer until `pay_by`.
        Reserved = "reserved",
        /// The order is paid.
        Paid = "paid",
        /// The buyer or an operator cancelled the order before it was paid.
        Cancelled = "cancelled",
        /// The order was not paid in time.
        Expired = "expired",
        /// The order was paid, and then refunded.
        Refunded = "refunded",
    }
}

impl OrderState {
    /// Returns whether the order is active.
    #[must_use]
    pub fn is_active(self) -> bool {
        matches!(self, Self::Reserved | Self::Paid)
    }
}

words! {
    /// The type of an event.
    EventType {
        /// A request became an order.
        OrderReserved = "order.reserved",
        /// The order was paid.
        OrderPaid = "order.paid",
        /// The order was cancelled before it was paid.
        OrderCancelled = "order.cancelled",
        /// The order was not paid in time.
        OrderExpired = "order.expired",
        /// The order was paid, and is now refunded.
        OrderRefunded = "order.refunded",
        /// An operator gave the order more time to pay.
        OrderExtended = "order.extended",
        /// A queued request was refused, and its ticket was returned.
        OrderRefused = "order.refused",
        /// A payment is refunded because it pays for no order.
        PaymentRefunded = "payment.refunded",
        /// A payment was reversed without a request by the shop, or such a reversal was withdrawn.
        PaymentReversed = "payment.reversed",
        /// The sale opened.
        SaleOpened = "sale.opened",
        /// The sale closed.
        SaleClosed = "sale.closed",
        /// Every unit of the item is paid.
        ItemSoldOut = "item.sold_out",
    }
}

impl EventType {
    /// Returns the type of the event that reports this new state of an order.
    #[must_use]
    pub fn from_order_state(state: OrderState) -> Self {
        match state {
            OrderState::Reserved => Self::OrderReserved,
            OrderState::Paid => Self::OrderPaid,
            OrderState::Cancelled => Self::OrderCancelled,
            OrderState::Expired => Self::OrderExpired,
            OrderState::Refunded => Self::OrderRefunded,
        }
    }
}

words! {
    /// The state of a waitlist entry.
    WaitlistState {
        /// The entry waits for a returned unit.
        Waiting = "waiting",
        /// The entry became an order.
        Served = "served",
        /// The buyer left the waitlist.
        Left = "left",
        /// The entry ended without a new order. Either the sale ended, or the buyer could not get
        /// the available unit: the buyer had reached the limit, or the request already held an
        /// order.
        PassedOver = "passed_over",
    }
}

words! {
    /// Why a grant was closed.
    CloseCause {
        /// The sale closed.
        Ended = "ended",
        /// The slot was drained and moved to a new epoch, because its memory was full, its settings
        /// changed, or the sale was paused.
        Rolled = "rolled",
        /// The node that had the slot in its memory stopped, lost its lease, or started its program
        /// again.
        LeaseLapsed = "lease_lapsed",
        /// The slot lost its epoch.
        EpochMissing = "epoch_missing",
        /// The grant or the epoch in the slot differs from the slot's open grant in the store.
        EpochForeign = "epoch_foreign",
        /// The slot had counted fewer tickets than the store has seen, or had applied more feed
        /// rows than the feed has.
        NumberBehind = "number_behind",
        /// A ticket had a number that already belonged to another ticket.
        NumberReused = "number_reused",
        /// The slot's tickets have more units than were granted.
        OverGranted = "over_granted",
        /// All tickets were resolved, but the slot and the store had different numbers of units.
        QuietMismatch = "quiet_mismatch",
        /// The grant belongs to an item's waitlist. No slot has such a grant, and it is never open.
        Waitlist = "waitlist",
    }
}

impl CloseCause {
    /// Returns whether the grant was closed because the slot failed. Such a closing is a repair.
    #[must_use]
    pub fn is_fault(self) -> bool {
        !matches!(self, Self::Ended | Self::Rolled | Self::LeaseLapsed | Self::Waitlist)
    }
}

words! {
    /// The reason for a feed row.
    FeedCause {
        /// Units come from the pool.
        Refill = "refill",
        /// A ticket was returned. The slot gets the ticket's units back, lowers its count of the
        /// buyer's units, and forgets the ticket's request.
        Returned = "returned",
        /// An order ended, so the slot lowers its count of the buyer's units. The row contains no
        /// units, because the order's units went to the pool.
        OrderEnded = "order_ended",
        /// A late payment made an ended order active again, so the slot raises its count of the
        /// buyer's units.
        OrderRevived = "order_revived",
        /// A recall moved units from another slot to this slot.
        Recalled = "recalled",
    }
}

words! {
    /// One of a slot's two counters.
    #[derive(Default)]
    Counter {
        /// The first counter. When a slot gets a grant, this counter is active. Without
        /// sub-domains, the slot uses only this counter.
        #[default]
        A = "a",
        /// The second counter.
        B = "b",
    }
}

impl Counter {
    /// Returns the other counter.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Returns the counter's index in a pair of counters: 0 for A, 1 for B.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }
}

words! {
    /// How the partition of a request is chosen.
    #[derive(Default)]
    PartitionChoice {
        /// The hash of the buyer's id decides the partition, so all requests of one buyer go to one
        /// slot. This slot then enforces the buyer's whole limit, and recognizes every repeated
        /// request.
        #[default]
        Buyer = "buyer",
        /// A random number decides the partition.
        Random = "random",
        /// The partitions take turns.
        RoundRobin = "round_robin",
    }
}

words! {
    /// What a sale can require of its buyers.
    Requirement {
        /// The buyer must be a member.
        Member = "member",
        /// The buyer must have a minimum level.
        Level = "level",
        /// The buyer must have an access code.
        AccessCode = "access_code",
    }
}

words! {
    /// The scope of a rate limit. The scopes are checked in this order.
    RateLimitScope {
        /// The requests of this buyer.
        Buyer = "buyer",
        /// The requests from this address.
        Ip = "ip",
        /// The requests of all buyers together.
        Interface = "interface",
    }
}
