//! `order erase`: counts a buyer's rows, asks for confirmation, and erases the buyer's id in these
//! rows over the admin API.

use std::io::{IsTerminal, Write};

use anyhow::Context;
use doorbuster_api::admin::erasures::{Erasure, NewErasure, explanation};

use crate::cli::EraseArgs;
use crate::client::{ApiResult, Client, Path};
use crate::exit::{CommandResult, Failure, Outcome};
use crate::table;

/// Runs `order erase`.
pub async fn run(client: &Client, args: &EraseArgs) -> Outcome {
    if !args.dry_run && !args.yes {
        if !std::io::stdin().is_terminal() {
            return Err(Failure::Settings(
                "erasing cannot be undone: give --yes, or --dry-run to count the rows".into(),
            ));
        }
        let found: Erasure = request_erasure(client, args, true).await?.read()?;
        if !confirm(&report_text(&found)).context("cannot read the confirmation")? {
            return Err(Failure::Refused("nothing was erased".into()));
        }
    }
    let result = request_erasure(client, args, args.dry_run).await;
    let is_whole = match &result {
        Ok(answer) => answer.read::<Erasure>()?.is_whole(),
        Err(_) => false,
    };
    client.print_result(result, report_text)?;
    Ok(CommandResult::new(is_whole))
}

async fn request_erasure(client: &Client, args: &EraseArgs, dry_run: bool) -> ApiResult {
    let body = NewErasure { buyer: args.buyer.clone(), dry_run };
    client.post_json(Path::admin(&["erasures"]), &body).await
}

fn confirm(report: &str) -> std::io::Result<bool> {
    write!(std::io::stderr(), "{report}This cannot be undone. Erase? [y/N] ")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn report_text(erasure: &Erasure) -> String {
    let Erasure { erased_as, orders, other, .. } = erasure;
    let (all, rows) = (orders + other, counts_text(*orders, *other));
    let mut out = match (all, erasure.dry_run) {
        (0, _) => "No rows of this buyer can be erased now.\n".to_owned(),
        (_, true) => format!("{rows} would be erased and marked {erased_as}.\n"),
        (1, false) => format!("{rows} is erased and marked {erased_as}.\n"),
        (_, false) => format!("{rows} are erased and marked {erased_as}.\n"),
    };
    for held in &erasure.held_back {
        let is_one = held.orders + held.other == 1;
        let stay = if is_one { "stays" } else { "stay" };
        let (rows, why) = (counts_text(held.orders, held.other), explanation(held.reason, is_one));
        out += &format!("{}: {rows} {stay}: {why}.\n", held.sale);
    }
    if erasure.blocked {
        out += "A block names this buyer and stays in effect until it ends or you remove it: \
                doorbuster block list, doorbuster block remove BLOCK.\n";
    }
    out
}

fn counts_text(orders: u64, other: u64) -> String {
    let count = |number: u64, what: &str| {
        format!("{} {what}{}", table::grouped(number), if number == 1 { "" } else { "s" })
    };
    match (orders, other) {
        (_, 0) => count(orders, "order"),
        (0, _) => count(other, "row"),
        _ => format!("{} and {}", count(orders, "order"), count(other, "other row")),
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_api::admin::erasures::{HeldBack, RetainReason};

    use super::*;

    fn erasure(orders: u64, other: u64) -> Erasure {
        let erased_as = "erased:5f".to_owned();
        Erasure { erased_as, dry_run: false, orders, other, held_back: Vec::new(), blocked: false }
    }

    #[test]
    fn the_report_agrees_in_number_with_its_rows() {
        assert_eq!(report_text(&erasure(0, 0)), "No rows of this buyer can be erased now.\n");
        assert_eq!(report_text(&erasure(1, 0)), "1 order is erased and marked erased:5f.\n");
        assert_eq!(report_text(&erasure(0, 1)), "1 row is erased and marked erased:5f.\n");
        assert_eq!(
            report_text(&erasure(1, 1)),
            "1 order and 1 other row are erased and marked erased:5f.\n"
        );
        assert_eq!(
            report_text(&erasure(2_000, 3)),
            "2,000 orders and 3 other rows are erased and marked erased:5f.\n"
        );
        let dry = Erasure { dry_run: true, ..erasure(1, 0) };
        assert_eq!(report_text(&dry), "1 order would be erased and marked erased:5f.\n");
    }

    #[test]
    fn rows_that_stay_are_listed_with_their_reason() {
        let check = |reason, orders, other, expected: &str| {
            let held = HeldBack { sale: "spring".to_owned(), reason, orders, other };
            let found = Erasure { held_back: vec![held], ..erasure(0, 0) };
            let text = report_text(&found);
            assert_eq!(text.lines().last(), Some(expected), "{text}");
            assert!(!found.is_whole());
        };
        check(
            RetainReason::NotClosed,
            1,
            2,
            "spring: 1 order and 2 other rows stay: the sale is not closed.",
        );
        check(RetainReason::Unpaid, 1, 0, "spring: 1 order stays: it waits for its payment.");
        check(RetainReason::Unpaid, 4, 0, "spring: 4 orders stay: they wait for their payments.");
        check(
            RetainReason::OpenCheckout,
            1,
            0,
            "spring: 1 order stays: its checkout is not closed yet.",
        );
        check(
            RetainReason::OpenCheckout,
            2,
            0,
            "spring: 2 orders stay: their checkouts are not closed yet.",
        );
        check(RetainReason::RefundDue, 1, 0, "spring: 1 order stays: its refund has not arrived.");
        check(
            RetainReason::RefundDue,
            2,
            0,
            "spring: 2 orders stay: their refunds have not arrived.",
        );
    }

    #[test]
    fn a_block_is_reported_with_the_command_that_removes_it() {
        let blocked = Erasure { blocked: true, ..erasure(1, 0) };
        assert!(blocked.is_whole());
        let text = report_text(&blocked);
        assert!(
            text.contains("A block names this buyer")
                && text.contains("doorbuster block remove BLOCK.\n"),
            "{text}"
        );
    }
}
