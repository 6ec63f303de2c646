//! The words of payments and refunds.

words! {
    /// The state of a payment.
    PaymentState {
        /// The payment pays for its order.
        Captured = "captured",
        /// The payment is being refunded, or was refunded. The state of its refund shows whether
        /// the money has arrived at the buyer.
        Refunded = "refunded",
        /// The attempt to pay failed.
        Failed = "failed",
    }
}

words! {
    /// The state of a refund.
    RefundState {
        /// The server has not requested the refund from the provider yet, or the money has not
        /// arrived at the buyer yet.
        Pending = "pending",
        /// The provider reported that the money arrived at the buyer.
        Settled = "settled",
        /// The provider refused the refund, or all attempts failed. An operator must resolve the
        /// refund.
        Failed = "failed",
    }
}

words! {
    /// The reason why a payment is refunded.
    RefundCause {
        /// The payment was late: the order had ended. The order could not become paid, because too
        /// few units were free or the buyer's limit did not allow the units.
        Late = "late",
        /// The amount or the currency differs from the order's price.
        Mismatch = "mismatch",
        /// The order was already paid by an earlier payment.
        Second = "second",
        /// There was no order with this id when the payment was captured.
        UnknownOrder = "unknown_order",
        /// An operator refunded the order.
        Operator = "operator",
    }
}

impl RefundCause {
    /// Returns whether the cause is an error outside of this server. The audit reports such an
    /// error as a notice.
    #[must_use]
    pub fn is_irregular(self) -> bool {
        matches!(self, Self::Mismatch | Self::Second | Self::UnknownOrder)
    }
}

words! {
    /// How a payment was reversed without a request by the shop.
    ReversalKind {
        /// A person refunded the payment at the provider's console.
        Returned = "returned",
        /// The buyer's bank took the money back, or a dispute is open.
        Disputed = "disputed",
    }
}
