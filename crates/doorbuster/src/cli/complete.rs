//! Completes the ids of sales and items on a command line, from the running server.
//!
//! A person waits while the shell runs this code. So if the server does not answer within a second,
//! the shell gets no completions.

use std::ffi::OsStr;
use std::time::Duration;

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use doorbuster_api::admin::sale::{AdminSale, AdminSaleList};
use serde::de::DeserializeOwned;

use super::server::AddressArg;
use crate::client::{self, Client, Path};
use crate::exit::Failure;

const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// The shell offers at most this many sales, the newest ones. If the sales have long descriptions,
/// a longer list could take longer than [`ANSWER_WAIT`].
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
        let items = shown_sales().into_iter().flat_map(|sale| sale.items);
        candidates(typed, items.map(|item| (item.id, item.title.fallback().to_owned())))
    })
}

fn shown_sales() -> Vec<AdminSale> {
    let words = words();
    if let Some(sale) = sale_word(&words) {
        // The list of sales has only the newest sales, so the named sale may be missing there. So
        // this sale is read by its id.
        return read::<AdminSale>(Path::admin(&["sales", sale])).into_iter().collect();
    }
    let mut sales = known_sales();
    let is_named = |sale: &AdminSale| words.contains(&sale.id);
    if sales.iter().any(is_named) {
        sales.retain(is_named);
    }
    sales
}

/// Returns the sale that the command line names: the value of `--sale`, or the word after a command
/// whose first argument is a sale.
fn sale_word(words: &[String]) -> Option<&str> {
    words.iter().enumerate().find_map(|(at, word)| match word.as_str() {
        "--sale" | "adjust" | "admit" | "spread" | "list" => {
            // Bash passes the `=` of an option such as `--sale=spring` as a separate word.
            let mut rest = words.iter().skip(at + 1).map(String::as_str);
            rest.find(|word| *word != "=").filter(|word| !word.starts_with('-'))
        }
        option => option.strip_prefix("--sale="),
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

fn known_sales() -> Vec<AdminSale> {
    let list: Option<AdminSaleList> = read(Path::admin(&["sales"]).with("limit", Some(SALES_MAX)));
    list.map(|list| list.sales).unwrap_or_default()
}

/// Reads a path of the server. Returns `None` if the server does not answer in time or refuses.
fn read<T: DeserializeOwned>(path: Path<'_>) -> Option<T> {
    let words = words();
    let named = |flag: &str, variable: &str| {
        let at = words.iter().position(|word| word == flag);
        let given = at.and_then(|at| words.get(at + 1).cloned());
        given.or_else(|| std::env::var(variable).ok())
    };
    let url = named("--url", "DOORBUSTER_URL").unwrap_or("http://127.0.0.1:8080".to_owned());
    let url = AddressArg::from(url).parse().ok()?;
    let key = named("--key", "DOORBUSTER_ADMIN_KEY")?;
    let read = async {
        let client = Client::with(url, key)?;
        let answer = tokio::time::timeout(ANSWER_WAIT, client.get(path)).await;
        let late = |_| Failure::Settings("the server does not answer".to_owned());
        answer.map_err(late)??.read()
    };
    client::block_on(read).ok()
}

/// The shell passes the words of the unfinished command line after `--`.
fn words() -> Vec<String> {
    let mut all = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    all.by_ref().find(|word| word == "--");
    all.collect()
}
