//! `order erase`: counts what there is of a buyer, asks, and has it erased over the admin API.

use std::io::{IsTerminal, Write};

use anyhow::Context;
use doorbuster_api::admin::erasures::{Erasure, NewErasure};

use crate::cli::EraseArgs;
use crate::client::{Asked, Client, Path};
use crate::exit::{Failure, Outcome, Verdict};
use crate::table;

/// Runs `order erase`.
pub async fn run(client: &Client, args: &EraseArgs) -> Outcome {
    if !args.dry_run && !args.yes {
        if !std::io::stdin().is_terminal() {
            return Err(Failure::Settings(
                "erasing cannot be undone: give --yes, or --dry-run to see what it would do".into(),
            ));
        }
        let found: Erasure = ask(client, args, true).await?.read()?;
        eprint!("{}This cannot be undone. Erase? [y/N] ", told(&found));
        if !agreed().context("cannot hear an answer")? {
            return Err(Failure::Refused("nothing was erased".into()));
        }
    }
    let asked = ask(client, args, args.dry_run).await;
    let is_whole = match &asked {
        Ok(answer) => answer.read::<Erasure>()?.is_whole(),
        Err(_) => false,
    };
    client.tell(asked, told)?;
    Ok(Verdict::of(is_whole))
}

async fn ask(client: &Client, args: &EraseArgs, dry_run: bool) -> Asked {
    let body = NewErasure { buyer: args.buyer.clone(), dry_run };
    client.post_json(Path::of(&["v1", "admin", "erasures"]), &body).await
}

fn agreed() -> std::io::Result<bool> {
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn told(erasure: &Erasure) -> String {
    let counted = |orders: u64, other: u64| {
        let orders = if orders == 1 { "1 order".to_owned() } else { format!("{} orders", table::grouped(orders)) };
        if other == 0 { orders } else { format!("{orders} and {} other rows", table::grouped(other)) }
    };
    let done = counted(erasure.orders, erasure.other);
    let mut out = match (erasure.orders + erasure.other, erasure.dry_run) {
        (0, _) => "There is nothing of this buyer that can be erased now.\n".to_owned(),
        (_, true) => format!("{done} would be {} from then on.\n", erasure.erased_as),
        (_, false) => format!("{done} are {} now.\n", erasure.erased_as),
    };
    for held in &erasure.held_back {
        out += &format!("{}: {} stay: {}.\n", held.sale, counted(held.orders, held.other), held.reason.words());
    }
    if erasure.blocked {
        out += "A block names this buyer, and stays until it is over or removed: doorbuster block list.\n";
    }
    out
}
