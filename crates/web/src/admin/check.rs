//! `POST /v1/admin/sales/{sale}/check`: lists what could go wrong when the sale opens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use doorbuster_api::admin::console::{CheckProblem, CheckReport, Node, Severity};
use doorbuster_api::admin::front_door::LimitSetting;
use doorbuster_api::limits::ADMIN_BODY_BYTES_MAX;
use doorbuster_config::Cidr;
use doorbuster_core::{Phase, Stock};
use doorbuster_engine::api_conversion;
use doorbuster_engine::catalogue::SaleState;
use doorbuster_engine::control::audit;
use jiff::tz::TimeZone;

use super::nodes::node_of_row;
use super::{check_slots_readable, sale};
use crate::App;
use crate::path_names::PathNames;
use crate::reply::{HandlerError, HandlerResult, ok_unchanged};
use crate::request_body;

/// Public addresses that are surely not proxies of the shop. If `trusted_proxies` includes one of
/// them, this setting probably includes clients too.
const PUBLIC_ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888)),
];
/// A node reports about twice a second. If a node's last report is older than this time, in
/// milliseconds, the node may have stopped.
const LAG_MAX_MS: u64 = 1_500;

pub(crate) async fn check(
    State(app): State<Arc<App>>,
    PathNames([name]): PathNames<1>,
    request: Request,
) -> HandlerResult {
    request_body::no_body(request, ADMIN_BODY_BYTES_MAX).await?;
    let sale = sale(&app, &name)?;
    let mut problems = sale_problems(&app, &sale);
    if sale.front_door.access_codes.is_required() {
        let counts = app.node.store().code_counts(&name).await?;
        if counts.spent >= counts.uses {
            let detail =
                "buyers need an access code, and the sale has no unused code; create codes";
            problems.push(error("no_access_codes", detail));
        }
    }
    problems.extend(installation_problems(&app).await?);
    problems.extend(node_problems(&app).await?);
    problems.sort_by_key(|problem| problem.severity != Severity::Error);
    let ready = problems.iter().all(|problem| problem.severity != Severity::Error);
    ok_unchanged(&CheckReport { ready, problems })
}

fn error(code: &str, detail: impl Into<String>) -> CheckProblem {
    CheckProblem { severity: Severity::Error, code: code.to_owned(), detail: detail.into() }
}

fn warning(code: &str, detail: impl Into<String>) -> CheckProblem {
    CheckProblem { severity: Severity::Warning, ..error(code, detail) }
}

fn sale_problems(app: &App, sale: &SaleState) -> Vec<CheckProblem> {
    let (row, now) = (&sale.row, app.node.now());
    let mut problems = Vec::new();
    if row.phase == Phase::Closed {
        problems.push(error("closed", "the sale is closed and cannot open again"));
    }
    if row.phase == Phase::Draft {
        problems.push(warning("draft", "buyers do not see a draft; schedule or open the sale"));
    }
    if row.phase == Phase::Draft && row.starts_at.is_none_or(|at| at <= now) {
        problems.push(warning(
            "no_start",
            "starts_at is not in the future; the sale opens only when an operator opens it",
        ));
    }
    if row.ends_at.is_some_and(|at| at <= now) {
        problems.push(error("ended", "ends_at is in the past; the sale would close at once"));
    }
    let own = sale.items.iter().map(|item| item.slots.len()).sum();
    let mut planned = row.clone();
    if row.phase == Phase::Draft && row.starts_at.is_some_and(|at| at > now) {
        planned.phase = Phase::Scheduled;
    }
    if row.phase != Phase::Closed
        && let Err(problem) = check_slots_readable(app, row.phase, &planned, own)
    {
        problems.push(error("too_many_slots", problem.detail()));
    }
    for (index, item) in sale.items.iter().enumerate() {
        let name = &item.row.name;
        if item.gauge.counts().total == Stock::Counted(0) {
            problems.push(error("no_stock", format!("item {name} has no units; adjust its stock")));
        }
        let (price, currency) = (item.row.price_minor, &item.row.currency);
        if let Some(fault) = super::sales::unpayable(app, index, price, currency) {
            problems.push(error("price_refused", format!("item {name}: {}", fault.detail)));
        }
        if item.row.image.is_none() {
            problems.push(warning("no_image", format!("item {name} has no picture")));
        }
    }
    let limits = api_conversion::admin_sale(row, Some(sale)).front_door.limits;
    for (limit, sender, member) in [(limits.buyer, "buyer", "buyer"), (limits.ip, "address", "ip")]
    {
        if limit == LimitSetting::None {
            let detail = format!("the front door does not limit the requests of each {sender}");
            let repair = format!("set front_door.limits.{member}");
            problems.push(warning("no_limits", format!("{detail}; {repair}")));
        }
    }
    problems
}

