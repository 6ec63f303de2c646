//! Compares the endpoints, codes and headers of `docs/api.md` with those of the code.

use std::collections::BTreeSet;

use doorbuster_api::admin::export::Export;
use doorbuster_api::endpoints::{self, Auth, Endpoint, ParamLocation};
use doorbuster_api::problem::Code;

pub(crate) fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/api.md");
    std::fs::read_to_string(path).expect("docs/api.md must exist")
}

fn cells(line: &str) -> Option<Vec<&str>> {
    Some(line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect())
}

fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn mentions(page: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        let word = format!("{method} /");
        for (at, _) in page.match_indices(&word) {
            let rest = &page[at + method.len() + 1..];
            let path = rest.split([' ', '`', '\n', '?', ',', ')']).next().unwrap_or_default();
            found.insert(format!("{method} {path}"));
        }
    }
    found
}

fn caller(endpoint: &Endpoint) -> &'static str {
    match endpoint.auth {
        Auth::Public => "anyone",
        Auth::Buyer => "buyer",
        Auth::BuyerOrOperator => "buyer or viewer",
        Auth::Operator(role) => role.as_str(),
    }
}

#[test]
fn the_page_mentions_every_endpoint_and_no_other() {
    let expected: BTreeSet<String> = endpoints::all()
        .map(|endpoint| format!("{} {}", endpoint.method.as_str(), endpoint.path))
        .collect();
    assert_eq!(mentions(&page()), expected);
}

#[test]
fn each_endpoints_row_has_its_callers_and_its_answers() {
    let page = page();
    for endpoint in endpoints::all() {
        let name = format!("`{} {}`", endpoint.method.as_str(), endpoint.path);
        let rows: Vec<_> =
            page.lines().filter_map(cells).filter(|cells| cells[0] == name).collect();
        let [row] = rows.as_slice() else { panic!("{name} has {} rows", rows.len()) };
        let [_, auth, success, codes, summary] = row.as_slice() else { panic!("{name}: {row:?}") };
        assert_eq!(*auth, caller(endpoint), "{name}");
        let statuses: Vec<String> =
            endpoint.responses.iter().map(|answer| answer.status.to_string()).collect();
        assert_eq!(*success, statuses.join(" "), "{name}");
        let own: Vec<&str> = endpoint.codes.iter().map(|code| code.as_str()).collect();
        assert_eq!(quoted(codes), own, "{name}");
        let parameters =
            endpoint.params.iter().filter(|param| param.location() == ParamLocation::Query);
        for parameter in parameters {
            assert!(quoted(summary).contains(&parameter.name()), "{name}: {}", parameter.name());
        }
    }
}

#[test]
fn the_table_of_problems_has_every_code_and_no_other() {
    let page = page();
    let found: BTreeSet<_> = page
        .lines()
        .filter_map(cells)
        .filter(|cells| cells[0].parse::<u16>().is_ok())
        .map(|cells| (cells[0].to_owned(), quoted(cells[1]).concat(), cells[2].to_owned()))
        .collect();
    let retryable = |code: Code| if code.retryable() { "yes" } else { "no" };
    let expected: BTreeSet<_> = Code::ALL
        .into_iter()
        .map(|code| {
            (code.status().to_string(), code.as_str().to_owned(), retryable(code).to_owned())
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn the_tables_of_headers_have_every_header() {
    let page = page();
    let named: BTreeSet<&str> =
        page.lines().filter_map(cells).flat_map(|cells| quoted(cells[0])).collect();
    for endpoint in endpoints::all() {
        let requested = endpoint
            .params
            .iter()
            .filter(|param| param.location() == ParamLocation::Header)
            .map(|param| param.name());
        let given =
            endpoint.responses.iter().flat_map(|answer| answer.headers).map(|header| header.name());
        for header in requested.chain(given) {
            assert!(named.contains(header), "{header}");
        }
    }
    for export in Export::ALL {
        assert!(page.contains(export.header()), "{}", export.as_str());
    }
}
