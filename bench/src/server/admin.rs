//! Sends an operator's requests to the measured server. Each request opens a new connection.
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::limits::ADMIN_WITHIN;

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The answer's body.
    pub body: String,
}

/// Sends one request.
///
/// # Errors
/// Fails if the connection fails or the answer is not valid HTTP.
pub fn send_request(
    addr: SocketAddr,
    method: &str,
    path: &str,
    key: Option<&str>,
    body: &str,
) -> Result<Reply> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(ADMIN_WITHIN))?;
    let key = key.map_or(String::new(), |key| format!("Authorization: Bearer {key}\r\n"));
    let length = body.len();
    let json = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: \
         close\r\n{key}{json}Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text).context("cannot read an answer")?;
    let (head, body) = text.split_once("\r\n\r\n").context("the answer has no head")?;
    let status =
        head.split(' ').nth(1).and_then(|s| s.parse().ok()).context("the answer has no status")?;
    Ok(Reply { status, body: body.to_owned() })
}

/// A sale with one item, called `item`.
#[derive(Clone, Copy, Debug)]
pub struct NewSale<'a> {
    /// The sale's name.
    pub id: &'a str,
    /// The units on sale.
    pub stock: u64,
    /// Units that one buyer may have.
    pub limit: u32,
}

impl NewSale<'_> {
    /// Returns the body that creates the sale.
    #[must_use]
    pub fn json(&self) -> String {
        json!({
            "id": self.id,
            "title": "A bench",
            // All buyers of a bench send from one IP address, so the default rate limits would
            // refuse the buyers.
            "front_door": {"limits": {"buyer": null, "ip": null, "interface": null}},
            "items": [{
                "id": "item",
                "title": "An item",
                "price": {"amount_minor": 10, "currency": "CNY"},
                "stock": self.stock,
                "limit_per_buyer": self.limit,
                "hold_secs": 86_400,
            }],
        })
        .to_string()
    }
}

/// The units of an item in each state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StockRow {
    /// All units.
    pub total: u64,
    /// Units in the pool.
    pub pool: u64,
    /// Units in slots.
    pub in_slots: u64,
    /// Reserved units.
    pub held: u64,
    /// Paid units.
    pub paid: u64,
}

impl StockRow {
    /// Reads the only row of the server's answer.
    ///
    /// # Errors
    /// Fails if the answer has no row.
    pub fn read(value: &Value) -> Result<Self> {
        let row = &value["items"][0];
        let number =
            |name: &str| row[name].as_u64().with_context(|| format!("no {name} in {value}"));
        Ok(Self {
            total: number("total")?,
            pool: number("pool")?,
            in_slots: number("in_slots")?,
            held: number("held")?,
            paid: number("paid")?,
        })
    }

    /// Returns whether the units in all states add up to the total.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        self.total == self.pool + self.in_slots + self.held + self.paid
    }
}
