//! What operators take away: lists as CSV, and the report in which units and money are held against each other.

use super::answer::ok;
use super::operating::VIEWING;
use super::{Answer, Content, Endpoint, Param};
use crate::admin::export::{Export, Reconciliation};
use crate::problem::Code;

/// A line of names, then the rows.
const fn rows(export: Export) -> Answer {
    Answer::new(200, Content::Csv(export.header()), "A line of names, then one line for each row.")
}

/// A list as CSV.
const LIST: Endpoint = Endpoint { params: &[Param::Sale], codes: &[Code::NotFound], ..VIEWING };

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        path: "/v1/admin/exports/orders.csv",
        id: "export_orders",
        answers: &[rows(Export::Orders)],
        summary: "Export orders as CSV",
        description: "Of one sale or of all, oldest first, streamed.",
        ..LIST
    },
    Endpoint {
        path: "/v1/admin/exports/payments.csv",
        id: "export_payments",
        answers: &[rows(Export::Payments)],
        summary: "Export payments as CSV",
        description: "Of one sale or of all, oldest first, streamed. Payments that name no order are in that of all sales only.",
        ..LIST
    },
    Endpoint {
        path: "/v1/admin/exports/refunds.csv",
        id: "export_refunds",
        answers: &[rows(Export::Refunds)],
        summary: "Export refunds as CSV",
        description: "Of one sale or of all, oldest first, streamed. Refunds of payments that name no order are in that of all sales only.",
        ..LIST
    },
    Endpoint {
        path: "/v1/admin/exports/ledger.csv",
        id: "export_ledger",
        answers: &[rows(Export::Ledger)],
        summary: "Export every movement of units as CSV",
        description: "Of one sale or of all, streamed: what an item began with, each change of its total, each order that took units or gave them back, \
            with the item's units after it. `free` is what nobody has: in the pool and in slots.",
        ..LIST
    },
    Endpoint {
        path: "/v1/admin/exports/reconciliation",
        id: "reconcile",
        summary: "Hold units and money against each other",
        description: "Of one sale or of all, in one snapshot: the units and the money of each item, and every difference by name, \
            at most 1,000 of a kind at once. It reads every order.",
        params: &[Param::Sale, Param::Cursor],
        answers: &[ok::<Reconciliation>("What adds up, and what does not.")],
        codes: &[Code::NotFound],
        ..VIEWING
    },
];
