//! Checks the store's key, and converts the paused sales of a history row to and from JSON. Every
//! backend uses these functions.
use doorbuster_core::Phase;
use serde_json::{Value, json};

use crate::contract::{OpenError, PausedSale};

pub(crate) fn check_key(given: &str, expected: String) -> Result<(), OpenError> {
    match given == expected {
        true => Ok(()),
        false => Err(OpenError::WrongIdKey { given: given.to_owned(), expected }),
    }
}

pub(crate) fn paused_json(paused: &[PausedSale]) -> String {
    let row = |sale: &PausedSale| json!({"sale": sale.sale, "was": sale.was.as_str()});
    Value::from_iter(paused.iter().map(row)).to_string()
}

pub(crate) fn parse_paused(text: &str) -> Option<Vec<PausedSale>> {
    let rows: Vec<Value> = serde_json::from_str(text).ok()?;
    let sale = |row: &Value| {
        let (sale, was) = (row.get("sale")?.as_str()?, row.get("was")?.as_str()?);
        Some(PausedSale { sale: sale.to_owned(), was: Phase::parse(was)? })
    };
    rows.iter().map(sale).collect()
}
