//! Query strings of lists, streams and exports. Empty and unknown parameters are ignored. An
//! invalid or repeated parameter is a fault. Only `sale` in the query of an event stream may be
//! repeated.

mod console;
mod pairs;

pub use console::{ActionQuery, SeriesQuery, parse_page};

use pairs::Pairs;

use crate::admin::dead_letters::DeadLetterKind;
use crate::admin::webhooks::DeliveryState;
use crate::limits::{
    CURSOR_BYTES_MAX, EVENT_SALES_MAX, ORDER_TEXT_CHARS_MAX, PAGE_DEFAULT, PAGE_MAX,
    SEARCH_CHARS_MAX,
};
use crate::order::OrderState;
use crate::problem::Problem;
use crate::sale::Phase;
use crate::value::is_name;

/// The requested part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The `next_cursor` of the previous page; absent for the first page.
    pub cursor: Option<String>,
    /// The largest number of entries to return.
    pub limit: u32,
}

impl Default for Page {
    fn default() -> Self {
        Self { cursor: None, limit: PAGE_DEFAULT }
    }
}

/// The query of `GET /v1/sales` and of `GET /v1/admin/sales`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SaleQuery {
    /// Selects the sales in this phase. A buyer's query never has this filter.
    pub phase: Option<Phase>,
    /// Selects the sales with this text in a title. An operator's query never has this filter.
    pub search: Option<String>,
    /// The requested page of the list.
    pub page: Page,
}

/// The query of `GET /v1/admin/webhook-endpoints/{endpoint}/deliveries`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryQuery {
    /// Only deliveries in this state.
    pub state: Option<DeliveryState>,
    /// The requested page of the list.
    pub page: Page,
}

impl DeliveryQuery {
    /// Parses an operator's query.
    ///
    /// # Errors
    /// `422`; the problem lists each invalid parameter.
    pub fn for_operator(query: &str) -> Result<Self, Problem> {
        let mut pairs = Pairs::parse(query);
        let state =
            pairs.single_value("state", "must be pending, dead or discarded", DeliveryState::parse);
        let page = page(&mut pairs);
        pairs.into_result(Self { state, page })
    }
}

/// The query of `GET /v1/admin/dead-letters`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterQuery {
    /// Only dead letters of this kind.
    pub kind: Option<DeadLetterKind>,
    /// The requested page of the list.
    pub page: Page,
}

impl DeadLetterQuery {
    /// Parses an operator's query.
    ///
    /// # Errors
    /// `422`; the problem lists each invalid parameter.
    pub fn for_operator(query: &str) -> Result<Self, Problem> {
        let mut pairs = Pairs::parse(query);
        let kind =
            pairs.single_value("kind", "must be delivery, refund or ticket", DeadLetterKind::parse);
        let page = page(&mut pairs);
        pairs.into_result(Self { kind, page })
    }
}

/// The query of `GET /v1/orders` and of `GET /v1/admin/orders`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderQuery {
    /// Selects the orders of this sale. A buyer's query never has this filter.
    pub sale: Option<String>,
    /// Selects the orders of this item. A buyer's query never has this filter.
    pub item: Option<String>,
    /// Selects the orders of this buyer. A buyer's query never has this filter.
    pub buyer: Option<String>,
    /// Only orders in this state.
    pub state: Option<OrderState>,
    /// The requested page of the list.
    pub page: Page,
}

impl SaleQuery {
    /// Parses a buyer's query.
    ///
    /// # Errors
    /// `422`; the problem lists each invalid parameter.
    pub fn for_buyer(query: &str) -> Result<Self, Problem> {
        let mut pairs = Pairs::parse(query);
        let search = pairs.single_value(
            "q",
            "must have at most 64 characters, and no control characters",
            |text| {
                let fits = text.chars().count() <= SEARCH_CHARS_MAX
                    && !text.chars().any(|c| c < ' ' || c == '\u{7F}');
                fits.then(|| text.to_owned())
            },
        );
        let page = page(&mut pairs);
        pairs.into_result(Self { phase: None, search, page })
    }

