//! The checker, which is the same for all strategies. It compares each buyer's last answer with the
//! orders at the end. The checker shares no code with the strategies or with the product's auditor.

use std::collections::{BTreeMap, BTreeSet};

use crate::contract::Order;
use crate::driver::{BuyerRecord, LastAnswer};
use crate::result::Verdict;

/// The checker's counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// Units in the orders at the end.
    pub sold: i64,
    /// Units sold beyond the stock.
    pub oversold: i64,
    /// Units that were left although buyers still wanted units.
    pub unsold: i64,
    /// Orders beyond the first of each buyer.
    pub duplicate_orders: i64,
    /// Buyers who got the answer "sold" and have no order with their units.
    pub lost_orders: i64,
    /// Orders of buyers who did not get the answer "sold".
    pub untold_orders: i64,
    /// The verdict.
    pub verdict: Verdict,
    /// The first affected buyer, and what happened.
    pub offender: Option<String>,
}

/// Compares each buyer's last answer with the orders at the end. `orders` is in the order in which
/// the rows were written.
pub fn check_answers(stock: i64, records: &[BuyerRecord], orders: &[Order]) -> Findings {
    let mut of_buyer: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    let (mut sold, mut first_beyond) = (0, None);
    for order in orders {
        sold += order.units;
        of_buyer.entry(order.buyer).or_default().push(order.units);
        if sold > stock && first_beyond.is_none() {
            let (buyer, units) = (order.buyer, order.units);
            first_beyond =
                Some(format!("buyer {buyer} got {units} units; {sold} of {stock} were sold"));
        }
    }
    let promised: BTreeMap<i64, i64> = records
        .iter()
        .filter(|record| record.last_answer == LastAnswer::Sold)
        .map(|record| (record.buyer, record.units))
        .collect();
    let lost: BTreeSet<i64> = promised
        .iter()
        .filter(|&(buyer, units)| !of_buyer.get(buyer).is_some_and(|had| had.contains(units)))
        .map(|(buyer, _)| *buyer)
        .collect();
    let duplicated: Vec<i64> =
        of_buyer.iter().filter(|(_, had)| had.len() > 1).map(|(buyer, _)| *buyer).collect();
    let duplicate_orders: usize = duplicated.iter().map(|buyer| of_buyer[buyer].len() - 1).sum();
    let untold_orders = of_buyer.keys().filter(|buyer| !promised.contains_key(buyer)).count();
    let (oversold, unsold) = ((sold - stock).max(0), unsold(stock, sold, records));
    let lost_orders = count(lost.len());
    let verdict = match (oversold, duplicate_orders, lost_orders, unsold) {
        (1.., ..) => Verdict::Oversold,
        (0, 1.., ..) => Verdict::Duplicated,
        (0, 0, 1.., _) => Verdict::Lost,
        (0, 0, 0, 1..) => Verdict::Undersold,
        _ => Verdict::Held,
    };
    let offender = match verdict {
        Verdict::Oversold => first_beyond,
        Verdict::Duplicated => duplicated.first().map(|buyer| {
            format!("buyer {buyer} sent one request, but has {} orders", of_buyer[buyer].len())
        }),
        Verdict::Lost => lost
            .first()
            .map(|buyer| format!("buyer {buyer} was told \"sold\" and has no such order")),
        Verdict::Undersold => records
            .iter()
            .find(|record| record.last_answer != LastAnswer::Sold)
            .map(|record| format!("buyer {} got nothing, {unsold} units were left", record.buyer)),
        Verdict::Held => None,
    };
    Findings {
        sold,
        oversold,
        unsold,
        duplicate_orders: count(duplicate_orders),
        lost_orders,
        untold_orders: count(untold_orders),
        verdict,
        offender,
    }
}

/// Returns the units that could have been sold to buyers who got no units. If fewer units are left
/// than a buyer requested, they cannot be sold to that buyer.
fn unsold(stock: i64, sold: i64, records: &[BuyerRecord]) -> i64 {
    let mut left = (stock - sold).max(0);
    let mut unsold = 0;
    for record in records.iter().filter(|record| record.last_answer != LastAnswer::Sold) {
        if record.units <= left {
            left -= record.units;
            unsold += record.units;
        }
    }
    unsold
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
