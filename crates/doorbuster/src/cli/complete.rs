//! Completes the ids of sales and items on a command line, from the running server.
//!
//! A person waits while the shell runs this code. So if the server does not answer within a second,
//! the shell gets no completions.

use std::ffi::OsStr;
use std::time::Duration;

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use doorbuster_api::admin::sale::{AdminSale, AdminSaleList};

use super::server::AddressArg;
use crate::client::{self, Client, Path};
use crate::exit::Failure;

/// Longest wait for the server.
const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// The maximum number of sales that are offered as completions, newest first. With long
/// descriptions, more sales may not arrive in time.
const SALES_MAX: &str = "50";

/// Completes the id of a sale. The shell shows the sale's title beside the id.
pub fn sales() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let ids = known_sales().into_iter().map(|sale| (sale.id, sale.title.fallback().to_owned()));
        candidates(typed, ids)
    })
}

/// Completes the id of an item. If the command line names a sale, offers only the items of this
/// sale.
pub fn items() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let (sales, words) = (known_sales(), words());
        let is_named = |sale: &&AdminSale| words.contains(&sale.id);
        let is_one_named = sales.iter().any(|sale| is_named(&sale));
        let shown = sales.iter().filter(|sale| !is_one_named || is_named(sale));
        let items = shown.flat_map(|sale| sale.items.clone());
        candidates(typed, items.map(|item| (item.id, item.title.fallback().to_owned())))
    })
}

fn candidates(
    typed: &OsStr,
    ids: impl Iterator<Item = (String, String)>,
) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    let fitting = ids.filter(|(id, _)| id.starts_with(typed));
    fitting.map(|(id, title)| CompletionCandidate::new(id).help(Some(title.into()))).collect()
}

/// Returns the newest sales. If the server does not answer, returns no sales.
fn known_sales() -> Vec<AdminSale> {
    let words = words();
    let named = |flag: &str, variable: &str| {
        let at = words.iter().position(|word| word == flag);
        let given = at.and_then(|at| words.get(at + 1).cloned());
        given.or_else(|| std::env::var(variable).ok())
    };
    let url = named("--url", "DOORBUSTER_URL").unwrap_or("http://127.0.0.1:8080".to_owned());
    let Some((url, key)) =
        AddressArg::from(url).parse().ok().zip(named("--key", "DOORBUSTER_ADMIN_KEY"))
    else {
        return Vec::new();
    };
    let read = async {
        let client = Client::with(url, key)?;
        let query = [("limit", SALES_MAX)];
        let list = client.get(Path(&["v1", "admin", "sales"], &query));
        let answer = tokio::time::timeout(ANSWER_WAIT, list).await;
        let late = |_| Failure::Settings("the server does not answer".to_owned());
        let list: AdminSaleList = answer.map_err(late)??.read()?;
        Ok(list.sales)
    };
    client::block_on(read).unwrap_or_default()
}

/// Returns the words of the unfinished command line. The shell's script passes these words after
/// `--`.
fn words() -> Vec<String> {
    let mut all = std::env::args();
    all.by_ref().find(|word| word == "--");
    all.collect()
}
