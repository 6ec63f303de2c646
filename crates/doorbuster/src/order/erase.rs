//! `order erase`: counts what there is of a buyer, asks, and has it erased over the admin API.

use std::io::{IsTerminal, Write};

use anyhow::Context;
use doorbuster_api::admin::erasures::{Erasure, NewErasure};

use crate::cli::EraseArgs;
use crate::client::{ApiResult, Client, Path};
use crate::exit::{CommandResult, Failure, Outcome};
use crate::table;

/// Runs `order erase`.
pub async fn run(client: &Client, args: &EraseArgs) -> Outcome {
    if !args.dry_run && !args.yes {
        if !std::io::stdin().is_terminal() {
            return Err(Failure::Settings(
                "erasing cannot be undone: give --yes, or --dry-run to see what it would do".into(),
            ));
        }
        let found: Erasure = request_erasure(client, args, true).await?.read()?;
        eprint!("{}This cannot be undone. Erase? [y/N] ", report_text(&found));
        if !confirm().context("cannot hear an answer")? {
            return Err(Failure::Refused("nothing was erased".into()));
        }
    }
    let asked = request_erasure(client, args, args.dry_run).await;
    let is_whole = match &asked {
        Ok(answer) => answer.read::<Erasure>()?.is_whole(),
        Err(_) => false,
    };
    client.print_result(asked, report_text)?;
    Ok(CommandResult::new(is_whole))
}

async fn request_erasure(client: &Client, args: &EraseArgs, dry_run: bool) -> ApiResult {
    let body = NewErasure { buyer: args.buyer.clone(), dry_run };
    client.post_json(Path::new(&["v1", "admin", "erasures"]), &body).await
}

fn confirm() -> std::io::Result<bool> {
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn report_text(erasure: &Erasure) -> String {
    let Erasure { erased_as, orders, other, .. } = erasure;
    let (all, done) = (orders + other, counts_text(*orders, *other));
    let mut out = match (all, erasure.dry_run) {
        (0, _) => "There is nothing of this buyer that can be erased now.\n".to_owned(),
        (_, true) => format!("{done} would be {erased_as} from then on.\n"),
        (1, false) => format!("{done} is {erased_as} now.\n"),
        (_, false) => format!("{done} are {erased_as} now.\n"),
    };
    for held in &erasure.held_back {
        let is_one = held.orders + held.other == 1;
        let stay = if is_one { "stays" } else { "stay" };
        let (rows, why) = (counts_text(held.orders, held.other), held.reason.explanation(is_one));
        out += &format!("{}: {rows} {stay}: {why}.\n", held.sale);
    }
    if erasure.blocked {
        out += "A block names this buyer, and goes on turning them away. It stays until it is over or you remove it: \
                doorbuster block list, doorbuster block remove BLOCK.\n";
    }
    out
}

/// So many orders, and rows that are none.
fn counts_text(orders: u64, other: u64) -> String {
    let some = |number: u64, what: &str| {
        format!("{} {what}{}", table::grouped(number), if number == 1 { "" } else { "s" })
    };
    match (orders, other) {
        (_, 0) => some(orders, "order"),
        (0, _) => some(other, "row"),
        _ => format!("{} and {}", some(orders, "order"), some(other, "other row")),
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_api::admin::erasures::{HeldBack, HeldBackReason};

    use super::*;

    fn erasure(orders: u64, other: u64) -> Erasure {
        let erased_as = "erased:5f".to_owned();
        Erasure { erased_as, dry_run: false, orders, other, held_back: Vec::new(), blocked: false }
    }

    #[test]
    fn one_is_and_several_are() {
        assert_eq!(
            report_text(&erasure(0, 0)),
            "There is nothing of this buyer that can be erased now.\n"
        );
        assert_eq!(report_text(&erasure(1, 0)), "1 order is erased:5f now.\n");
        assert_eq!(report_text(&erasure(0, 1)), "1 row is erased:5f now.\n");
        assert_eq!(report_text(&erasure(1, 1)), "1 order and 1 other row are erased:5f now.\n");
        assert_eq!(
            report_text(&erasure(2_000, 3)),
            "2,000 orders and 3 other rows are erased:5f now.\n"
        );
        let dry = Erasure { dry_run: true, ..erasure(1, 0) };
        assert_eq!(report_text(&dry), "1 order would be erased:5f from then on.\n");
    }

    #[test]
    fn what_stays_is_named_with_its_reason_in_the_right_number() {
        let check = |reason, orders, other, expected: &str| {
            let held = HeldBack { sale: "spring".to_owned(), reason, orders, other };
            let found = Erasure { held_back: vec![held], ..erasure(0, 0) };
            let told = report_text(&found);
            assert_eq!(told.lines().last(), Some(expected), "{told}");
            assert!(!found.is_whole());
        };
        check(
            HeldBackReason::NotClosed,
            1,
            2,
            "spring: 1 order and 2 other rows stay: the sale is not closed.",
        );
        check(HeldBackReason::Unpaid, 1, 0, "spring: 1 order stays: it waits for its payment.");
        check(HeldBackReason::Unpaid, 4, 0, "spring: 4 orders stay: they wait for their payments.");
        check(
            HeldBackReason::OpenCheckout,
            1,
            0,
            "spring: 1 order stays: its checkout is not closed yet.",
        );
        check(
            HeldBackReason::OpenCheckout,
            2,
            0,
            "spring: 2 orders stay: their checkouts are not closed yet.",
        );
        check(
            HeldBackReason::RefundDue,
            1,
            0,
            "spring: 1 order stays: its refund has not arrived.",
        );
        check(
            HeldBackReason::RefundDue,
            2,
            0,
            "spring: 2 orders stay: their refunds have not arrived.",
        );
    }

    #[test]
    fn a_block_is_told_of_with_what_to_do_about_it_and_holds_nothing_back() {
        let blocked = Erasure { blocked: true, ..erasure(1, 0) };
        assert!(blocked.is_whole());
        let told = report_text(&blocked);
        assert!(
            told.contains("A block names this buyer")
                && told.contains("doorbuster block remove BLOCK.\n"),
            "{told}"
        );
    }
}
