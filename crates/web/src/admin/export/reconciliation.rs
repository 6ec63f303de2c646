//! `GET /v1/admin/exports/reconciliation`: checks the units and the money as they are now, and
//! lists each difference.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use doorbuster_api::admin::export::{Difference, MoneySums, ReconciledItem, Reconciliation};
use doorbuster_api::query::parse_reconciliation;
use doorbuster_core::Stock;
use doorbuster_engine::api_conversion;
use doorbuster_store as store;
use doorbuster_store::DifferenceKind;

use super::existing_sale;
use crate::App;
use crate::cursor::{self, List};
use crate::reply::{HandlerResult, ok};

pub(crate) async fn get(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> HandlerResult {
    let (sale, read_on) = parse_reconciliation(query.as_deref().unwrap_or_default())?;
    let sale = existing_sale(&app, sale).await?;
    let after = cursor::position(List::Differences, read_on.as_deref())?;
    let after = after
        .map(|(_, text)| decode_cursor(&text).ok_or_else(cursor::unknown_cursor))
        .transpose()?;
    let store = app.node.store();
    let checked_at = api_conversion::time(store.now());
    let books = store.reconcile(sale, after).await?;
    let name = |found: &store::Difference| {
        let item = books.items.iter().find(|item| Some(item.item) == found.item);
        item.map(|item| (item.sale.clone(), item.name.clone())).unzip()
    };
    let differences: Vec<Difference> = books
        .differences
        .iter()
        .map(|found| {
            let (sale, item) = name(found);
            let (order, payment) = (found.order.clone(), found.payment.clone());
            Difference {
                kind: found.kind.as_str().to_owned(),
                sale,
                item,
                order,
                payment,
                detail: found.detail.clone(),
            }
        })
        .collect();
    let report = Reconciliation {
        ok: differences.is_empty() && read_on.is_none(),
        checked_at,
        items: books.items.iter().map(item_view).collect(),
        elsewhere: books.unattributed.iter().map(sums_view).collect(),
        differences,
        complete: books.more.is_empty(),
        next_cursor: (!books.more.is_empty())
            .then(|| cursor::cursor(List::Differences, 0, &encode_cursor(&books.more))),
    };
    ok(&report)
}

fn item_view(books: &store::ItemTotals) -> ReconciledItem {
    let total = match books.total {
        Stock::Counted(units) => Some(units),
        Stock::Unlimited => None,
    };
    let counted = |units: u64| total.map(|_| units);
    // The multiplication overflows only if a stored value is above its limit. The result is then
    // `i64::MAX`, and the report shows a difference.
    let due = books.price_minor.saturating_mul(i64::try_from(books.paid).unwrap_or(i64::MAX));
    ReconciledItem {
        sale: books.sale.clone(),
        item: books.name.clone(),
        total,
        pool: counted(books.pool),
        in_slots: counted(books.in_slots),
        held: books.held,
        paid: books.paid,
        ended: books.ended,
        price: api_conversion::amount(books.price_minor, &books.currency),
        due: api_conversion::amount(due, &books.currency),
        money: books.money.iter().map(sums_view).collect(),
    }
}

fn sums_view(sums: &store::MoneyTotals) -> MoneySums {
    MoneySums {
        currency: api_conversion::amount(0, &sums.currency).currency,
        captured: sums.captured,
        standing: sums.standing,
        refunded: sums.refunded,
        pending: sums.pending,
        failed: sums.failed,
    }
}

/// Encodes the position of the next page, for each kind of difference: the kind's letter and the
/// position in hexadecimal.
fn encode_cursor(more: &[(DifferenceKind, i64)]) -> String {
    more.iter().map(|(kind, place)| format!("{}{place:x}", kind_letter(*kind))).collect()
}

/// Returns `None` if the text does not have the form of a cursor of `encode_cursor`.
fn decode_cursor(text: &str) -> Option<Vec<(DifferenceKind, i64)>> {
    let is_letter = |c: char| c.is_ascii_uppercase();
    let is_of_us = |c: char| is_letter(c) || c.is_ascii_hexdigit();
    if text.is_empty() || !text.chars().all(is_of_us) {
        return None;
    }
    let mut digits = text.split(is_letter);
    digits.next().filter(|before| before.is_empty())?;
    let kind = |wanted: char| {
        DifferenceKind::ALL.iter().copied().find(|kind| kind_letter(*kind) == wanted)
    };
    let letters = text.chars().filter(|c| is_letter(*c));
    letters
        .zip(digits)
        .map(|(of, place)| Some((kind(of)?, i64::from_str_radix(place, 16).ok()?)))
        .collect()
}

fn kind_letter(kind: DifferenceKind) -> char {
    char::from(b'A' + kind as u8)
}

#[cfg(test)]
mod tests {
    use doorbuster_api::limits::CURSOR_BYTES_MAX;

    use super::*;

    #[test]
    fn a_cursor_decodes_to_its_position_in_each_kind() {
        let all: Vec<_> =
            DifferenceKind::ALL.iter().map(|kind| (*kind, i64::MAX - *kind as i64)).collect();
        for more in [&all[..], &all[2..3], &[(DifferenceKind::Reversed, 0)]] {
            assert_eq!(decode_cursor(&encode_cursor(more)).as_deref(), Some(more));
        }
        assert!(
            cursor::cursor(List::Differences, 0, &encode_cursor(&all)).len() <= CURSOR_BYTES_MAX
        );
        for bad in ["", "7", "B", "Bx", "B+7", "B-7", "Z7", "7B7", "b7", "é"] {
            assert_eq!(decode_cursor(bad), None, "{bad}");
        }
    }
}
