//! What operators take away: lists as CSV, and the report in which units and money are held against
//! each other.

use super::operators::VIEWER_ENDPOINT;
use super::response::ok;
use super::{Content, Endpoint, Param, SuccessResponse};
use crate::admin::export::{Export, Reconciliation};
use crate::problem::Code;

/// A line of names, then the rows.
const fn csv_response(export: Export) -> SuccessResponse {
    SuccessResponse::new(
        200,
        Content::Csv(export.header()),
        "A line of names, then one line for each row.",
    )
}

/// A list as CSV.
const CSV_ENDPOINT: Endpoint =
    Endpoint { params: &[Param::Sale], codes: &[Code::NotFound], ..VIEWER_ENDPOINT };

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        path: "/v1/admin/exports/orders.csv",
        id: "export_orders",
        responses: &[csv_response(Export::Orders)],
        summary: "Export orders as CSV",
        description: "Of one sale or of all, oldest first, streamed.",
        ..CSV_ENDPOINT
    },
    Endpoint {
        path: "/v1/admin/exports/payments.csv",
        id: "export_payments",
        responses: &[csv_response(Export::Payments)],
        summary: "Export payments as CSV",
        description: "Of one sale or of all, oldest first, streamed. Payments that name no order are in that of all sales only.",
        ..CSV_ENDPOINT
    },
    Endpoint {
        path: "/v1/admin/exports/refunds.csv",
        id: "export_refunds",
        responses: &[csv_response(Export::Refunds)],
        summary: "Export refunds as CSV",
        description: "Of one sale or of all, oldest first, streamed. Refunds of payments that name no order are in that of all sales only.",
        ..CSV_ENDPOINT
    },
    Endpoint {
        path: "/v1/admin/exports/ledger.csv",
        id: "export_ledger",
        responses: &[csv_response(Export::Ledger)],
        summary: "Export every movement of units as CSV",
        description: "Of one sale or of all, streamed: what an item began with, each change of its total, each order that took units or gave them back, \
            with the item's units after it. `free` is what nobody has: in the pool and in slots.",
        ..CSV_ENDPOINT
    },
    Endpoint {
        path: "/v1/admin/exports/reconciliation",
        id: "reconcile",
        summary: "Hold units and money against each other",
        description: "Of one sale or of all, in one snapshot: the units and the money of each item, and every difference by name, \
            at most 1,000 of a kind at once. It reads every order.",
        params: &[Param::Sale, Param::Cursor],
        responses: &[ok::<Reconciliation>("What adds up, and what does not.")],
        codes: &[Code::NotFound],
        ..VIEWER_ENDPOINT
    },
];
