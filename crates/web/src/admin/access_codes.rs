//! Creates, counts and revokes the access codes of a sale. Codes are shown only when they are
//! created.

use std::sync::Arc;

use axum::extract::State;
use doorbuster_api::admin::access_codes::{CodeCounts, CreatedCodes, NewCodes};
use doorbuster_api::admin::console::RevokedCodes;
use doorbuster_api::limits::ADMIN_BODY_BYTES_MAX;
use doorbuster_api::problem::Problem;
use doorbuster_core::gate::code;
use doorbuster_gate::access_codes;
use doorbuster_store::{
    CODE_PREFIX_CHARS, CodeSelection, CodesOutcome, FieldChange, NewAction, recorded,
};
use http::StatusCode;

use super::{no_sale, sale};
use crate::App;
use crate::identity::OperatorIdentity;
use crate::path_names::PathNames;
use crate::reply::{HandlerResult, json, ok};
use crate::request_body::JsonBody;

/// `POST /v1/admin/sales/{sale}/access-codes`
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    PathNames([name]): PathNames<1>,
    JsonBody(body): JsonBody<ADMIN_BODY_BYTES_MAX>,
) -> HandlerResult {
    let NewCodes { count, uses } = NewCodes::from_json(&body)?;
    let sale = sale(&app, &name)?;
    let create = access_codes::create(app.node.store(), &name, count, uses);
    let action = NewAction {
        changes: vec![FieldChange::set("/count", count), FieldChange::set("/uses", uses)],
        ..by.action("codes.created", "sale", &name)
    };
    let (codes, outcome) = recorded(action, create).await?;
    match outcome {
        CodesOutcome::Done => {}
        CodesOutcome::NotFound => return Err(no_sale().into()),
        CodesOutcome::TooMany => {
            let detail = "a sale has at most 1,000,000 access codes; create fewer codes";
            return Err(Problem::wrong_state(sale.row.phase.as_str(), detail).into());
        }
    }
    Ok(json(StatusCode::CREATED, &CreatedCodes { codes }))
}

/// `GET /v1/admin/sales/{sale}/access-codes`
pub(crate) async fn count(
    State(app): State<Arc<App>>,
    PathNames([name]): PathNames<1>,
) -> HandlerResult {
    sale(&app, &name)?;
    let counts = app.node.store().code_counts(&name).await?;
    let counts = CodeCounts { codes: counts.codes, uses: counts.uses, spent: counts.spent };
    ok(&counts)
}

/// `DELETE /v1/admin/sales/{sale}/access-codes/{prefix}`
pub(crate) async fn revoke(
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    PathNames([name, prefix]): PathNames<2>,
) -> HandlerResult {
    sale(&app, &name)?;
    let codes = selection(&name, &prefix)?;
    let action = by.action("codes.revoked", "sale", &name);
    let revoke = app.node.store().revoke_codes(&name, codes);
    let revoked = recorded(action, revoke).await?;
    ok(&RevokedCodes { revoked })
}

/// Returns which codes the text selects. A whole code selects itself, and a prefix selects all
/// codes that begin with it.
fn selection(sale: &str, text: &str) -> Result<CodeSelection, Problem> {
    if let Some(hash) = code::hash_code(sale, text) {
        return Ok(CodeSelection::Code(hash));
    }
    code::parse_prefix(text, CODE_PREFIX_CHARS).map(CodeSelection::Prefix).ok_or_else(|| {
        let detail = "a prefix has 1 to 4 characters of a code; a whole code has 16 characters";
        Problem::not_found(detail)
    })
}