    /// Parses an operator's query.
    ///
    /// # Errors
    /// `422`; the problem lists each invalid parameter.
    pub fn for_operator(query: &str) -> Result<Self, Problem> {
        let mut pairs = Pairs::parse(query);
        let phase = pairs.single_value(
            "phase",
            "must be draft, scheduled, open, paused or closed",
            Phase::parse,
        );
        let page = page(&mut pairs);
        pairs.into_result(Self { phase, search: None, page })
    }
}

impl OrderQuery {
    /// Parses a buyer's query.
    ///
    /// # Errors
    /// `422`; the problem lists each invalid parameter.
    pub fn for_buyer(query: &str) -> Result<Self, Problem> {
        let mut pairs = Pairs::parse(query);
        let state = state(&mut pairs);
        let page = page(&mut pairs);
        pairs.into_result(Self { state, page, ..Self::default() })
    }

    /// Parses an operator's query.
    ///
    /// # Errors
    /// `422`; the problem lists each invalid parameter.
    pub fn for_operator(query: &str) -> Result<Self, Problem> {
        let mut pairs = Pairs::parse(query);
        let [sale, item, buyer] =
            ["sale", "item", "buyer"].map(|parameter| name(&mut pairs, parameter));
        let state = state(&mut pairs);
        let page = page(&mut pairs);
        pairs.into_result(Self { sale, item, buyer, state, page })
    }
}

/// The query of `GET /v1/admin/payments` and of `GET /v1/admin/refunds`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MoneyQuery {
    /// Only payments or refunds that name this order.
    pub order: Option<String>,
    /// The requested page of the list.
    pub page: Page,
}

impl MoneyQuery {
    /// Parses an operator's query.
    ///
    /// # Errors
    /// `422`; the problem lists each invalid parameter.
    pub fn parse(query: &str) -> Result<Self, Problem> {
        let mut pairs = Pairs::parse(query);
        let order = pairs.single_value(
            "order",
            "must have at most 200 characters, and no control characters",
            |text| {
                let fits = text.chars().count() <= ORDER_TEXT_CHARS_MAX
                    && !text.chars().any(|c| c < ' ' || c == '\u{7F}');
                fits.then(|| text.to_owned())
            },
        );
        let page = page(&mut pairs);
        pairs.into_result(Self { order, page })
    }
}

/// Parses the names of the sales that an event stream follows. Returns each name once.
///
/// # Errors
/// `422` for an invalid name, or for too many names.
pub fn parse_followed_sales(query: &str) -> Result<Vec<String>, Problem> {
    let mut pairs = Pairs::parse(query);
    let mut sales = pairs.all_values("sale", NAME_RULE, parse_name);
    sales.sort_unstable();
    sales.dedup();
    if sales.len() > EVENT_SALES_MAX {
        pairs.fault("sale", format!("may be given at most {EVENT_SALES_MAX} times"));
    }
    pairs.into_result(sales)
}

/// Parses the name of the sale to export. `None` means all sales.
///
/// # Errors
/// `422` for an invalid name.
pub fn parse_exported_sale(query: &str) -> Result<Option<String>, Problem> {
    let mut pairs = Pairs::parse(query);
    let sale = name(&mut pairs, "sale");
    pairs.into_result(sale)
}

/// Parses the name of the item whose waiting room is requested. `None` means that the query names
/// no item.
///
/// # Errors
/// `422` for an invalid name.
pub fn parse_room_item(query: &str) -> Result<Option<String>, Problem> {
    let mut pairs = Pairs::parse(query);
    let item = name(&mut pairs, "item");
    pairs.into_result(item)
}

/// Parses the name of the sale to reconcile, and parses the cursor. Without a sale, the report
/// covers all sales.
///
/// # Errors
/// `422`; the problem lists each invalid parameter.
pub fn parse_reconciliation(query: &str) -> Result<(Option<String>, Option<String>), Problem> {
    let mut pairs = Pairs::parse(query);
    let sale = name(&mut pairs, "sale");
    let cursor = cursor(&mut pairs);
    pairs.into_result((sale, cursor))
}

const NAME_RULE: &str = "must be 1 to 64 characters of A-Z a-z 0-9 _ . : -";

