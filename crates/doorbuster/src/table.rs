//! Tables in text output, and the format of the numbers and amounts in these tables.

use comfy_table::{Cell, CellAlignment, ContentLineStyle, LineStyle, Row, Table, TableStyle};
use doorbuster_api::value::Money;

const LIST: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

const REPORT: TableStyle = TableStyle::new()
    .top_border(LineStyle::new('╭', '─', '─', '╮'))
    .content_lines(ContentLineStyle::none().left('│').right('│'))
    .bottom_border(LineStyle::new('╰', '─', '─', '╯'));

/// Returns an empty table with these headings.
pub fn with_header(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(LIST);
    table.set_header(header.iter().map(Cell::new));
    table
}

/// Returns an empty table with a frame and without headings.
pub fn report() -> Table {
    let mut table = Table::new();
    table.load_style(REPORT);
    table
}

/// Returns a list as text: a table with these headings, or `empty` if there are no rows. If there
/// is a next page, adds a line that says how to read the next page.
pub fn list<R: Into<Row>>(
    empty: &str,
    header: &[&str],
    rows: impl ExactSizeIterator<Item = R>,
    next_cursor: Option<&str>,
) -> String {
    if rows.len() == 0 {
        return empty.to_owned();
    }
    let mut table = with_header(header);
    table.add_rows(rows);
    format!("{table}\n{}", next_cursor.map(next_page_hint).unwrap_or_default())
}

/// Returns a line that says how to read the next page.
pub fn next_page_hint(cursor: &str) -> String {
    format!("There are more entries: add --cursor {cursor}\n")
}

/// Returns a right-aligned cell.
pub fn number(text: impl ToString) -> Cell {
    Cell::new(text.to_string()).set_alignment(CellAlignment::Right)
}

/// Returns a whole number with commas between groups of three digits: `10,000`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Returns a number of units as text: `1 unit`, `10 units`.
pub fn units(units: u64) -> String {
    counted(units, "unit")
}

/// Returns a number and a noun as text: `1 order`, `10 orders`.
pub fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// Returns the number as text, or a dash for `None`.
pub fn grouped_or_dash(number: Option<u64>) -> String {
    number.map_or_else(|| "–".into(), grouped)
}

/// Returns an amount as text in major units: `10.00 CNY`. `Money` has the amount in minor units.
pub fn money(money: &Money) -> String {
    money.to_string()
}

/// Returns the first `chars_max` characters of a text. If there are more, adds `…`.
pub fn shortened(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Returns the text, or a dash for `None`.
pub fn or_dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "–".into(), |text| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_commas_between_groups_of_three_digits() {
        let check = |number: u64, text: &str| assert_eq!(grouped(number), text);
        check(0, "0");
        check(999, "999");
        check(1_000, "1,000");
        check(10_000, "10,000");
        check(1_234_567, "1,234,567");
    }

    #[test]
    fn one_thing_has_a_noun_in_the_singular() {
        let check = |number: u64, text: &str| assert_eq!(counted(number, "order"), text);
        check(0, "0 orders");
        check(1, "1 order");
        check(1_001, "1,001 orders");
    }
}
