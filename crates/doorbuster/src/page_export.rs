//! `export`: writes the sale pages as files into a directory.

use std::path::Path as FilePath;

use anyhow::Context;
use doorbuster_api::sale::{Sale, SaleList};
use doorbuster_api::value;
use doorbuster_web::{ExportedSale, folder};
use serde_json::json;

use crate::cli::{AddressArg, ExportArgs};
use crate::client::{self, Client, Path};
use crate::exit::{Failure, Outcome};
use crate::{config, print, table};

/// The largest number of sales that the server returns for one request.
const PAGE_LIMIT: &str = "200";

/// Runs `export`.
pub fn run(args: &ExportArgs) -> Outcome {
    let settings = config::settings(&args.settings)?;
    let api = args.api.as_ref().map(AddressArg::parse).transpose()?;
    if api.as_ref().is_some_and(|url| !url.origin().is_tuple() || url.path() != "/") {
        return Err(Failure::Settings(
            "--api is not an origin: write it like https://api.shop.example".into(),
        ));
    }
    let api = api.map(|url| url.origin().ascii_serialization());
    if let Some(sale) = args.sales.iter().find(|sale| !is_name(sale)) {
        return Err(Failure::Settings(format!("{sale:?} is not a valid sale id")));
    }
    let sales = match args.sales.as_slice() {
        [] => client::block_on(visible_sales(args))?,
        given => client::block_on(given_sales(args, given))?,
    };
    if let Some(sale) = sales.iter().map(|sale| &sale.id).find(|sale| !is_name(sale)) {
        return Err(Failure::Settings(format!("{sale:?} is not a valid sale id")));
    }
    let files = folder(&settings, api.as_deref(), &sales);
    for file in &files {
        write_whole(&args.dir.join(&file.path), &file.bytes)?;
    }
    if args.json {
        let ids: Vec<&str> = sales.iter().map(|sale| sale.id.as_str()).collect();
        let dir = args.dir.display().to_string();
        return print::json(&json!({ "dir": dir, "files": files.len(), "sales": ids }));
    }
    print::line(&format!(
        "wrote {} for {} to {}",
        table::counted(files.len() as u64, "file"),
        table::counted(sales.len() as u64, "sale"),
        args.dir.display()
    ))
}

/// Returns whether this text is a sale's id that can be the name of a directory.
fn is_name(sale: &str) -> bool {
    value::is_name(sale) && !matches!(sale, "." | "..")
}

/// The requests need no key.
async fn visible_sales(args: &ExportArgs) -> Result<Vec<ExportedSale>, Failure> {
    let client = Client::with(args.url.parse()?, String::new())?;
    let mut sales = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let path =
            Path::new(&["v1", "sales"]).with("limit", Some(PAGE_LIMIT)).with("cursor", cursor);
        let list: SaleList = client.get(path).await?.read()?;
        sales.extend(
            list.sales
                .into_iter()
                .map(|listed| ExportedSale { id: listed.sale.id.clone(), sale: Some(listed.sale) }),
        );
        match list.next_cursor {
            Some(next) => cursor = Some(next),
            None => return Ok(sales),
        }
    }
}

/// Reads the sales with these ids. If a sale cannot be read, the HTML of its page lacks the sale's
/// texts. In a browser, the page's script reads these texts from the server.
async fn given_sales(args: &ExportArgs, given: &[String]) -> Result<Vec<ExportedSale>, Failure> {
    let client = Client::with(args.url.parse()?, String::new())?;
    let mut sales = Vec::new();
    for id in given {
        let read = async { client.get(Path::new(&["v1", "sales", id])).await?.read::<Sale>() };
        let sale = match read.await {
            Ok(sale) => Some(sale),
            Err(Failure::Settings(why) | Failure::Refused(why)) => {
                print::note(&format!(
                    "warning: the page of sale {id} has no title in its HTML: {why}"
                ));
                None
            }
            Err(Failure::Problem(_) | Failure::AlreadyReported) => None,
        };
        sales.push(ExportedSale { id: id.clone(), sale });
    }
    Ok(sales)
}

/// Writes a file. At any time, a reader finds either the old file or the complete new file.
fn write_whole(path: &FilePath, bytes: &[u8]) -> Result<(), Failure> {
    let dir = path.parent().unwrap_or(FilePath::new("."));
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{:016x}.part", rand::random::<u64>()));
    let write = || {
        std::fs::create_dir_all(dir)?;
        std::fs::write(&part, bytes)?;
        std::fs::rename(&part, path)
    };
    Ok(write().with_context(|| format!("cannot write {}", path.display()))?)
}
