//! `reconcile`: asks a running server whether the sold units match the payments and refunds.

use comfy_table::Cell;
use doorbuster_api::admin::export::{MoneySums, Reconciliation};
use doorbuster_api::value::Money;

use crate::cli::ReconcileArgs;
use crate::client::{self, Client, Path};
use crate::exit::{CommandResult, Outcome};
use crate::table;

/// Runs `reconcile`.
pub fn run(args: &ReconcileArgs) -> Outcome {
    let client = Client::new(&args.server)?;
    let path = Path::admin(&["exports", "reconciliation"])
        .with("sale", args.sale.as_deref())
        .with("cursor", args.cursor.as_deref());
    client::block_on(async {
        let result = client.get(path).await;
        let mut ok = true;
        // If the answer cannot be parsed, `print_result` reports the error.
        let result = result
            .inspect(|answer| ok = answer.read::<Reconciliation>().is_ok_and(|report| report.ok));
        client.print_result(result, report_text)?;
        Ok(CommandResult::new(ok))
    })
}

fn report_text(report: &Reconciliation) -> String {
    let mut out = String::new();
    if !report.items.is_empty() {
        let names = ["sale", "item", "total", "pool", "in slots", "held", "paid", "ended"];
        let mut rows = table::with_header(&names);
        for item in &report.items {
            rows.add_row([
                Cell::new(&item.sale),
                Cell::new(&item.item),
                table::number(item.total.map_or_else(|| "unlimited".into(), table::grouped)),
                table::number(table::grouped_or_dash(item.pool)),
                table::number(table::grouped_or_dash(item.in_slots)),
                table::number(table::grouped(item.held)),
                table::number(table::grouped(item.paid)),
                table::number(table::grouped(item.ended)),
            ]);
        }
        out += &format!("{rows}\n");
    }
    let names = ["sale", "item", "due", "captured", "standing", "refunded", "pending", "failed"];
    let mut rows = table::with_header(&names);
    let mut line = |sale: &str, item: &str, due: Option<i64>, sums: &MoneySums| {
        let mut cells = vec![Cell::new(sale), Cell::new(item)];
        // A sum of amounts can exceed the range of one amount.
        let amount = |minor: i128| match i64::try_from(minor) {
            Ok(amount_minor) => table::money(&Money { amount_minor, currency: sums.currency }),
            Err(_) => format!("{minor} minor units of {}", sums.currency),
        };
        cells.push(table::number(due.map_or_else(|| "–".into(), |minor| amount(minor.into()))));
        let all = [sums.captured, sums.standing, sums.refunded, sums.pending, sums.failed];
        cells.extend(all.map(|minor| table::number(amount(minor))));
        rows.add_row(cells);
    };
    for item in &report.items {
        for sums in &item.money {
            let due = (sums.currency == item.price.currency).then_some(item.due.amount_minor);
            line(&item.sale, &item.item, due, sums);
        }
    }
    report.elsewhere.iter().for_each(|sums| line("(no order)", "", None, sums));
    if !rows.is_empty() {
        out += &format!("{rows}\n");
    }
    for found in &report.differences {
        let places = [&found.sale, &found.item, &found.order, &found.payment];
        let at = places.into_iter().flatten().map(|place| format!(" {place}")).collect::<String>();
        out += &format!("{}{at}: {}\n", found.kind, found.detail);
    }
    out += &match report.differences.len() {
        0 if report.ok => "No differences: units and money match.\n".to_owned(),
        1 => "1 difference.\n".to_owned(),
        some => format!("{some} differences.\n"),
    };
    out + &report.next_cursor.as_deref().map(table::next_page_hint).unwrap_or_default()
}
