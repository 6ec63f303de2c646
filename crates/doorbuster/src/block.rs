//! `block`: blocks and unblocks buyers and addresses over the admin API.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use comfy_table::Cell;
use doorbuster_api::admin::blocks::{Block, BlockKind, BlockList, NewBlock};
use doorbuster_api::value::Time;

use crate::cli::{AddBlockArgs, BlockArgs, BlockCommand};
use crate::client::{self, Client, Path};
use crate::exit::Outcome;
use crate::table;

/// Runs `block`.
pub fn run(args: BlockArgs) -> Outcome {
    let client = Client::new(&args.server)?;
    client::block_on(async {
        match args.command {
            BlockCommand::Add(args) => add(&client, args).await,
            BlockCommand::List => {
                client.print_result(client.get(Path::admin(&["blocks"])).await, list)
            }
            BlockCommand::Remove { block } => remove(&client, &block).await,
        }
    })
}

async fn add(client: &Client, args: AddBlockArgs) -> Outcome {
    let (kind, value) = match (args.buyer, args.ip) {
        (Some(buyer), _) => (BlockKind::Buyer, buyer),
        (None, ip) => (BlockKind::Ip, ip.unwrap_or_default()),
    };
    let expires_at = args.lasts.map(time_from_now);
    let body = NewBlock { kind, value, expires_at, reason: args.reason };
    let result = client.post_json(Path::admin(&["blocks"]), &body).await;
    client.print_result(result, |block: &Block| {
        format!("{} is blocked {} ({}).\n", block.value, expiry_text(block), block.id)
    })
}

async fn remove(client: &Client, block: &str) -> Outcome {
    client.delete(Path::admin(&["blocks", block])).await?;
    client.print_done(&format!("{block} is removed."))
}

fn list(list: &BlockList) -> String {
    let header = ["block", "kind", "value", "until", "reason"];
    let rows = list.blocks.iter().map(|block| {
        let cells = [
            block.id.as_str(),
            block.kind.as_str(),
            &block.value,
            &expiry_text(block),
            &block.reason,
        ];
        cells.map(Cell::new)
    });
    table::list("There are no blocks.\n", &header, rows, None)
}

fn expiry_text(block: &Block) -> String {
    block.expires_at.map_or_else(|| "until it is removed".into(), |at| format!("until {at}"))
}

fn time_from_now(lasts: Duration) -> Time {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_add(lasts);
    Time::from_millis(i64::try_from(at.as_millis()).unwrap_or(i64::MAX))
}
