//! `sale edit` changes a sale. `sale codes` creates or counts the access codes of a sale.

use anyhow::Context;
use doorbuster_api::admin::access_codes::{CodeCounts, CreatedCodes, NewCodes};
use doorbuster_api::admin::sale::AdminSale;
use serde_json::Value;
use serde_json::value::to_raw_value;

use super::{commands, show};
use crate::cli::{CodesArgs, EditArgs};
use crate::client::{Client, Path};
use crate::exit::{Failure, Outcome};
use crate::table;

/// Runs `sale edit`.
pub async fn edit(client: &Client, args: &EditArgs) -> Outcome {
    if args.has_conflicting_limits() {
        return Err(Failure::Settings(
            "--limit default resets all limits and cannot be combined with another --limit".into(),
        ));
    }
    let body = match &args.file {
        Some(file) => super::read(file)?,
        None => to_raw_value(&args.patch()).context("cannot write JSON")?,
    };
    // The program sends the unchanged text. It uses `patch` only for the checks and the output,
    // because a `Value` drops all but the last of several members with the same name.
    let patch: Value = serde_json::from_str(body.get()).unwrap_or_default();
    if patch.as_object().is_some_and(serde_json::Map::is_empty) {
        return Err(Failure::Settings(
            "there is nothing to change; see doorbuster sale edit --help".into(),
        ));
    }
    let result = client.patch_json(Path::admin(&["sales", &args.sale]), &body).await;
    client.print_result(result, |sale: &AdminSale| {
        let changed = match patch.get("items") {
            Some(_) => commands::changed(sale),
            None => format!("{} is changed.\n", sale.id),
        };
        changed + &show::door(&sale.front_door)
    })
}

/// Prints how many access codes a sale has, and how many buyers have used one.
pub async fn print_code_counts(client: &Client, sale: &str) -> Outcome {
    let path = ["sales", sale, "access-codes"];
    client.print_result(client.get(Path::admin(&path)).await, |counts: &CodeCounts| {
        let codes = table::counted(counts.codes, "access code");
        let [uses, spent] =
            [counts.uses, counts.spent].map(|buyers| table::counted(buyers, "buyer"));
        format!("{sale} has {codes} for {uses}; used so far by {spent}.\n")
    })
}

/// Runs `sale codes`.
pub async fn codes(client: &Client, args: &CodesArgs) -> Outcome {
    let parts = ["sales", &args.sale, "access-codes"];
    let Some(count) = args.count else {
        return print_code_counts(client, &args.sale).await;
    };
    let result = client.post_json(Path::admin(&parts), &NewCodes { count, uses: args.uses }).await;
    client.print_result(result, |created: &CreatedCodes| {
        created.codes.iter().map(|code| format!("{code}\n")).collect()
    })
}
