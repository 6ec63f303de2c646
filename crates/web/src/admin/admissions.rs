//! `POST /v1/admin/sales/{sale}/waiting-room/admissions`: admits visitors now.

use std::sync::Arc;

use axum::extract::State;
use doorbuster_api::admin::console::{Admissions, NewAdmissions};
use doorbuster_api::limits::ADMIN_BODY_BYTES_MAX;
use doorbuster_api::problem::{FaultLocation, Problem};
use doorbuster_store::recorded;

use super::sale;
use crate::App;
use crate::gate::waiting_room::wanted_room;
use crate::identity::OperatorIdentity;
use crate::path_names::PathNames;
use crate::reply::{HandlerResult, ok};
use crate::request_body::JsonBody;

pub(crate) async fn admit(
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    PathNames([name]): PathNames<1>,
    JsonBody(body): JsonBody<ADMIN_BODY_BYTES_MAX>,
) -> HandlerResult {
    let NewAdmissions { visitors, reason, item } = NewAdmissions::from_json(&body)?;
    let sale = sale(&app, &name)?;
    if sale.front_door.waiting_room.is_off() {
        return Err(Problem::not_found("this sale has no waiting room").into());
    }
    let room = wanted_room(&sale, item.as_deref(), || FaultLocation::Body("/item".into()))?;
    let action = by.action_because("visitors.admitted", "sale", &name, Some(&reason));
    let admit = app.gate.room.admit_more(&app.node, room, visitors.into());
    let step = recorded(action, admit).await?.ok_or_else(|| {
        let detail = "visitors are admitted only while the sale is open and after its draw";
        Problem::wrong_state(sale.row.phase.as_str(), detail)
    })?;
    let answer = Admissions { admitted: step.admitted, waiting: step.waiting };
    ok(&answer)
}