async fn installation_problems(app: &App) -> Result<Vec<CheckProblem>, HandlerError> {
    let mut problems = Vec::new();
    for reason in app.node.unready_reasons().await {
        problems.push(error("not_ready", format!("this node is not ready: {reason}")));
    }
    if app.payments.sandbox().is_some() {
        problems.push(warning(
            "sandbox_payments",
            "payments go to the sandbox, which moves no money; set payment.provider",
        ));
    }
    if !app.is_https {
        problems.push(warning(
            "no_tls_address",
            "page.url does not begin with https://, so others on the network could read buyers' \
             tokens; use HTTPS",
        ));
    }
    let endpoints = app.node.store().endpoints().await?;
    if !endpoints.iter().any(|endpoint| endpoint.enabled) {
        problems.push(warning(
            "no_webhooks",
            "no webhook endpoint is enabled, so the shop gets no events about orders",
        ));
    }
    if !app.buyers.has_accepted_token() {
        problems.push(warning(
            "token_unused",
            "this node has not accepted a buyer's token since it started; to check the shop's \
             tokens, sign in at the shop and buy in a test sale",
        ));
    }
    if let Some(replication) = app.node.database().replication() {
        if replication.lacks_standbys() {
            problems.push(error(
                "synchronous_standby_missing",
                "commits wait for a standby that is not connected; no order can be written",
            ));
        } else if replication.required == 0 {
            problems.push(warning(
                "no_standby",
                "commits wait for no standby; if the database server is lost, orders can be lost",
            ));
        }
    }
    if app.node.layout().is_single_node() && app.node.store().commit_copy().is_none() {
        problems.push(warning(
            "no_backup",
            "the store has no continuous backup; if the disk is lost, every order is lost; set \
             backup.to",
        ));
    }
    problems.extend(time_zone_problem(app));
    if trusts_public_addresses(&app.live().proxies) {
        problems.push(warning(
            "all_proxies_trusted",
            "trusted_proxies includes public addresses; clients can forge their addresses",
        ));
    }
    let audit = audit(&app.node).await?;
    if !audit.findings.is_empty() || !audit.lost.is_empty() {
        let detail = "the audit has findings; read GET /v1/admin/audit before you open the sale";
        problems.push(error("audit_findings", detail));
    }
    Ok(problems)
}

fn time_zone_problem(app: &App) -> Option<CheckProblem> {
    let live = app.live();
    let zone = live.time_zone.as_ref().filter(|zone| TimeZone::get(zone).is_err())?;
    let fault = format!("this node knows no time zone {zone:?}");
    Some(warning("unknown_time_zone", fault + "; correct page.time_zone, or install tzdata"))
}

fn trusts_public_addresses(proxies: &[Cidr]) -> bool {
    let trusts = |address| proxies.iter().any(|network| network.contains(address));
    PUBLIC_ADDRESSES.into_iter().any(trusts)
}

/// Finds nodes that may have stopped, and nodes that run a different version from this node.
async fn node_problems(app: &App) -> Result<Vec<CheckProblem>, HandlerError> {
    if app.node.layout().is_single_node() {
        return Ok(Vec::new());
    }
    let now = app.node.now();
    let rows = app.node.store().nodes().await?;
    let mut problems = Vec::new();
    for node in rows.iter().map(|row| node_of_row(row, now)) {
        let Node { node, lag_ms, version, .. } = node;
        if lag_ms > LAG_MAX_MS {
            let detail = format!("node {node} last reported {lag_ms} ms ago; it may have stopped");
            problems.push(warning("node_lags", detail));
        }
        if version.is_some_and(|version| version != env!("CARGO_PKG_VERSION")) {
            let detail = format!("node {node} runs a different version from this node");
            problems.push(warning("other_version", detail));
        }
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_with_public_addresses_are_found() {
        let trusts =
            |network: &str| trusts_public_addresses(&[Cidr::parse(network).expect("a network")]);
        assert_eq!(["0.0.0.0/0", "8.0.0.0/6", "::/0", "2000::/3"].map(trusts), [true; 4]);
        assert_eq!(["10.0.0.0/8", "127.0.0.1", "fd00::/8"].map(trusts), [false; 3]);
    }
}
