//! `sale stats`, `series`, `spread`, `check`, `delete`, `set` and `admit`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use comfy_table::Cell;
use doorbuster_api::admin::console::{Admissions, CheckReport, NewAdmissions, Series, Severity};
use doorbuster_api::admin::sale::{AdminItem, AdminSale};
use doorbuster_api::admin::spread::{Partitions, Spread};
use doorbuster_api::admin::stats::Stats;
use serde_json::{Map, Value, json};

use crate::cli::{AdmitArgs, SeriesArgs, SetArgs, SpreadArgs, values};
use crate::client::{Client, Path, may_have_been_done};
use crate::exit::{CommandResult, Failure, Outcome};
use crate::{print, table};

/// The server keeps the numbers of each second of a sale for this long. For older times, the
/// command advises steps of a minute.
const SECONDS_KEPT: Duration = Duration::from_secs(86_400);

pub(super) async fn stats(client: &Client, sale: &str) -> Outcome {
    let result = client.get(Path::admin(&["sales", sale, "stats"])).await;
    client.print_result(result, |stats: &Stats| {
        let mut rows = table::report();
        let rate = |rate: f64| format!("{rate} a second");
        rows.add_row(["requests".to_owned(), rate(stats.per_second.requests)]);
        rows.add_row(["answers 201".to_owned(), rate(stats.per_second.reserved)]);
        rows.add_row(["refusals".to_owned(), rate(stats.per_second.refused)]);
        let latency = &stats.latency_ms;
        rows.add_row(["p50 / p99".to_owned(), format!("{} / {} ms", latency.p50, latency.p99)]);
        rows.add_row(["queue".to_owned(), table::grouped(stats.queue_depth)]);
        for (code, count) in &stats.refusals {
            rows.add_row([code.clone(), table::grouped(*count)]);
        }
        format!("{rows}\n")
    })
}

pub(super) async fn series(client: &Client, args: &SeriesArgs) -> Outcome {
    let path = ["sales", &args.sale, "series"];
    let path = Path::admin(&path)
        .with("step", Some(args.step))
        .with("from", args.from)
        .with("to", args.to);
    client.print_result(client.get(path).await, |series: &Series| {
        if series.points.is_empty() {
            return without_points(series).into();
        }
        let mut rows =
            table::with_header(&["at", "requests", "orders", "refusals", "p99 ms", "queue"]);
        for point in &series.points {
            rows.add_row([
                Cell::new(point.at),
                table::number(table::grouped(point.requests)),
                table::number(table::grouped(point.reserved)),
                table::number(table::grouped(point.refused.values().sum())),
                table::number(point.p99_ms),
                table::number(table::grouped(point.queue_depth)),
            ]);
        }
        format!("{rows}\n")
    })
}

fn without_points(series: &Series) -> &'static str {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let from = u128::try_from(series.from.millis()).unwrap_or_default();
    if series.step_secs < 60 && from < now.saturating_sub(SECONDS_KEPT).as_millis() {
        return "Steps below 60 s are kept for only one day; use --step 60 for older times.\n";
    }
    "There were no requests and no changes in this time.\n"
}

pub(super) async fn admit(client: &Client, args: &AdmitArgs) -> Outcome {
    let path = ["sales", &args.sale, "waiting-room", "admissions"];
    let AdmitArgs { visitors, reason, item, .. } = args.clone();
    let body = NewAdmissions { visitors, reason, item };
    let result = client.post_json(Path::admin(&path), &body).await;
    if may_have_been_done(&result) {
        print::note(&format!(
            "The visitors may have been admitted. Before you repeat the command, look at: \
             doorbuster actions --subject sale:{}",
            args.sale
        ));
    }
    client.print_result(result, |done: &Admissions| {
        let admitted = table::counted(done.admitted, "visitor");
        format!("Admitted {admitted}; still waiting: {}.\n", table::grouped(done.waiting))
    })
}

