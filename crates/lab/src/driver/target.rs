//! The two kinds of servers: workers of the lab, and the product. Defines the request that a buyer
//! sends to each, and the meaning of each answer.

use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::LastAnswer;

/// How long a buyer's token is valid. This is longer than any run.
const TOKEN_LIFE: Duration = Duration::from_secs(12 * 3600);
/// The text `{"alg":"HS256","typ":"JWT"}` in base64url.
const TOKEN_HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// The kind of server that gets the requests.
#[derive(Debug, Clone)]
pub enum Target {
    /// Workers of the lab.
    Workers,
    /// The product, with one of its sales, and the key that signs buyers' tokens.
    Product { sale: String, key: Box<hmac::Key> },
}

/// The meaning of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The answer is final.
    Final(LastAnswer),
    /// The buyer must send the request again.
    Busy,
    /// The request failed, and the buyer must send it again.
    Error(String),
}

impl Target {
    /// Returns the bytes that this buyer sends. They are the same each time.
    pub fn request(&self, buyer: i64, units: i64) -> Vec<u8> {
        match self {
            Self::Workers => format!(
                "POST /take?buyer={buyer}&units={units} HTTP/1.1\r\nHost: lab\r\n\
                 Content-Length: 0\r\n\r\n"
            ),
            Self::Product { sale, key } => {
                let body = format!(r#"{{"sale":"{sale}","item":"unit","units":{units}}}"#);
                format!(
                    "POST /v1/orders HTTP/1.1\r\nHost: lab\r\nAuthorization: Bearer {}\r\n\
                     Idempotency-Key: {sale}-{buyer}\r\nPrefer: wait=10\r\n\
                     Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    token(key, buyer),
                    body.len()
                )
            }
        }
        .into_bytes()
    }

    /// Returns the meaning of an answer to the buyer.
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
            // There is no verdict yet. The same request asks for the verdict again.
            (Self::Product { .. }, 202 | 503) | (_, 429) => Reply::Busy,
            _ => Reply::Error(format!("status {status}: {text}")),
        }
    }
}

/// Returns the token that the shop signs for this buyer.
fn token(key: &hmac::Key, buyer: i64) -> String {
    // If the clock is before 1970, the tokens have expired and the server refuses them.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let claims = format!(r#"{{"sub":"buyer-{buyer}","exp":{}}}"#, (now + TOKEN_LIFE).as_secs());
    let signed = format!("{TOKEN_HEADER}.{}", URL_SAFE_NO_PAD.encode(claims));
    let signature = hmac::sign(key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
