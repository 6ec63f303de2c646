//! The operators' endpoints for the orders of all buyers.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use doorbuster_api::admin::order::{AnyOrderDetail, OrderDetail};
use doorbuster_api::admin::payments::{Extension, PayByChange, Reason};
use doorbuster_api::limits::ADMIN_BODY_BYTES_MAX;
use doorbuster_api::order::{AnyOrder, OrderList};
use doorbuster_api::problem::Problem;
use doorbuster_api::query::OrderQuery;
use doorbuster_base::failpoint::{self, Failpoint};
use doorbuster_core::event::{self, Actor};
use doorbuster_core::order::ChangeOutcome;
use doorbuster_core::{BuyerId, ItemId, Millis, OrderState, TicketId};
use doorbuster_engine::api_conversion;
use doorbuster_engine::catalogue::SaleState;
use doorbuster_store::recorded;

use super::payments::payments_of_order;
use crate::App;
use crate::identity::{OperatorIdentity, OperatorRequest};
use crate::orders::{cancel_order, changed_reply, id, page, read_order};
use crate::path_names::PathNames;
use crate::reply::{HandlerResult, ok};
use crate::request_body::{JsonBody, OptionalJsonBody};

/// `GET /v1/admin/orders`
pub(crate) async fn list(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> HandlerResult {
    let query = OrderQuery::for_operator(query.as_deref().unwrap_or_default())?;
    // This node may not know the item yet, because another node has just created it.
    app.catalogue_reader.refresh().await?;
    let items = item_ids(&app, query.sale.as_deref(), query.item.as_deref());
    if items.as_ref().is_some_and(Vec::is_empty) {
        return ok(&OrderList { orders: Vec::new(), items: Vec::new(), next_cursor: None });
    }
    let buyer = query.buyer.as_deref().and_then(BuyerId::new);
    page(&app, &query, buyer, items).await
}

/// Returns the ids of the items that `sale` and `item` select. `None` means all items.
pub(crate) fn item_ids(app: &App, sale: Option<&str>, item: Option<&str>) -> Option<Vec<ItemId>> {
    if sale.is_none() && item.is_none() {
        return None;
    }
    let catalogue = app.node.catalogue();
    let of_sale = |state: &Arc<SaleState>| sale.is_none_or(|sale| state.row.id == sale);
    let items = catalogue.sales().filter(|state| of_sale(state)).flat_map(|state| &state.items);
    let wanted = items.filter(|state| item.is_none_or(|item| state.row.name == item));
    Some(wanted.map(|state| state.row.id).collect())
}

/// `GET /v1/admin/orders/{order}`
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    PathNames([order]): PathNames<1>,
) -> HandlerResult {
    let id = id(&order)?;
    let detail = match read_order(&app, id, None).await? {
        AnyOrder::Order(order) => {
            let events = app.node.store().history(id).await?;
            let payments = payments_of_order(&app, id).await?;
            AnyOrderDetail::Order(OrderDetail {
                history: api_conversion::history(&events, false),
                order,
                payments,
            })
        }
        AnyOrder::Queued(queued) => AnyOrderDetail::Queued(queued),
        AnyOrder::Refused(refused) => AnyOrderDetail::Refused(refused),
        AnyOrder::Waiting(waiting) => AnyOrderDetail::Waiting(waiting),
    };
    ok(&detail)
}

/// `POST /v1/admin/orders/{order}/cancel`
pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    PathNames([order]): PathNames<1>,
    OptionalJsonBody(body): OptionalJsonBody<ADMIN_BODY_BYTES_MAX>,
) -> HandlerResult {
    let (id, reason) = read_reason(&order, &body)?;
    let action = by.action_because("order.cancelled", "order", &order, reason.as_deref());
    recorded(action, cancel_order(&app, id, by_operator(&by, reason.clone()))).await
}

/// `POST /v1/admin/orders/{order}/refund`
pub(crate) async fn refund(
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    PathNames([order]): PathNames<1>,
    OptionalJsonBody(body): OptionalJsonBody<ADMIN_BODY_BYTES_MAX>,
) -> HandlerResult {
    let (id, reason) = read_reason(&order, &body)?;
    let action = by.action_because("order.refunded", "order", &order, reason.as_deref());
    let refund = app.orders.refund(id, by_operator(&by, reason));
    let changed = recorded(action, refund).await?;
    failpoint::reach(Failpoint::OrderRefunded);
    app.payments.remember_refund_of(&order);
    app.payments.wake_refunds();
    changed_reply(&app, changed, "only a paid order can be refunded")
}

/// `POST /v1/admin/orders/{order}/extend`
pub(crate) async fn extend(
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    PathNames([order]): PathNames<1>,
    JsonBody(body): JsonBody<ADMIN_BODY_BYTES_MAX>,
) -> HandlerResult {
    let (until, wanted) = Extension::from_json(&body)?;
    let id = id(&order)?;
    let store = app.node.store();
    let by_whom = by_operator(&by, wanted.reason.clone());
    let action = by.action_because("order.extended", "order", &order, wanted.reason.as_deref());
    let extend = async {
        match until {
            PayByChange::Secs(secs) => {
                store.extend_order_by(id, i64::from(secs) * 1_000, by_whom).await
            }
            PayByChange::Time(time) => store.extend_order(id, Millis(time.millis()), by_whom).await,
        }
    };
    let changed = recorded(action, extend).await?;
    if matches!(&changed, ChangeOutcome::WrongState(order) if order.state == OrderState::Reserved) {
        let place = if matches!(until, PayByChange::Secs(_)) { "/secs" } else { "/pay_by" };
        let detail =
            "must be later than the order's pay_by and than now, and at most 30 days from now";
        return Err(Problem::invalid_member(place, detail).into());
    }
    changed_reply(&app, changed, "only a reserved order can be extended")
}

fn read_reason(order: &str, body: &[u8]) -> Result<(TicketId, Option<String>), Problem> {
    let reason = Reason::from_json(body)?.reason;
    Ok((id(order)?, reason))
}

fn by_operator(by: &OperatorRequest, why: Option<String>) -> event::Attribution {
    event::Attribution { actor: Actor::Operator(by.id.to_string()), why }
}
