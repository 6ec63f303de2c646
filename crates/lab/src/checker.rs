//! The checker compares the answers that buyers got with the orders at the end of a run. It is the
//! same for all strategies, and shares no code with the strategies or with the product's auditor.

use std::collections::BTreeMap;

use crate::driver::{BuyerRecord, LastAnswer};
use crate::order::Order;
use crate::result::Verdict;

/// The checker's counts and verdict for one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// Units in the orders at the end of the run.
    pub sold: i64,
    /// Units sold beyond the stock.
    pub oversold: i64,
    /// Remaining units that could have been sold to buyers who got no units.
    pub unsold: i64,
    /// Orders beyond each buyer's first order.
    pub duplicate_orders: i64,
    /// Buyers who got the answer "sold" but have no order with the units that they requested.
    pub lost_orders: i64,
    /// Orders of buyers who got no final answer.
    pub untold_orders: i64,
    /// Orders of buyers who got `SoldOut` or `Refused`, or who sent no request.
    pub unexpected_orders: i64,
    /// The verdict about the run.
    pub verdict: Verdict,
    /// The first buyer whose answer or order is wrong, and what is wrong with it.
    pub offender: Option<String>,
}

/// Compares each buyer's last answer with the orders. `orders` must be in the sequence in which the
/// strategy wrote them.
pub fn check_answers(stock: i64, records: &[BuyerRecord], orders: &[Order]) -> Findings {
    let mut of_buyer: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for order in orders {
        of_buyer.entry(order.buyer).or_default().push(order.units);
    }
    let sold: i64 = orders.iter().map(|order| order.units).sum();
    let answers: BTreeMap<i64, &BuyerRecord> =
        records.iter().map(|record| (record.buyer, record)).collect();
    let lost: Vec<i64> = answers
        .values()
        .filter(|record| record.last_answer == LastAnswer::Sold)
        .filter(|record| {
            !of_buyer.get(&record.buyer).is_some_and(|had| had.contains(&record.units))
        })
        .map(|record| record.buyer)
        .collect();
    let duplicated: Vec<i64> =
        of_buyer.iter().filter(|(_, had)| had.len() > 1).map(|(buyer, _)| *buyer).collect();
    let duplicate_orders: usize = duplicated.iter().map(|buyer| of_buyer[buyer].len() - 1).sum();
    let last_answer = |buyer: &i64| answers.get(buyer).map(|record| record.last_answer);
    let untold_orders =
        of_buyer.keys().filter(|buyer| last_answer(buyer) == Some(LastAnswer::NoAnswer)).count();
    let is_unexpected = |buyer: &&i64| {
        matches!(last_answer(buyer), None | Some(LastAnswer::SoldOut | LastAnswer::Refused))
    };
    let unexpected: Vec<i64> = of_buyer.keys().filter(is_unexpected).copied().collect();
    // A buyer with an order got units, whichever answer the buyer got.
    let without_units: Vec<&BuyerRecord> = records
        .iter()
        .filter(|record| record.last_answer != LastAnswer::Sold)
        .filter(|record| !of_buyer.contains_key(&record.buyer))
        .collect();
    let (oversold, unsold) = ((sold - stock).max(0), unsold(stock, sold, &without_units));
    // A lost order and an unexpected order both give the verdict `Lost`.
    let verdict = match (oversold, duplicate_orders, lost.len() + unexpected.len(), unsold) {
        (1.., ..) => Verdict::Oversold,
        (0, 1.., ..) => Verdict::Duplicated,
        (0, 0, 1.., _) => Verdict::Lost,
        (0, 0, 0, 1..) => Verdict::Undersold,
        _ => Verdict::Held,
    };
    let offender = match verdict {
        Verdict::Oversold => first_beyond(stock, orders),
        Verdict::Duplicated => duplicated.first().map(|buyer| {
            format!("buyer {buyer} sent one request, but has {} orders", of_buyer[buyer].len())
        }),
        Verdict::Lost => {
            let lost = lost
                .first()
                .map(|buyer| format!("buyer {buyer} was told \"sold\" but has no matching order"));
            lost.or_else(|| unexpected.first().map(|buyer| has_order(*buyer, last_answer(buyer))))
        }
        Verdict::Undersold => without_units.first().map(|record| {
            format!("buyer {} got nothing, although {unsold} units were left", record.buyer)
        }),
        Verdict::Held => None,
    };
    Findings {
        sold,
        oversold,
        unsold,
        duplicate_orders: count(duplicate_orders),
        lost_orders: count(lost.len()),
        untold_orders: count(untold_orders),
        unexpected_orders: count(unexpected.len()),
        verdict,
        offender,
    }
}

fn first_beyond(stock: i64, orders: &[Order]) -> Option<String> {
    let mut sold = 0;
    let order = orders.iter().find(|order| {
        sold += order.units;
        sold > stock
    })?;
    let buyer = order.buyer;
    Some(format!("with the order of buyer {buyer}, {sold} of {stock} units were sold"))
}

/// Describes an unexpected order: its buyer got `SoldOut` or `Refused`, or sent no request.
fn has_order(buyer: i64, last_answer: Option<LastAnswer>) -> String {
    match last_answer {
        None => format!("buyer {buyer} sent no request and has an order"),
        Some(LastAnswer::Refused) => format!("buyer {buyer} was refused and has an order"),
        Some(_) => format!("buyer {buyer} was told \"sold out\" and has an order"),
    }
}

/// Returns how many of the remaining units could have been sold to the buyers without units. A
/// buyer gets either all requested units or none.
fn unsold(stock: i64, sold: i64, without_units: &[&BuyerRecord]) -> i64 {
    let mut left = (stock - sold).max(0);
    let mut unsold = 0;
    for record in without_units {
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
