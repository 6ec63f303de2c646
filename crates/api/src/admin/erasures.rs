//! Erasing a buyer.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::body::{self, read};
use crate::problem::Problem;

pub use doorbuster_types::RetainReason;

/// A buyer to erase. The buyer's id is in the body, so that the id does not appear in logs of URLs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"buyer": "anna", "dry_run": true})))]
pub struct NewErasure {
    /// The buyer's id.
    #[schema(schema_with = crate::admin::schema::name)]
    pub buyer: String,
    /// `true`: the server only counts the rows and changes nothing. The default is `false`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false, default = false)]
    pub dry_run: bool,
}

impl NewErasure {
    /// Reads the body of `POST /v1/admin/erasures`.
    ///
    /// # Errors
    /// `400` or `422`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Problem> {
        body::object(bytes, &["buyer", "dry_run"], |body| {
            let buyer = body.required("buyer", read::name);
            let dry_run = body.optional("dry_run", false, read::boolean);
            Some(Self { buyer: buyer?.into_owned(), dry_run: dry_run? })
        })
    }
}

/// Returns why rows cannot be erased yet. If `is_one` is true, the text is about a single row.
#[must_use]
pub const fn explanation(reason: RetainReason, is_one: bool) -> &'static str {
    match (reason, is_one) {
        (RetainReason::NotClosed, _) => "the sale is not closed",
        (RetainReason::Unpaid, true) => "it waits for its payment",
        (RetainReason::Unpaid, false) => "they wait for their payments",
        (RetainReason::OpenCheckout, true) => "its checkout is not closed yet",
        (RetainReason::OpenCheckout, false) => "their checkouts are not closed yet",
        (RetainReason::RefundDue, true) => "its refund has not arrived",
        (RetainReason::RefundDue, false) => "their refunds have not arrived",
    }
}

/// The rows of one sale that cannot be erased yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeldBack {
    /// The sale.
    pub sale: String,
    /// Why the rows cannot be erased yet.
    pub reason: RetainReason,
    /// The number of orders that cannot be erased yet.
    pub orders: u64,
    /// The number of other rows that cannot be erased yet.
    pub other: u64,
}

/// The result of an erasure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "erased_as": "erased:5f0c6f2e9d1a4b7c8e3f2a1b0c9d8e7f", "dry_run": false, "orders": 2, "other": 3,
    "held_back": [{"sale": "autumn", "reason": "not_closed", "orders": 1, "other": 0}], "blocked": false
})))]
pub struct Erasure {
    /// The name that replaces the buyer's id. The name is the same in every erasure of this buyer.
    pub erased_as: String,
    /// `true` if the server only counted the rows and erased none.
    pub dry_run: bool,
    /// The number of orders in which the server replaced the buyer's id. With `dry_run`, the number
    /// of orders in which it would replace the id.
    pub orders: u64,
    /// The number of other changed rows: entries in waiting rooms and waitlists, spent codes, feed
    /// rows of slots, refused tickets, and browsers' subscriptions. With `dry_run`, the number of
    /// rows that would change.
    pub other: u64,
    /// The rows that cannot be erased yet. If the list is empty after an erasure, only a block can
    /// still name the buyer. `blocked` says whether a block names the buyer.
    pub held_back: Vec<HeldBack>,
    /// Whether a block names the buyer. The block stays until it ends or is deleted.
    pub blocked: bool,
}

impl Erasure {
    /// Whether every row could be erased. A block that names the buyer does not count, because an
    /// operator decides when the block ends.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.held_back.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_erasure_is_read_strictly() {
        let read = |json: &str| NewErasure::from_json(json.as_bytes());
        assert_eq!(
            read(r#"{"buyer":"anna"}"#),
            Ok(NewErasure { buyer: "anna".into(), dry_run: false })
        );
        assert!(read(r#"{"buyer":"anna","dry_run":true}"#).is_ok_and(|wanted| wanted.dry_run));
        for wrong in [
            "{}",
            r#"{"buyer":""}"#,
            r#"{"buyer":"a b"}"#,
            r#"{"buyer":7}"#,
            r#"{"buyer":"anna","dry_run":null}"#,
            r#"{"buyer":"anna","dry_run":"yes"}"#,
            r#"{"buyer":"anna","why":"asked"}"#,
        ] {
            assert_eq!(read(wrong).expect_err(wrong).status(), 422, "{wrong}");
        }
    }
}
