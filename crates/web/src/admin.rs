//! The operators' endpoints. A change and its action, which records the change, are written in the
//! same transaction ([`doorbuster_store::recorded`]).

pub(crate) mod access_codes;
pub(crate) mod actions;
pub(crate) mod admissions;
pub(crate) mod audit;
pub(crate) mod blocks;
pub(crate) mod buyers;
pub(crate) mod check;
pub(crate) mod dead_letters;
pub(crate) mod erasures;
pub(crate) mod export;
pub(crate) mod keys;
pub(crate) mod nodes;
pub(crate) mod orders;
pub(crate) mod payments;
pub(crate) mod phases;
pub(crate) mod sales;
pub(crate) mod series;
pub(crate) mod spread;
pub(crate) mod stats;
pub(crate) mod stock;
pub(crate) mod waitlist;
pub(crate) mod webhook_endpoints;

use std::sync::Arc;

use doorbuster_api::problem::Problem;
use doorbuster_core::Phase;
use doorbuster_core::limits::SLOTS_SERVED_MAX;
use doorbuster_engine::api_conversion;
use doorbuster_engine::catalogue::SaleState;
use doorbuster_engine::control::concurrent_slots;
use doorbuster_store::SaleRow;
use http::HeaderValue;
use http::header::ETAG;

use super::App;
use super::reply::{Reply, json};

/// Returns the sale with this name, even if the sale is a draft.
fn sale(app: &App, name: &str) -> Result<Arc<SaleState>, Problem> {
    app.node.catalogue().sale(name).cloned().ok_or_else(no_sale)
}

/// A node can read only a limited number of slots at once. Counts the slots of this sale and of all
/// sales that can be open at the same time. Refuses the change if a node cannot read all these
/// slots. `phase` is the sale's present phase, `row` is the sale after the change, and `own` is the
/// number of this sale's slots.
fn check_slots_readable(app: &App, phase: Phase, row: &SaleRow, own: usize) -> Result<(), Problem> {
    let slots = concurrent_slots(&app.node, row, own);
    if slots <= SLOTS_SERVED_MAX {
        return Ok(());
    }
    let detail = format!(
        "this sale and the sales that overlap it have {slots} slots, and at most \
         {SLOTS_SERVED_MAX} can be read at once; use fewer partitions or another time"
    );
    Err(Problem::wrong_state(phase.as_str(), detail))
}

fn no_sale() -> Problem {
    Problem::not_found("there is no such sale")
}

fn etag(version: u64) -> String {
    format!("\"{version}\"")
}

fn sale_reply(app: &App, status: http::StatusCode, row: &SaleRow) -> Reply {
    let catalogue = app.node.catalogue();
    let known = catalogue.sale(&row.id);
    let mut reply = json(status, &api_conversion::admin_sale(row, known.map(|sale| &**sale)));
    let tag = HeaderValue::from_str(&etag(row.version)).expect("digits between quotes");
    reply.headers_mut().insert(ETAG, tag);
    reply
}
