//! Exports: the CSV headers, and the report that compares units with money.

use doorbuster_types::words;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::value::{Currency, Money, Time};

words! {
    /// A list that is exported as CSV.
    Export {
        /// Orders.
        Orders = "orders",
        /// Payments.
        Payments = "payments",
        /// Refunds.
        Refunds = "refunds",
        /// Every movement of units.
        Ledger = "ledger",
        /// Operators' actions.
        Actions = "actions",
    }
}

impl Export {
    /// The header line of the CSV.
    #[must_use]
    pub const fn header(self) -> &'static str {
        match self {
            Self::Orders => {
                "id,sale,item,buyer,units,amount_minor,currency,state,reserved_at,pay_by,paid_at,ended_at"
            }
            Self::Payments => "payment,order,amount_minor,currency,state,provider,at",
            Self::Refunds => {
                "refund,payment,order,amount_minor,currency,state,cause,provider,tries,error,at,settled_at"
            }
            Self::Actions => "id,at,by,action,subject,changes,address,request_id",
            Self::Ledger => "at,sale,item,movement,units,order,by,why,total,free,held,paid",
        }
    }
}

/// Money of one currency, in minor units: `captured = standing + refunded + pending + failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MoneySums {
    /// The currency.
    pub currency: Currency,
    /// The amount that providers captured.
    #[schema(schema_with = crate::admin::schema::sum)]
    pub captured: i128,
    /// The part of `captured` for which there is no refund.
    #[schema(schema_with = crate::admin::schema::sum)]
    pub standing: i128,
    /// The part of `captured` that was refunded.
    #[schema(schema_with = crate::admin::schema::sum)]
    pub refunded: i128,
    /// The part of `captured` whose refund is pending.
    #[schema(schema_with = crate::admin::schema::sum)]
    pub pending: i128,
    /// The part of `captured` that the provider permanently refused to refund.
    #[schema(schema_with = crate::admin::schema::sum)]
    pub failed: i128,
}

/// Units and money of one item. The units are summed from grants and orders: `total = pool +
/// in_slots + held + paid`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReconciledItem {
    /// The sale.
    pub sale: String,
    /// The item.
    pub item: String,
    /// All units; `null` for unlimited stock.
    #[schema(required = true)]
    pub total: Option<u64>,
    /// Units in the pool; `null` for unlimited stock.
    #[schema(required = true)]
    pub pool: Option<u64>,
    /// Units in slots; `null` for unlimited stock.
    #[schema(required = true)]
    pub in_slots: Option<u64>,
    /// Units of unpaid orders.
    pub held: u64,
    /// Units of paid orders.
    pub paid: u64,
    /// Units of orders that were cancelled or refunded, or that expired.
    pub ended: u64,
    /// Price of a unit.
    pub price: Money,
    /// The total price of the paid units. The sum `standing` in `money` must be equal to this
    /// amount.
    pub due: Money,
    /// The money for the item's orders, by currency.
    pub money: Vec<MoneySums>,
}

/// A difference between units and money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    /// The kind: `units`, `captured_without_paid_order`, `paid_without_payment`, `wrong_amount`,
    /// `paid_twice`, `refund_missing`, `refund_unfounded`, `refund_amount`, `refunded_twice`,
    /// `refund_failed` or `reversed`.
    pub kind: String,
    /// The sale; `null` if the difference is not about a sale.
    #[schema(required = true)]
    pub sale: Option<String>,
    /// The item; `null` if the difference is not about an item.
    #[schema(required = true)]
    pub item: Option<String>,
    /// The order's id, as the provider wrote it in the payment; `null` if the difference is not
    /// about an order.
    #[schema(required = true)]
    pub order: Option<String>,
    /// The payment.
    #[schema(required = true)]
    pub payment: Option<String>,
    /// The numbers that differ.
    pub detail: String,
}

/// The comparison of units with money, in one snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "ok": true, "checked_at": "2026-11-20T10:05:00.000Z", "complete": true,
    "items": [{"sale": "spring", "item": "phone", "total": 100, "pool": 90, "in_slots": 0, "held": 0, "paid": 10, "ended": 5,
               "price": {"amount_minor": 10, "currency": "CNY"}, "due": {"amount_minor": 100, "currency": "CNY"},
               "money": [{"currency": "CNY", "captured": 150, "standing": 100, "refunded": 50, "pending": 0, "failed": 0}]}],
    "elsewhere": [], "differences": [], "next_cursor": null
})))]
pub struct Reconciliation {
    /// Whether units and money match. Further pages exist only if the first page had differences.
    /// So the value is `false` on every further page.
    pub ok: bool,
    /// When the numbers were read.
    pub checked_at: Time,
    /// Each item of the sale, or of all sales.
    pub items: Vec<ReconciledItem>,
    /// Money of payments for orders that do not exist, by currency. The list is empty in the report
    /// of one sale.
    pub elsewhere: Vec<MoneySums>,
    /// The differences.
    pub differences: Vec<Difference>,
    /// Whether the report is complete. It is incomplete if there are more than 1,000 differences of
    /// one kind.
    pub complete: bool,
    /// The `cursor` of the page with further differences; `null` when the report is complete.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_export_is_known_by_its_name() {
        for export in Export::ALL {
            assert_eq!(Export::parse(export.as_str()), Some(export));
            assert!(
                export
                    .header()
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || matches!(byte, b',' | b'_'))
            );
        }
        assert_eq!(Export::parse("buyers"), None);
    }
}