/// Shows or changes the spread of an item. If an option is omitted, its setting stays unchanged.
pub(super) async fn spread(client: &Client, args: &SpreadArgs) -> Outcome {
    let SpreadArgs { sale, item, .. } = args;
    let path = ["sales", sale, "items", item, "spread"];
    let mut result = client.get(Path::admin(&path)).await;
    if let (true, Ok(answer)) = (changes_spread(args), &result) {
        let now: Spread = answer.read()?;
        let wanted = Spread {
            partitions: args.partitions.unwrap_or(now.partitions),
            choose: args.choose.unwrap_or(now.choose),
            initial: args.initial.unwrap_or(now.initial),
            threshold: args.threshold.unwrap_or(now.threshold),
            refill: args.refill.unwrap_or(now.refill),
        };
        result = client.put_json(Path::admin(&path), &wanted).await;
    }
    client.print_result(result, |spread: &Spread| {
        let Spread { initial, threshold, refill, .. } = spread;
        let choose = serde_json::to_value(spread.choose).unwrap_or_default();
        let partitions = match spread.partitions {
            Partitions::Auto => "automatic".to_owned(),
            Partitions::Count(count) => count.to_string(),
        };
        let units = match refill {
            0 => "without sub-domains".to_owned(),
            _ => format!(
                "each new slot gets {initial} units, and {refill} more when a sub-domain has fewer \
                 than {threshold}"
            ),
        };
        let choose = choose.as_str().unwrap_or_default();
        format!(
            "{item} of {sale}: {partitions} partitions; choice of the slot: {choose}; {units}.\n"
        )
    })
}

fn changes_spread(args: &SpreadArgs) -> bool {
    let SpreadArgs { partitions, choose, initial, threshold, refill, .. } = args;
    partitions.is_some()
        || choose.is_some()
        || [initial, threshold, refill].iter().any(|n| n.is_some())
}

/// Prints whether the sale is ready for its opening. Returns `Findings` if it is not ready.
pub(super) async fn check(client: &Client, sale: &str) -> Outcome {
    let answer = client.post(Path::admin(&["sales", sale, "check"])).await?;
    let report: CheckReport = answer.read()?;
    if client.wants_json() {
        print::json(&report)?;
        return Ok(CommandResult::new(report.ready));
    }
    let mut text = String::new();
    for problem in &report.problems {
        let severity = match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        text += &format!("{severity}: {} ({})\n", problem.detail, problem.code);
    }
    let verdict = if report.ready { "ready" } else { "not ready" };
    print::text(&format!("{text}{sale} is {verdict}.\n"))?;
    Ok(CommandResult::new(report.ready))
}

pub(super) async fn delete(client: &Client, sale: &str) -> Outcome {
    client.delete(Path::admin(&["sales", sale])).await?;
    client.print_done(&format!("{sale} is deleted."))
}

pub(super) async fn set(client: &Client, args: &SetArgs) -> Outcome {
    let patch = Value::Object(patch(args).map_err(Failure::Settings)?);
    let result = client.patch_json(Path::admin(&["sales", &args.sale]), &patch).await;
    client.print_result(result, changed)
}

pub(super) fn changed(sale: &AdminSale) -> String {
    let prices = sale.items.iter().map(|item| format!("{} {}", item.id, price(item)));
    let prices = prices.collect::<Vec<_>>().join(", ");
    format!("{} is changed. Prices: {prices}.\n", sale.id)
}

pub(super) fn price(item: &AdminItem) -> String {
    match &item.list_price {
        Some(list) => format!("{} (list price {list})", item.price),
        None => item.price.to_string(),
    }
}

/// Returns the patch of a sale. All `--item` flags of one item become one entry of the patch.
fn patch(args: &SetArgs) -> Result<Map<String, Value>, String> {
    let mut patch = Map::new();
    let texts = [
        ("title", args.title.clone()),
        ("starts_at", args.starts_at.map(|time| time.to_string())),
        ("ends_at", args.ends_at.map(|time| time.to_string())),
    ];
    for (member, text) in texts {
        patch.extend(text.map(|text| (member.to_owned(), text.into())));
    }
    let mut items: Vec<Map<String, Value>> = Vec::new();
    let minor_of = args.currency.filter(|_| args.minor);
    for text in &args.item {
        let field = values::item_field(text, minor_of)?;
        let at = items.iter().position(|item| item["id"] == field.item).unwrap_or_else(|| {
            items.push(Map::from_iter([("id".to_owned(), json!(field.item))]));
            items.len() - 1
        });
        items[at].insert(field.member.to_owned(), field.value);
    }
    if !items.is_empty() {
        patch.insert("items".to_owned(), json!(items));
    }
    Ok(patch)
}
