//! Pages on another origin (a CDN's copy of them): that one, and no other, may read what buyers are
//! told here.
//!
//! The origin is a setting and never taken from a request, so that answers are the same for
//! everybody and caches need not tell them apart. What operators do is for no other origin. Without
//! the setting nothing is added to any answer.

use std::sync::Arc;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::reply::{Reply, empty};

/// What a page may send.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, DELETE");
/// With which headers, beside those that are always allowed.
const HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, idempotency-key, if-none-match, last-event-id, prefer, \
     purchase-pass, x-request-id",
);
/// What a page may read, beside what it always may.
const EXPOSED: &str = "age, date, etag, idempotent-replayed, location, ratelimit, ratelimit-policy, retry-after, x-request-id";
/// So long a browser need not ask again: the longest that any keeps.
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");

/// Where pages are, if not here.
#[derive(Debug, Default)]
pub(crate) struct PageOrigin {
    origin: Option<HeaderValue>,
    /// What it adds to an answer that is written as bytes.
    lines: Arc<str>,
}

impl PageOrigin {
    /// An origin as the settings have it, `https://shop.example`.
    pub(crate) fn new(origin: Option<&str>) -> Self {
        let Some(value) = origin.and_then(|origin| HeaderValue::from_str(origin).ok()) else {
            return Self::default();
        };
        let lines = format!(
            "\r\n{ACCESS_CONTROL_ALLOW_ORIGIN}: {}\r\n{ACCESS_CONTROL_EXPOSE_HEADERS}: {EXPOSED}",
            origin.unwrap_or_default()
        );
        Self { origin: Some(value), lines: lines.into() }
    }

    /// Lines for the end of a head; each begins with a line end. Empty without the setting.
    pub(crate) fn header_lines(&self) -> &Arc<str> {
        &self.lines
    }

    /// The answer to a browser that asks whether a page of that origin may send such a request.
    pub(crate) fn preflight(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Option<Reply> {
        let asks =
            *method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        let origin =
            self.origin.as_ref().filter(|origin| asks && headers.get(ORIGIN) == Some(*origin))?;
        if !is_buyer_path(path) {
            return None;
        }
        let mut reply = empty(StatusCode::NO_CONTENT);
        let head = reply.headers_mut();
        head.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        head.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        head.insert(ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
        head.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        Some(reply)
    }

    /// Lets pages of that origin read an answer.
    pub(crate) fn add_headers(&self, path: &str, head: &mut HeaderMap) {
        if let Some(origin) = self.origin.as_ref().filter(|_| is_buyer_path(path)) {
            head.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            head.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }
    }

    /// Whether there is such an origin.
    pub(crate) fn is_set(&self) -> bool {
        self.origin.is_some()
    }
}

/// Whether buyers' pages ask there.
fn is_buyer_path(path: &str) -> bool {
    let below = |room: &str| {
        path.strip_prefix(room).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    below("/v1") && !below("/v1/admin")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "https://shop.example";

    fn asks(origin: &'static str, path: &str, setting: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, HeaderValue::from_static(origin));
        headers.insert(ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("POST"));
        PageOrigin::new(setting).preflight(&Method::OPTIONS, path, &headers).is_some()
    }

    #[test]
    fn only_the_configured_origin_may_ask_and_only_for_what_buyers_use() {
        assert!(asks(HERE, "/v1/orders", Some(HERE)));
        for (origin, path, setting) in [
            (HERE, "/v1/orders", None),
            ("https://shop.example.evil", "/v1/orders", Some(HERE)),
            ("http://shop.example", "/v1/orders", Some(HERE)),
            ("null", "/v1/orders", Some(HERE)),
            (HERE, "/v1/admin/sales", Some(HERE)),
            (HERE, "/v1/admin", Some(HERE)),
            (HERE, "/metrics", Some(HERE)),
        ] {
            assert!(!asks(origin, path, setting), "{origin} {path} {setting:?}");
        }
    }

    #[test]
    fn answers_name_the_configured_origin_and_nothing_without_one() {
        let marked = |path, setting| {
            let mut head = HeaderMap::new();
            PageOrigin::new(setting).add_headers(path, &mut head);
            head.get(ACCESS_CONTROL_ALLOW_ORIGIN).cloned()
        };
        assert_eq!(marked("/v1/sales", Some(HERE)), Some(HeaderValue::from_static(HERE)));
        assert_eq!(marked("/v1/admin/sales", Some(HERE)), None);
        assert_eq!(marked("/v1/sales", None), None);
        assert!(PageOrigin::new(None).header_lines().is_empty());
        assert!(
            PageOrigin::new(Some(HERE))
                .header_lines()
                .starts_with("\r\naccess-control-allow-origin: https://shop.example\r\n")
        );
    }
}
