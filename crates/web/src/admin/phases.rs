//! Moves a sale to its next phase.

use std::sync::Arc;

use axum::extract::State;
use doorbuster_api::limits::ADMIN_BODY_BYTES_MAX;
use doorbuster_api::problem::{Fault, Problem};
use doorbuster_core::Phase;
use doorbuster_core::sale::PhaseStep;
use doorbuster_store::{SaleRow, StepOutcome, recorded};
use http::StatusCode;

use super::sales::unpayable;
use super::{check_slots_readable, no_sale, sale, sale_reply};
use crate::App;
use crate::identity::OperatorIdentity;
use crate::path_names::PathNames;
use crate::reply::HandlerResult;
use crate::request_body;

/// `POST /v1/admin/sales/{sale}/schedule`, `unschedule`, `open`, `pause`, `resume`, `close`
pub(crate) async fn step(
    step: PhaseStep,
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    PathNames([name]): PathNames<1>,
    request: axum::extract::Request,
) -> HandlerResult {
    request_body::no_body(request, ADMIN_BODY_BYTES_MAX).await?;
    let before = sale(&app, &name)?;
    if step == PhaseStep::Schedule && before.row.phase == Phase::Draft {
        let opens_later = before.row.starts_at.is_some_and(|starts_at| starts_at > app.node.now());
        if !opens_later {
            let detail = "must be in the future; set a later time, then try again";
            return Err(Problem::invalid_member("/starts_at", detail).into());
        }
    }
    let begins = matches!(step, PhaseStep::Schedule | PhaseStep::Open)
        && before.row.phase.is_before_opening();
    if begins {
        let is_over = before.row.ends_at.is_some_and(|ends_at| ends_at <= app.node.now());
        if step == PhaseStep::Open && is_over {
            let detail = "must be in the future; set a later time, then try again";
            return Err(Problem::invalid_member("/ends_at", detail).into());
        }
        // If the sale opens before its scheduled start, it can overlap sales that it would not
        // overlap otherwise.
        let next = if step == PhaseStep::Schedule { Phase::Scheduled } else { Phase::Open };
        app.sales.choose_partitions(&before, next).await?;
        let before = sale(&app, &name)?;
        let own = before.items.iter().map(|item| item.slots.len()).sum();
        let planned = SaleRow { phase: next, ..before.row.clone() };
        check_slots_readable(&app, before.row.phase, &planned, own)?;
        // The settings may now name another payment provider than when the sale was created. This
        // provider may not accept the sale's currency.
        let items = before.row.items.iter().enumerate();
        let faults: Vec<Fault> = items
            .filter_map(|(index, item)| unpayable(&app, index, item.price_minor, &item.currency))
            .collect();
        if !faults.is_empty() {
            return Err(Problem::invalid_request(faults).into());
        }
    }
    let stepped = app.sales.step_sale(&name, step);
    let outcome = recorded(by.action(action_name(step), "sale", &name), stepped).await?;
    match outcome {
        StepOutcome::Done { sale, .. } => Ok(sale_reply(&app, StatusCode::OK, &sale)),
        StepOutcome::WrongState(phase) => {
            let detail = format!("a sale that is {} cannot {}", phase.as_str(), step.as_str());
            Err(Problem::wrong_state(phase.as_str(), detail).into())
        }
        StepOutcome::NotFound => Err(no_sale().into()),
    }
}

fn action_name(step: PhaseStep) -> &'static str {
    match step {
        PhaseStep::Schedule => "sale.scheduled",
        PhaseStep::Unschedule => "sale.unscheduled",
        PhaseStep::Open => "sale.opened",
        PhaseStep::Pause => "sale.paused",
        PhaseStep::Resume => "sale.resumed",
        PhaseStep::Close => "sale.closed",
    }
}
