//! What remains of each limit for a caller. The headers `RateLimit` and `RateLimit-Policy` show
//! this (draft-ietf-httpapi-ratelimit-headers, structured fields).

use doorbuster_api::problem::RateLimitScope;
use doorbuster_core::gate::gcra::{self, RateLimit};
use doorbuster_engine::sale_limits::LimitRules;
use http::{HeaderMap, HeaderName, HeaderValue};

const RATE_LIMIT: &str = "ratelimit";
const RATE_LIMIT_POLICY: &str = "ratelimit-policy";
/// The size of the buffer for a `RateLimit` value, in bytes. The value has two numbers for each of
/// three scopes.
const VALUE_BYTES: usize = 128;

/// How much each limit still allows a caller to send. `None` in place of a limit that does not
/// exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimitStatus([Option<Remaining>; RateLimitScope::ALL.len()]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Remaining {
    /// How many requests the caller can send now.
    requests: u32,
    /// The seconds until the full burst is available again.
    secs: u32,
}

impl RateLimitStatus {
    /// Returns the status of a caller that has sent no request yet.
    pub fn unused(rules: &LimitRules) -> Self {
        let mut status = Self::default();
        for scope in RateLimitScope::ALL {
            if let Some(pace) = rules.pace(scope) {
                status.record(scope, pace, 0, 0);
            }
        }
        status
    }

    pub(super) fn record(&mut self, scope: RateLimitScope, pace: RateLimit, state: u64, now: u64) {
        let narrow = |wide: u64| u32::try_from(wide).unwrap_or(u32::MAX);
        self.0[scope as usize] = Some(Remaining {
            requests: narrow(pace.remaining(state, now)),
            secs: narrow(gcra::secs_rounded_up(pace.used_nanos(state, now))),
        });
    }

    /// Appends the value of `RateLimit`. For each scope, the value has the number of remaining
    /// requests, and the seconds until the full burst is available again.
    fn write_value(&self, out: &mut Vec<u8>) {
        let mut between: &[u8] = b"";
        for (scope, left) in RateLimitScope::ALL.iter().zip(self.0) {
            let Some(left) = left else { continue };
            out.extend_from_slice(between);
            out.push(b'"');
            out.extend_from_slice(scope.as_str().as_bytes());
            out.extend_from_slice(b"\";r=");
            write_decimal(left.requests, out);
            out.extend_from_slice(b";t=");
            write_decimal(left.secs, out);
            between = b", ";
        }
    }

    /// Appends the headers `RateLimit-Policy` and `RateLimit` as lines of an HTTP/1 response. If
    /// there are no limits, appends nothing.
    pub fn write(&self, rules: &LimitRules, out: &mut Vec<u8>) {
        if rules.is_none() {
            return;
        }
        out.extend_from_slice(b"ratelimit-policy: ");
        out.extend_from_slice(rules.policy().as_bytes());
        out.extend_from_slice(b"\r\nratelimit: ");
        self.write_value(out);
        out.extend_from_slice(b"\r\n");
    }

    /// Sets the headers `RateLimit-Policy` and `RateLimit`. If there are no limits, sets nothing.
    pub fn insert(&self, rules: &LimitRules, headers: &mut HeaderMap) {
        if rules.is_none() {
            return;
        }
        let mut value = Vec::with_capacity(VALUE_BYTES);
        self.write_value(&mut value);
        for (name, value) in [(RATE_LIMIT_POLICY, rules.policy().as_bytes()), (RATE_LIMIT, &value)]
        {
            let value = HeaderValue::from_bytes(value)
                .expect("the value consists of ASCII words and numbers");
            headers.insert(HeaderName::from_static(name), value);
        }
    }

    /// Returns whether these headers already contain the state of the limits.
    pub fn is_present(headers: &HeaderMap) -> bool {
        headers.contains_key(RATE_LIMIT)
    }
}

fn write_decimal(mut number: u32, out: &mut Vec<u8>) {
    let (mut digits, mut at) = ([0; 10], 10);
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_api::admin::front_door::Limits;

    use super::*;

    #[test]
    fn both_headers_are_structured_fields_with_equal_values_on_both_paths() {
        let rules = LimitRules::new(&Limits::default());
        let mut status = RateLimitStatus::default();
        status.record(RateLimitScope::Buyer, RateLimit::new(50_000, 60_000), 3_000_000_001, 0);
        status.record(RateLimitScope::Ip, RateLimit::new(200_000, 600_000), 0, 0);
        let mut out = Vec::new();
        status.write(&rules, &mut out);
        let text = String::from_utf8(out).expect("ASCII");
        assert_eq!(
            text,
            "ratelimit-policy: \"buyer\";q=50000;w=50, \"ip\";q=200000;w=20\r\nratelimit: \
             \"buyer\";r=46999;t=4, \"ip\";r=200000;t=0\r\n"
        );
        let mut headers = HeaderMap::new();
        assert!(!RateLimitStatus::is_present(&headers));
        status.insert(&rules, &mut headers);
        assert!(RateLimitStatus::is_present(&headers));
        for (name, value) in &headers {
            assert!(
                text.contains(&format!("{name}: {}\r\n", value.to_str().expect("ASCII"))),
                "{name}"
            );
        }
    }

    #[test]
    fn a_sale_without_limits_sends_no_limit_headers() {
        let (mut out, mut headers) = (Vec::new(), HeaderMap::new());
        RateLimitStatus::default().write(&LimitRules::default(), &mut out);
        RateLimitStatus::default().insert(&LimitRules::default(), &mut headers);
        assert!(out.is_empty() && headers.is_empty());
    }

    #[test]
    fn numbers_are_written_in_digits() {
        for number in [0, 7, 10, 4_294_967_295] {
            let mut out = Vec::new();
            write_decimal(number, &mut out);
            assert_eq!(String::from_utf8(out).expect("ASCII"), number.to_string());
        }
    }
}