fn parse_name(text: &str) -> Option<String> {
    is_name(text).then(|| text.to_owned())
}

fn name(pairs: &mut Pairs<'_>, parameter: &'static str) -> Option<String> {
    pairs.single_value(parameter, NAME_RULE, parse_name)
}

fn state(pairs: &mut Pairs<'_>) -> Option<OrderState> {
    pairs.single_value(
        "state",
        "must be reserved, paid, cancelled, expired or refunded",
        OrderState::parse,
    )
}

fn cursor(pairs: &mut Pairs<'_>) -> Option<String> {
    pairs.single_value("cursor", "is not a cursor that this server issued", |text| {
        let fits =
            text.len() <= CURSOR_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| text.to_owned())
    })
}

fn page(pairs: &mut Pairs<'_>) -> Page {
    let cursor = cursor(pairs);
    let limit = pairs.single_value("limit", "must be a whole number from 1 to 200", |text| {
        // Only digits are valid, but `str::parse` would also accept a plus sign.
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|limit| plain && (1..=PAGE_MAX).contains(limit))
    });
    Page { cursor, limit: limit.unwrap_or(PAGE_DEFAULT) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_orders_are_requested_by_name_state_and_page() {
        let check = |query: &str, expected: Result<OrderQuery, &[&str]>| match (
            OrderQuery::for_operator(query),
            expected,
        ) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{query}"),
            (Err(problem), Err(parameters)) => {
                let found: Vec<_> = problem
                    .faults()
                    .iter()
                    .filter_map(|fault| fault.parameter.as_deref())
                    .collect();
                assert_eq!(found, parameters, "{query}");
                assert_eq!(problem.status(), 422);
            }
            (found, _) => panic!("{query}: {found:?}"),
        };
        let all = OrderQuery::default();
        check("", Ok(all.clone()));
        check("state=&cursor=&limit=", Ok(all.clone()));
        check("unknown=1&&=&x", Ok(all.clone()));
        check(
            "state=paid&limit=200",
            Ok(OrderQuery {
                state: Some(OrderState::Paid),
                page: Page { cursor: None, limit: 200 },
                ..all.clone()
            }),
        );
        check(
            "sale=a%3Ab&item=i&buyer=b&cursor=abc",
            Ok(OrderQuery {
                sale: Some("a:b".into()),
                item: Some("i".into()),
                buyer: Some("b".into()),
                page: Page { cursor: Some("abc".into()), limit: 50 },
                ..all
            }),
        );
        for wrong in [
            "0",
            "201",
            "-1",
            "+5",
            "1.0",
            "ten",
            "99999999999999999999",
            "5&limit=5",
            "%",
            "%zz",
            "%FF",
        ] {
            check(&format!("limit={wrong}"), Err(&["limit"]));
        }
        check(
            "limit=%35",
            Ok(OrderQuery { page: Page { cursor: None, limit: 5 }, ..OrderQuery::default() }),
        );
        check(
            "state=queued&sale=a+b&limit=0&cursor=%00",
            Err(&["sale", "state", "cursor", "limit"]),
        );
    }

    #[test]
    fn a_series_may_end_where_it_starts_but_not_before() {
        let valid = |from: &str, to: &str| {
            SeriesQuery::for_operator(&format!("from={from}&to={to}")).is_ok()
        };
        let (early, late) = ("2026-11-20T10:00:00Z", "2026-11-20T10:00:00.001Z");
        assert!(valid(early, late) && valid(early, early));
        assert!(!valid(late, early));
    }

    #[test]
    fn a_stream_follows_each_named_sale_once() {
        let check = |query: &str, expected: Option<&[&str]>| {
            let found = parse_followed_sales(query).ok();
            let expected = expected
                .map(|names| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
            assert_eq!(found, expected, "{query}");
        };
        check("", Some(&[]));
        check("sale=b&sale=a&sale=b", Some(&["a", "b"]));
        check("sale=", Some(&[]));
        check("sale=a%20b", None);
        let many: Vec<String> = (0..33).map(|number| format!("sale=s{number}")).collect();
        check(&many.join("&"), None);
    }
}
