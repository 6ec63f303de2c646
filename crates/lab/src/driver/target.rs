//! The two kinds of servers that the driver sends requests to: the workers of the lab, and the
//! product. The two kinds have different requests and answers.

use anyhow::{Context, Result};
use doorbuster_harness::generator::buyers::{Buyers, RequestOptions, Template};

use super::{BuyerLoad, LastAnswer};

/// The first part of the name of each buyer of the product. The buyer's number follows.
pub const SERIES: &str = "buyer";

/// The kind of the servers to which the driver sends requests.
#[derive(Debug, Clone)]
pub enum Target {
    /// Workers of the lab.
    Workers,
    /// The product, with the sale in which the buyers buy, and the secret that signs their tokens.
    Product { sale: String, secret: Vec<u8> },
}

/// The meaning of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The answer is final.
    Final(LastAnswer),
    /// The request is refused for another reason than too few units. A repeated request would be
    /// refused too.
    Refused(String),
    /// The server has not decided the request, so the buyer must send it again.
    Busy,
    /// The request failed, and the buyer must send it again.
    Error(String),
}

/// The requests of all buyers. If a buyer repeats a request, the bytes are the same.
pub(super) enum Requests {
    /// Requests to workers of the lab. Each buyer requests this number of units.
    Workers(i64),
    /// Requests to the product. The buyers' tokens are signed before the run.
    Product(Box<(Buyers, Template)>),
}

impl Requests {
    pub(super) fn write(&mut self, buyer: i64, out: &mut Vec<u8>) {
        match self {
            Self::Workers(units) => out.extend_from_slice(
                format!(
                    "POST /take?buyer={buyer}&units={units} HTTP/1.1\r\nHost: lab\r\n\
                     Content-Length: 0\r\n\r\n"
                )
                .as_bytes(),
            ),
            Self::Product(buyers) => {
                let (buyers, template) = &mut **buyers;
                // `Target::requests` has checked that every buyer's number fits a `u32`.
                out.extend_from_slice(template.for_buyer(buyers, buyer as u32));
            }
        }
    }
}

impl Target {
    pub(super) fn requests(&self, crowd: &BuyerLoad) -> Result<Requests> {
        let Self::Product { sale, secret } = self else {
            return Ok(Requests::Workers(crowd.units));
        };
        let units = u32::try_from(crowd.units).context("too many units")?;
        // The lab's buyers are numbered from 1, but tokens are numbered from 0. So one token more
        // than needed is signed, and token 0 is not used.
        let count = u32::try_from(crowd.buyers + 1).context("too many buyers")?;
        let buyers = Buyers::new(secret, SERIES, count);
        let options = RequestOptions {
            host: "lab",
            sale,
            item: "unit",
            units,
            headers: "Prefer: wait=10\r\n",
            keys: sale,
        };
        let template = Template::new(&buyers, &options);
        Ok(Requests::Product(Box::new((buyers, template))))
    }

    /// Returns what a response means for the buyer.
    pub fn read(&self, status: u16, body: &[u8]) -> Reply {
        let text = String::from_utf8_lossy(body);
        match (self, status) {
            (Self::Workers, 200) => Reply::Final(LastAnswer::Sold),
            (Self::Workers, 409) => Reply::Final(LastAnswer::SoldOut),
            (Self::Product { .. }, 200 | 201) if text.contains(r#""state":"reserved""#) => {
                Reply::Final(LastAnswer::Sold)
            }
            (Self::Product { .. }, 409) if text.contains(r#""code":"sold_out""#) => {
                Reply::Final(LastAnswer::SoldOut)
            }
            // The request is not decided. The buyer repeats the same request and then gets the
            // verdict.
            (Self::Product { .. }, 202 | 503) | (_, 429) => Reply::Busy,
            // Right after the opening, a node may not know yet that the sale exists or is open. So
            // the buyer repeats the request after these two answers.
            (Self::Product { .. }, 400..=499)
                if status != 404 && !text.contains(r#""code":"not_started""#) =>
            {
                Reply::Refused(format!("status {status}: {text}"))
            }
            _ => Reply::Error(format!("status {status}: {text}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_final_unless_a_repeated_request_may_get_another() {
        let product = Target::Product { sale: "lab-1".to_owned(), secret: Vec::new() };
        let read = |target: &Target, status, body: &str| match target.read(status, body.as_bytes())
        {
            Reply::Final(answer) => format!("{answer:?}"),
            Reply::Refused(_) => "refused".to_owned(),
            Reply::Busy => "busy".to_owned(),
            Reply::Error(_) => "error".to_owned(),
        };
        for (status, body, expected) in [
            (201, r#"{"state":"reserved"}"#, "Sold"),
            (409, r#"{"code":"sold_out"}"#, "SoldOut"),
            (409, r#"{"code":"limit_reached"}"#, "refused"),
            (409, r#"{"code":"ended"}"#, "refused"),
            (401, r#"{"code":"unauthenticated"}"#, "refused"),
            (422, r#"{"code":"idempotency_key_reused"}"#, "refused"),
            (409, r#"{"code":"not_started"}"#, "error"),
            (404, r#"{"code":"not_found"}"#, "error"),
            (500, "", "error"),
            (429, "", "busy"),
            (503, "", "busy"),
        ] {
            assert_eq!(read(&product, status, body), expected, "{status} {body}");
        }
        let workers = [200, 409, 429, 404, 500].map(|status| read(&Target::Workers, status, ""));
        assert_eq!(workers, ["Sold", "SoldOut", "busy", "error", "error"]);
    }
}
