//! Lists, adds and deletes blocks of buyers and networks.

use std::sync::Arc;

use axum::extract::State;
use doorbuster_api::admin::blocks::{Block, BlockKind, BlockList, NewBlock};
use doorbuster_api::limits::ADMIN_BODY_BYTES_MAX;
use doorbuster_api::problem::Problem;
use doorbuster_api::value::is_name;
use doorbuster_config::Cidr;
use doorbuster_core::{BuyerId, Millis};
use doorbuster_engine::api_conversion;
use doorbuster_engine::blocks::BLOCKS_MAX;
use doorbuster_store::{self as store, recorded};
use http::StatusCode;

use crate::App;
use crate::identity::OperatorIdentity;
use crate::path_names::PathNames;
use crate::reply::{HandlerResult, empty, json, ok};
use crate::request_body::JsonBody;

const ID_DIGITS: usize = 12;

/// `GET /v1/admin/blocks`
pub(crate) async fn list(State(app): State<Arc<App>>) -> HandlerResult {
    let blocks = app.node.store().blocks().await?;
    ok(&BlockList { blocks: blocks.iter().map(|block| block_view(&app, block)).collect() })
}

/// `POST /v1/admin/blocks`
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    JsonBody(body): JsonBody<ADMIN_BODY_BYTES_MAX>,
) -> HandlerResult {
    let wanted = NewBlock::from_json(&body)?;
    let value = block_value(&wanted)?;
    let until = wanted.expires_at.map(|time| Millis(time.millis()));
    if until.is_some_and(|until| until <= app.node.now()) {
        return Err(Problem::invalid_member(
            "/expires_at",
            "must be in the future, or null for a block without an end",
        )
        .into());
    }
    let new = store::Block {
        kind: wanted.kind,
        value: value.clone(),
        until,
        reason: wanted.reason.clone(),
        at: app.node.now(),
    };
    let action = by.action("block.created", "block", &block_id(&app, &new));
    let put = app.node.store().insert_block(wanted.kind, &value, until, &wanted.reason, BLOCKS_MAX);
    let Some(block) = recorded(action, put).await? else {
        return Err(Problem::wrong_state(
            "full",
            "the limit of blocks is reached; delete a block first",
        )
        .into());
    };
    app.gate.blocks.catch_up(app.node.store()).await?;
    if block.kind == BlockKind::Buyer
        && let Some(buyer) = BuyerId::new(&block.value)
    {
        app.waitlists.leave_all_waitlists(&buyer).await?;
    }
    let block = block_view(&app, &block);
    Ok(json(StatusCode::CREATED, &block))
}

/// `DELETE /v1/admin/blocks/{block}`
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    PathNames([wanted]): PathNames<1>,
) -> HandlerResult {
    let blocks = app.node.store().blocks().await?;
    let found = blocks.into_iter().find(|block| block_id(&app, block) == wanted);
    let is_deleted = match found {
        Some(block) => {
            let delete = app.node.store().delete_block(block.kind, &block.value);
            recorded(by.action("block.deleted", "block", &wanted), delete).await?
        }
        None => false,
    };
    // This node may still apply a block that is no longer in the store. For example, an earlier
    // request deleted the block, but then failed to read the blocks.
    app.gate.blocks.catch_up(app.node.store()).await?;
    if !is_deleted {
        return Err(Problem::not_found("there is no such block").into());
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

fn block_value(wanted: &NewBlock) -> Result<String, Problem> {
    match wanted.kind {
        BlockKind::Buyer if is_name(&wanted.value) => Ok(wanted.value.clone()),
        BlockKind::Buyer => Err(Problem::invalid_member(
            "/value",
            "must be a buyer's id: 1 to 64 characters of A-Z a-z 0-9 _ . : -",
        )),
        BlockKind::Ip => {
            let network = Cidr::parse(&wanted.value).and_then(|network| network.canonical());
            let network = network.ok_or_else(|| {
                Problem::invalid_member("/value", "must be an address or a network, such as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32")
            })?;
            Ok(network.to_string())
        }
    }
}

fn block_view(app: &App, block: &store::Block) -> Block {
    Block {
        id: block_id(app, block),
        kind: block.kind,
        value: block.value.clone(),
        expires_at: block.until.map(api_conversion::time),
        reason: block.reason.clone(),
        created_at: api_conversion::time(block.at),
    }
}

/// Returns the block's id: a keyed hash of the blocked value. The hash is the same on every node.
/// The id must not reveal the buyer, because the log of actions keeps the id after the buyer's data
/// is erased.
fn block_id(app: &App, block: &store::Block) -> String {
    let hash =
        app.node.id_key().buyer_hash(&format!("block {} {}", block.kind.as_str(), block.value));
    format!("blk_{}", &format!("{hash:016x}")[..ID_DIGITS])
}
