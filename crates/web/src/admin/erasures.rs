//! Erases the data of one buyer.

use std::sync::Arc;

use axum::extract::State;
use doorbuster_api::admin::erasures::{Erasure, HeldBack, NewErasure};
use doorbuster_api::limits::ADMIN_BODY_BYTES_MAX;
use doorbuster_api::problem::Problem;
use doorbuster_core::BuyerId;
use doorbuster_store::{self as store, Erased, recorded};

use crate::App;
use crate::identity::OperatorIdentity;
use crate::reply::{HandlerError, HandlerResult, ok, ok_unchanged};
use crate::request_body::JsonBody;

/// `POST /v1/admin/erasures`
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    JsonBody(body): JsonBody<ADMIN_BODY_BYTES_MAX>,
) -> HandlerResult {
    let wanted = NewErasure::from_json(&body)?;
    let buyer = BuyerId::new(&wanted.buyer).filter(|buyer| !buyer.is_erased());
    let buyer = buyer.ok_or_else(|| {
        Problem::invalid_member("/buyer", "must be the id of a buyer who is not erased")
    })?;
    let store = app.node.store();
    let erased_as = app.node.id_key().erased_buyer(&buyer).as_str().to_owned();
    let before = store.traces(&buyer).await?;
    if wanted.dry_run {
        return ok_unchanged(&erasure_view(
            erased_as,
            true,
            Erased { orders: before.orders, other: before.other },
            before,
        ));
    }
    let mut all = Erased::default();
    let action = by.action("buyer.erased", "buyer", &erased_as);
    let left = recorded(action, erase(&app, &buyer, &mut all)).await;
    app.node.hub().forget_buyer(&buyer);
    if let Some(push) = &app.push {
        push.forget(&buyer);
    }
    ok(&erasure_view(erased_as, false, all, left?))
}

/// Erases the buyer's data in several transactions of limited size. Returns the number of rows that
/// the server must still keep, for each sale and reason.
async fn erase(
    app: &App,
    buyer: &BuyerId,
    all: &mut Erased,
) -> Result<store::BuyerTraces, HandlerError> {
    let store = app.node.store();
    let mut is_seen = false;
    loop {
        let mut is_vain = is_seen;
        loop {
            let some = store.erase_batch(buyer).await?;
            if some == Erased::default() {
                break;
            }
            (all.orders, all.other) = (all.orders + some.orders, all.other + some.other);
            is_vain = false;
        }
        let left = store.traces(buyer).await?;
        is_seen = (left.orders, left.other) != (0, 0);
        if is_vain || !is_seen {
            return Ok(left);
        }
    }
}

fn erasure_view(
    erased_as: String,
    dry_run: bool,
    done: Erased,
    left: store::BuyerTraces,
) -> Erasure {
    let held = |held: store::RetainedRows| HeldBack {
        sale: held.sale,
        reason: held.why,
        orders: held.orders,
        other: held.other,
    };
    let held_back = left.held_back.into_iter().map(held).collect();
    Erasure {
        erased_as,
        dry_run,
        orders: done.orders,
        other: done.other,
        held_back,
        blocked: left.blocked,
    }
}
