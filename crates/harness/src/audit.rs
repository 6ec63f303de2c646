//! The independent auditor reads the store by SQL, in one snapshot. It checks the rows with its own
//! implementation of the rules.
//!
//! The rules come from the documents: the invariants I1 to I8 of `docs/protocol.md`, and the valid
//! values and state changes of an order. An answers file has the responses that buyers received.
//! With such a file, the auditor also checks that the store keeps what these responses promised.
//!
//! Only [`sqlite`] and [`postgres`] depend on the backend.

mod answers;
mod feed;
mod findings;
mod grants;
mod history;
mod limits;
mod money;
mod order_id;
mod orders;
mod postgres;
mod primary;
mod quotas;
mod snapshot;
mod sqlite;
mod stock;
#[cfg(test)]
mod tests;
mod tickets;
mod waitlist;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use doorbuster_api::admin::audit::{Audit, AuditItem};
use doorbuster_api::report::AnswerLine;
use doorbuster_api::value::Time;
use serde::{Deserialize, Serialize};

use findings::Findings;
use snapshot::Snapshot;

/// The database that an audit reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreLocation {
    /// A database file of the embedded shape.
    Sqlite(PathBuf),
    /// The address of a PostgreSQL database.
    Postgres(String),
}

impl StoreLocation {
    /// Parses the value of the option `--store`: `postgres://…`, `sqlite:PATH`, or the path of a
    /// database file or of its directory. An error never shows an address, because an address may
    /// contain a password.
    pub fn parse(text: &str) -> Result<Self, AuditError> {
        if ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Ok(Self::Postgres(text.into()));
        }
        let is_scheme = |text: &&str| {
            text.chars().all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter))
        };
        let scheme = text.split_once("://").map(|(scheme, _)| scheme).filter(is_scheme);
        if let Some(scheme) = scheme.filter(|scheme| *scheme != "sqlite") {
            let reason = format!(
                "the scheme {scheme} is not supported; give postgres://…, sqlite:PATH or a path"
            );
            return Err(AuditError::Store { store: format!("{scheme}://…"), reason });
        }
        let path = text.strip_prefix("sqlite:").unwrap_or(text);
        let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
        if may_have_password(text) && !path.exists() {
            let reason =
                "the text is not an existing file, and an address must begin with postgres://";
            return Err(AuditError::Store {
                store: "(text not shown, because it may contain a password)".into(),
                reason: reason.into(),
            });
        }
        if path.is_dir() {
            sqlite::find_store_file(&path).map(Self::Sqlite)
        } else {
            Ok(Self::Sqlite(path))
        }
    }
}

/// Returns whether the text may contain a password. This is possible in an address, and in a list
/// such as `host=… password=…`.
fn may_have_password(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["postgres:", "postgresql:"].iter().any(|scheme| text.starts_with(scheme))
        || ["@", "=", "password"].iter().any(|part| text.contains(part))
}

/// The reason why the audit could not run.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The store could not be opened or read.
    #[error("cannot read the store {store}: {reason}")]
    Store {
        /// The path or the address of the store.
        store: String,
        /// The reason of the failure.
        reason: String,
    },
    /// The answers file could not be read or parsed.
    #[error("cannot read the answers {path}: {reason}")]
    Answers {
        /// The path of the answers file.
        path: String,
        /// What is wrong with the file, in most cases with the line number.
        reason: String,
    },
}

/// The result of an audit: the report that `doorbuster-api` defines, and the numbers of checked
/// orders and answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditReport {
    /// The report that `doorbuster-api` defines.
    #[serde(flatten)]
    pub audit: Audit,
    /// The number of orders in the store.
    pub orders_checked: u64,
    /// The number of orders whose buyers were erased. The store no longer has such an order's buyer
    /// and request key, so the audit compares answers with the order only by its id.
    #[serde(default)]
    pub orders_erased: u64,
    /// The number of lines of the answers file.
    pub answers_checked: u64,
}

/// Audits `store`. With `answers`, also checks every promise in the answers file. The audit only
/// reads, so the server can run at the same time.
pub fn run(store: &StoreLocation, answers: Option<&Path>) -> Result<AuditReport, AuditError> {
    let snapshot = read_snapshot(store)?;
    let mut findings = Findings::new(&snapshot);
    check(&snapshot, &mut findings);
    let answers_checked = match answers {
        Some(path) => answers::check(&snapshot, path, &mut findings)?,
        None => 0,
    };
    Ok(report(&snapshot, findings, answers_checked))
}

/// Finds the lines of an answers file that name an order or a verdict that the store lacks, for
/// example after a restore. Returns these lines, and writes all other lines to the file `kept`.
pub fn split_answers(
    store: &StoreLocation,
    answers: &Path,
    kept: &Path,
) -> Result<Vec<AnswerLine>, AuditError> {
    let snapshot = read_snapshot(store)?;
    answers::split(&snapshot, answers, kept)
}

fn read_snapshot(store: &StoreLocation) -> Result<Snapshot, AuditError> {
    match store {
        StoreLocation::Sqlite(path) => sqlite::read(path),
        StoreLocation::Postgres(url) => postgres::read(url),
    }
}

fn check(snapshot: &Snapshot, findings: &mut Findings<'_>) {
    for damage in &snapshot.damage {
        findings.add_store_finding("store", damage.clone());
    }
    for host in &snapshot.unknown_hosts {
        let detail = format!("{host} could not be inspected; it may be a newer primary");
        findings.add_notice("unknown_host", None, detail);
    }
    stock::check(snapshot, findings);
    grants::check(snapshot, findings);
    feed::check(snapshot, findings);
    tickets::check(snapshot, findings);
    orders::check(snapshot, findings);
    quotas::check(snapshot, findings);
    history::check(snapshot, findings);
    money::check(snapshot, findings);
    waitlist::check(snapshot, findings);
}

fn report(snapshot: &Snapshot, findings: Findings<'_>, answers_checked: u64) -> AuditReport {
    let (findings, notices) = findings.into_parts();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let audit = Audit {
        ok: findings.is_empty(),
        checked_at: Time::from_millis(i64::try_from(now.as_millis()).unwrap_or(i64::MAX)),
        repairs: snapshot.grants.values().filter(|grant| grant.is_repair()).count() as u64,
        findings,
        notices,
        items: snapshot.items.values().map(|item| audit_item(snapshot, item)).collect(),
    };
    let orders_erased = snapshot.orders.iter().filter(|order| order.is_erased()).count() as u64;
    AuditReport {
        audit,
        orders_checked: snapshot.orders.len() as u64,
        orders_erased,
        answers_checked,
    }
}

fn audit_item(snapshot: &Snapshot, item: &snapshot::Item) -> AuditItem {
    // The report shows a negative sum as 0. Another check has already added a finding about such a
    // sum.
    let shown = |units: i128| u64::try_from(units).unwrap_or(0);
    let sums = snapshot.item_totals(item.id);
    let counted = item.total.is_some();
    AuditItem {
        sale: item.sale.clone(),
        item: item.name.clone(),
        total: item.total.map(|total| shown(total.into())),
        pool: counted.then(|| shown(item.pool.into())),
        in_slots: counted.then(|| shown(sums.in_slots)),
        held: shown(sums.held),
        paid: shown(sums.paid),
    }
}
