//! Sets how an item's stock is spread over its slots, even while the sale is open.

use std::sync::Arc;

use axum::extract::State;
use doorbuster_api::admin::spread::{Partitions, Spread as Wanted};
use doorbuster_api::limits::ADMIN_BODY_BYTES_MAX;
use doorbuster_api::problem::Problem;
use doorbuster_core::{Phase, Spread, SpreadFault};
use doorbuster_store::{SpreadOutcome, recorded};

use super::{check_slots_readable, sale};
use crate::App;
use crate::identity::OperatorIdentity;
use crate::path_names::PathNames;
use crate::reply::{HandlerResult, ok};
use crate::request_body::JsonBody;

/// `PUT /v1/admin/sales/{sale}/items/{item}/spread`
pub(crate) async fn set(
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    PathNames([name, item]): PathNames<2>,
    JsonBody(body): JsonBody<ADMIN_BODY_BYTES_MAX>,
) -> HandlerResult {
    let wanted = Wanted::from_json(&body)?;
    let sale = sale(&app, &name)?;
    let item =
        sale.item(&item).ok_or_else(|| Problem::not_found("the sale has no such item"))?.clone();
    let now = item.row.spread;
    let automatic =
        if now.auto { now.partitions } else { app.sales.automatic_partitions_of(&sale, &item) };
    let spread = parse_spread(&wanted, automatic)?;
    if matches!(sale.row.phase, Phase::Scheduled | Phase::Open | Phase::Paused) {
        let others = sale.items.iter().filter(|other| other.row.id != item.row.id);
        check_slots_readable(
            &app,
            sale.row.phase,
            &sale.row,
            others.map(|item| item.slots.len()).sum::<usize>() + spread.partitions as usize,
        )?;
    }
    let action = by.action("spread.changed", "sale", &name);
    let outcome = recorded(action, app.sales.set_spread(&item, spread, None)).await?;
    let row = match outcome {
        SpreadOutcome::Done(row) => row,
        SpreadOutcome::WrongState(phase) => {
            return Err(Problem::wrong_state(phase.as_str(), "the sale is closed").into());
        }
        // This change requires no version, so `VersionMismatch` does not occur.
        SpreadOutcome::NotFound | SpreadOutcome::VersionMismatch(_) => {
            return Err(Problem::not_found("the sale has no such item").into());
        }
    };
    let now = row.items.iter().find(|row| row.id == item.row.id).map_or(spread, |row| row.spread);
    ok(&spread_view(&now))
}

/// `GET /v1/admin/sales/{sale}/items/{item}/spread`
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    PathNames([name, item]): PathNames<2>,
) -> HandlerResult {
    let sale = sale(&app, &name)?;
    let item = sale.item(&item).ok_or_else(|| Problem::not_found("the sale has no such item"))?;
    ok(&spread_view(&item.row.spread))
}

/// Parses a spread. If the operator lets the server choose the number of partitions, this number is
/// `automatic`.
fn parse_spread(wanted: &Wanted, automatic: u32) -> Result<Spread, Problem> {
    let spread = Spread {
        partitions: match wanted.partitions {
            Partitions::Count(count) => count,
            Partitions::Auto => automatic,
        },
        auto: wanted.partitions == Partitions::Auto,
        choose: wanted.choose,
        initial: wanted.initial,
        threshold: wanted.threshold,
        refill: wanted.refill,
    };
    let Some(fault) = spread.fault() else { return Ok(spread) };
    let member = match fault {
        SpreadFault::Partitions => "/partitions",
        SpreadFault::HalfInUse | SpreadFault::TooLarge => "/initial",
        SpreadFault::ThresholdAboveInitial => "/threshold",
    };
    Err(Problem::invalid_member(member, fault.to_string()))
}

fn spread_view(spread: &Spread) -> Wanted {
    Wanted {
        partitions: match spread.auto {
            true => Partitions::Auto,
            false => Partitions::Count(spread.partitions),
        },
        choose: spread.choose,
        initial: spread.initial,
        threshold: spread.threshold,
        refill: spread.refill,
    }
}
