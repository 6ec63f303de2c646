//! Completes the page that shows the API.

use std::fmt::Write;

use doorbuster_api::problem::Code;

/// The table of problem codes replaces this mark in the page.
const CODES_MARK: &str = "<!-- codes -->";

/// Adds a table of all problem codes to the page, because the `type` of each problem is a link to
/// this page. In a demonstration, marks the page so that its forms can create guests' tokens.
pub(crate) fn complete(page: &str, has_guests: bool) -> String {
    let mut rows = String::new();
    for code in Code::ALL {
        let (word, status, title) = (code.as_str(), code.status(), code.title());
        let again = if code.retryable() { "yes" } else { "no" };
        writeln!(
            rows,
            "<tr \
             id=\"{word}\"><td><code>{word}</code></td><td>{status}</td><td>{title}</td><td>{again}</td></tr>"
        )
        .expect("writing to a string cannot fail");
    }
    let page = page.replace(CODES_MARK, &rows);
    match has_guests {
        true => page.replacen("<body", "<body data-guests", 1),
        false => page,
    }
}
