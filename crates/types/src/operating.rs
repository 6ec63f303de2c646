//! The words of operators: roles, blocks, deliveries and erasures.

words! {
    /// The rights of an operator's key. Each role includes the rights of the roles before it.
    Role {
        /// May read all data that operators can see.
        Viewer = "viewer",
        /// May also change sales, stock and orders.
        Operator = "operator",
        /// May also create and delete keys.
        Admin = "admin",
    }
}

words! {
    /// What a block refuses: the requests of one buyer, or of one address.
    BlockKind {
        /// A buyer.
        Buyer = "buyer",
        /// An address, or a network of addresses.
        Ip = "ip",
    }
}

words! {
    /// The kind of an endpoint that receives events.
    EndpointKind {
        /// A receiver of signed messages over HTTP.
        Webhook = "webhook",
        /// A broker, which receives the same events as `CloudEvents`.
        Broker = "broker",
    }
}

words! {
    /// The state of a delivery whose first attempt failed.
    DeliveryState {
        /// The server retries the delivery.
        Pending = "pending",
        /// The server no longer retries the delivery: all attempts failed, or no attempt can
        /// succeed. An operator must resolve the delivery.
        Dead = "dead",
        /// An operator discarded the delivery.
        Discarded = "discarded",
    }
}

words! {
    /// The kind of a dead letter.
    DeadLetterKind {
        /// An event that an endpoint did not accept.
        Delivery = "delivery",
        /// A refund that failed at the payment provider.
        Refund = "refund",
        /// A queued request whose ticket could not be settled. The ticket's units were returned,
        /// and the buyer's request was refused.
        Ticket = "ticket",
    }
}

words! {
    /// Why a row with a buyer's data cannot be erased yet.
    RetainReason {
        /// The sale is not closed.
        NotClosed = "not_closed",
        /// The order waits for its payment.
        Unpaid = "unpaid",
        /// The payment provider has not confirmed that the checkout is closed.
        OpenCheckout = "open_checkout",
        /// A refund has not arrived at the buyer, or is an unresolved dead letter.
        RefundDue = "refund_due",
    }
}
