//! Exports for operators: lists as CSV, and the report that reconciles units and money.

use super::operators::VIEWER_ENDPOINT;
use super::response::ok;
use super::{Content, Endpoint, Param, SuccessResponse};
use crate::admin::export::{Export, Reconciliation};
use crate::problem::Code;

const fn csv_response(export: Export) -> SuccessResponse {
    SuccessResponse::new(
        200,
        Content::Csv(export.header()),
        "A header line, then one line for each row.",
    )
}

const CSV_ENDPOINT: Endpoint =
    Endpoint { params: &[Param::Sale], codes: &[Code::NotFound], ..VIEWER_ENDPOINT };

endpoints!(
    export_orders = Endpoint {
        path: "/v1/admin/exports/orders.csv",
        responses: &[csv_response(Export::Orders)],
        summary: "Export orders as CSV",
        description: "Streams the orders of one sale or of all sales, oldest first.",
        ..CSV_ENDPOINT
    },
    export_payments = Endpoint {
        path: "/v1/admin/exports/payments.csv",
        responses: &[csv_response(Export::Payments)],
        summary: "Export payments as CSV",
        description: "Streams the payments of one sale or of all sales, oldest first. Payments \
            for unknown orders appear only in the export of all sales.",
        ..CSV_ENDPOINT
    },
    export_refunds = Endpoint {
        path: "/v1/admin/exports/refunds.csv",
        responses: &[csv_response(Export::Refunds)],
        summary: "Export refunds as CSV",
        description: "Streams the refunds of one sale or of all sales, oldest first. If a refunded \
            payment was for an unknown order, its refund appears only in the export of all sales.",
        ..CSV_ENDPOINT
    },
    export_ledger = Endpoint {
        path: "/v1/admin/exports/ledger.csv",
        responses: &[csv_response(Export::Ledger)],
        summary: "Export every movement of units as CSV",
        description: "Streams the movements of one sale or of all sales. The lines are an item's \
            first total, each change of the total, and each order that took or returned units. \
            Each line has the item's units after the movement. `free` counts the units in the pool \
            and in slots.",
        ..CSV_ENDPOINT
    },
    export_actions = Endpoint {
        path: "/v1/admin/exports/actions.csv",
        params: &[Param::By, Param::Action, Param::Subject],
        responses: &[csv_response(Export::Actions)],
        codes: &[],
        summary: "Export operators' actions as CSV",
        description: "Streams all actions, or the actions that match the parameters, oldest first. \
            `changes` is the list of changed fields as JSON. The server keeps actions for a year.",
        ..CSV_ENDPOINT
    },
    reconcile = Endpoint {
        path: "/v1/admin/exports/reconciliation",
        summary: "Reconcile units and money",
        description: "Checks for each item whether the units and the money agree with the orders. \
            Covers one sale or all sales, in one snapshot. One response lists at most 1,000 \
            differences of each kind. The request reads every order.",
        params: &[Param::Sale, Param::Cursor],
        responses: &[ok::<Reconciliation>("The totals and the differences.")],
        codes: &[Code::NotFound],
        ..VIEWER_ENDPOINT
    },
);
