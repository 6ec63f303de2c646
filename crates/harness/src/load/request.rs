//! The bytes of requests. They are built once for each connection and changed for each buyer.

use super::buyers::Buyers;
use super::plan::{LoadPlan, Target};

/// A request `POST /v1/orders`. Its token and key are replaced for each buyer.
#[derive(Debug)]
pub(super) struct OrderRequest {
    bytes: Vec<u8>,
    token_at: usize,
    key_at: usize,
}

impl OrderRequest {
    /// Builds the request without a token and a key.
    pub fn new(plan: &LoadPlan, target: &Target, buyers: &Buyers) -> Self {
        let body =
            format!(r#"{{"sale":"{}","item":"{}","units":{}}}"#, plan.sale, plan.item, plan.units);
        let mut bytes = format!(
            "POST /v1/orders HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nPrefer: wait={}\r\nAuthorization: Bearer ",
            target.authority,
            body.len(),
            plan.wait_secs
        )
        .into_bytes();
        let token_at = bytes.len();
        bytes.resize(token_at + buyers.token_len(), b'-');
        bytes.extend_from_slice(b"\r\nIdempotency-Key: ");
        let key_at = bytes.len();
        bytes.resize(key_at + buyers.name_len(), b'-');
        bytes.extend_from_slice(b"\r\n\r\n");
        bytes.extend_from_slice(body.as_bytes());
        Self { bytes, token_at, key_at }
    }

    /// Returns the bytes to send for this buyer.
    pub fn for_buyer(&mut self, buyer: u32, buyers: &Buyers) -> &[u8] {
        buyers
            .write_token(buyer, &mut self.bytes[self.token_at..self.token_at + buyers.token_len()]);
        buyers.write_key(buyer, &mut self.bytes[self.key_at..self.key_at + buyers.name_len()]);
        &self.bytes
    }
}

/// Returns a `GET` with the buyer's token, for rare requests: polling a verdict and listening to
/// events.
pub(super) fn get(
    path: &str,
    accept: &str,
    target: &Target,
    buyers: &Buyers,
    buyer: u32,
) -> Vec<u8> {
    let mut token = vec![0; buyers.token_len()];
    buyers.write_token(buyer, &mut token);
    let mut bytes = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: {accept}\r\nAuthorization: Bearer ",
        target.authority
    )
    .into_bytes();
    bytes.extend_from_slice(&token);
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_buffer_serves_many_buyers_with_their_own_token_and_key() {
        let mut plan = LoadPlan::new("http://127.0.0.1:8080", "spring", "phone", 3, vec![7; 32]);
        plan.units = 10;
        let target = plan.check().expect("a good plan");
        let buyers = Buyers::mint(&plan.secret, 1, 3);
        let mut request = OrderRequest::new(&plan, &target, &buyers);
        let first = request.for_buyer(0, &buyers).to_vec();
        let second = request.for_buyer(2, &buyers).to_vec();
        assert_eq!(first.len(), second.len());
        for (bytes, buyer) in [(first, 0), (second, 2)] {
            let text = String::from_utf8(bytes).expect("ASCII");
            let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
            let mut token = vec![0; buyers.token_len()];
            buyers.write_token(buyer, &mut token);
            let token = String::from_utf8(token).expect("ASCII");
            assert!(
                head.starts_with("POST /v1/orders HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n"),
                "{head}"
            );
            assert!(head.contains(&format!("\r\nAuthorization: Bearer {token}\r\n")), "{head}");
            assert!(
                head.ends_with(&format!("\r\nIdempotency-Key: {}", buyers.key(buyer))),
                "{head}"
            );
            assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
            assert!(head.contains("\r\nPrefer: wait=2\r\n"), "{head}");
            assert_eq!(body, r#"{"sale":"spring","item":"phone","units":10}"#);
        }
    }
}
