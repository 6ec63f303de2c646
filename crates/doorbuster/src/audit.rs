//! `audit`: runs the independent audit of a store, or makes the server run its own audit. Prints
//! the report.

use anyhow::Context;
use comfy_table::Cell;
use doorbuster_api::admin::audit::Audit;
use doorbuster_config::Shape;
use doorbuster_harness::audit::{self, AuditReport, StoreLocation};
use secrecy::ExposeSecret;

use crate::cli::AuditArgs;
use crate::client::{self, Client, Path};
use crate::exit::{CommandResult, Failure, Outcome};
use crate::{config, print, table};

/// Runs `audit`.
pub fn run(args: &AuditArgs) -> Outcome {
    if args.by_server {
        return ask_server(args);
    }
    let store = match &args.store {
        Some(url) => StoreLocation::parse(url)
            .map_err(|error| Failure::Settings(format!("--store: {error}")))?,
        None => configured_store(args)?,
    };
    let report = audit::run(&store, args.answers.as_deref()).context("cannot run the audit")?;
    print::report(args.server.json, &report, || report_text(&report, args.answers.is_some()))?;
    Ok(CommandResult::new(report.audit.ok))
}

fn ask_server(args: &AuditArgs) -> Outcome {
    let client = Client::new(&args.server)?;
    client::block_on(async {
        let mut ok = true;
        let answer = client.get(Path::admin(&["audit"])).await;
        // If the answer cannot be parsed, `print_result` reports the error.
        let answer =
            answer.inspect(|answer| ok = answer.read::<Audit>().is_ok_and(|audit| audit.ok));
        client.print_result(answer, |audit: &Audit| {
            audit_text(audit) + &format!("{}.\n", findings_text(audit))
        })?;
        Ok(CommandResult::new(ok))
    })
}

fn configured_store(args: &AuditArgs) -> Result<StoreLocation, Failure> {
    let settings = config::settings(&args.settings)?;
    let place = match &settings.shape {
        Shape::Embedded if !settings.data_dir.is_dir() => {
            return Err(Failure::Settings(format!(
                "data_dir: there is no directory {}; name the server's data directory with \
                 --data-dir or DOORBUSTER_DATA_DIR",
                settings.data_dir.display()
            )));
        }
        Shape::Embedded => settings.data_dir.display().to_string(),
        Shape::Postgres { store } | Shape::Cluster { store, .. } => {
            store.expose_secret().to_owned()
        }
        Shape::Edge { .. } => {
            let why =
                "roles: an edge has no store of its own; name the store with --store".to_owned();
            return Err(Failure::Settings(why));
        }
    };
    StoreLocation::parse(&place).map_err(|error| Failure::Settings(format!("store.url: {error}")))
}

fn audit_text(audit: &Audit) -> String {
    let mut out = String::new();
    if !audit.items.is_empty() {
        let mut rows =
            table::with_header(&["sale", "item", "total", "pool", "in slots", "held", "paid"]);
        for item in &audit.items {
            rows.add_row([
                Cell::new(&item.sale),
                Cell::new(&item.item),
                table::number(item.total.map_or_else(|| "unlimited".into(), table::grouped)),
                table::number(table::grouped_or_dash(item.pool)),
                table::number(table::grouped_or_dash(item.in_slots)),
                table::number(table::grouped(item.held)),
                table::number(table::grouped(item.paid)),
            ]);
        }
        out += &format!("{rows}\n");
    }
    for finding in &audit.findings {
        let place = [&finding.sale, &finding.item]
            .into_iter()
            .flatten()
            .cloned()
            .collect::<Vec<_>>()
            .join("/");
        let at = if place.is_empty() { String::new() } else { format!(" {place}") };
        out += &format!("{}{at}: {}\n", finding.rule, finding.detail);
    }
    for notice in &audit.notices {
        let order = notice.order.as_deref().map(|order| format!(" {order}")).unwrap_or_default();
        out += &format!("note, {}{order}: {}\n", notice.kind, notice.detail);
    }
    if audit.repairs > 0 {
        out += &format!(
            "Slots that were reset after a fault: {}. Their units are back in the pool.\n",
            table::grouped(audit.repairs)
        );
    }
    out
}

fn findings_text(audit: &Audit) -> String {
    match audit.findings.len() {
        0 => "no findings".to_owned(),
        findings => table::counted(findings as u64, "finding"),
    }
}

fn report_text(report: &AuditReport, with_answers: bool) -> String {
    let mut out = audit_text(&report.audit);
    if report.orders_erased > 0 {
        let erased = table::grouped(report.orders_erased);
        out +=
            &format!("Orders of erased buyers, checked by order id and not by buyer: {erased}.\n");
    }
    let answers = if with_answers {
        format!(" and {}", table::counted(report.answers_checked, "answer"))
    } else {
        String::new()
    };
    let found = findings_text(&report.audit);
    out + &format!(
        "{}{answers} checked: {found}.\n",
        table::counted(report.orders_checked, "order")
    )
}
