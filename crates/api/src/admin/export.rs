//! What is exported: the names above the columns, and the report in which units and money are held
//! against each other.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::value::{Currency, Money, Time};

/// A list that is exported as CSV.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Export {
    /// Orders.
    Orders,
    /// Payments.
    Payments,
    /// Refunds.
    Refunds,
    /// Every movement of units.
    Ledger,
}

impl Export {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Orders, Self::Payments, Self::Refunds, Self::Ledger];

    /// Its name, in addresses and commands.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Payments => "payments",
            Self::Refunds => "refunds",
            Self::Ledger => "ledger",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|export| export.as_str() == word)
    }

    /// Its first line.
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
            Self::Ledger => "at,sale,item,movement,units,order,by,why,total,free,held,paid",
        }
    }
}

/// Money of one currency, in minor units: `captured = standing + refunded + pending + failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MoneySums {
    /// Which.
    pub currency: Currency,
    /// What providers captured.
    #[schema(schema_with = crate::admin::schema::sum)]
    pub captured: i128,
    /// Of that, what stands for paid orders.
    #[schema(schema_with = crate::admin::schema::sum)]
    pub standing: i128,
    /// What went back.
    #[schema(schema_with = crate::admin::schema::sum)]
    pub refunded: i128,
    /// What is on its way back.
    #[schema(schema_with = crate::admin::schema::sum)]
    pub pending: i128,
    /// What was to go back, and the provider refused it for good.
    #[schema(schema_with = crate::admin::schema::sum)]
    pub failed: i128,
}

/// Units and money of one item. Units are added up from grants and orders: `total = pool + in_slots
/// + held + paid`.
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
    /// Units reserved and unpaid.
    pub held: u64,
    /// Units paid.
    pub paid: u64,
    /// Units of orders that were cancelled, expired or refunded.
    pub ended: u64,
    /// Price of a unit.
    pub price: Money,
    /// What the paid units cost: what should stand.
    pub due: Money,
    /// Money that came for its orders, by currency.
    pub money: Vec<MoneySums>,
}

/// Something that does not add up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    /// What: `units`, `captured_without_paid_order`, `paid_without_payment`, `wrong_amount`,
    /// `paid_twice`, `refund_missing`, `refund_unfounded`, `refund_amount`, `refunded_twice`,
    /// `refund_failed` or `reversed`.
    pub kind: String,
    /// The sale concerned, if it is one.
    #[schema(required = true)]
    pub sale: Option<String>,
    /// The item concerned, if it is one.
    #[schema(required = true)]
    pub item: Option<String>,
    /// The order concerned, as its payment names it.
    #[schema(required = true)]
    pub order: Option<String>,
    /// The payment concerned.
    #[schema(required = true)]
    pub payment: Option<String>,
    /// The numbers.
    pub detail: String,
}

/// Units and money held against each other, in one snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "ok": true, "checked_at": "2026-11-20T10:05:00.000Z", "complete": true,
    "items": [{"sale": "spring", "item": "phone", "total": 100, "pool": 90, "in_slots": 0, "held": 0, "paid": 10, "ended": 5,
               "price": {"amount_minor": 10, "currency": "CNY"}, "due": {"amount_minor": 100, "currency": "CNY"},
               "money": [{"currency": "CNY", "captured": 150, "standing": 100, "refunded": 50, "pending": 0, "failed": 0}]}],
    "elsewhere": [], "differences": [], "next_cursor": null
})))]
pub struct Reconciliation {
    /// Whether there is no difference. A report that was read on had some before.
    pub ok: bool,
    /// When the numbers were read.
    pub checked_at: Time,
    /// Each item of the sale, or of all.
    pub items: Vec<ReconciledItem>,
    /// Money for orders that do not exist, by currency; only in a report of all sales.
    pub elsewhere: Vec<MoneySums>,
    /// What does not add up.
    pub differences: Vec<Difference>,
    /// Whether that is all; else there are more than 1,000 of some kind.
    pub complete: bool,
    /// Give it as `cursor` to have the others named; `null` when that is all.
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
