//! Allows pages on another origin, such as copies at a CDN, to read the buyers' API (CORS).
//!
//! The allowed origin comes from the settings, not from the request. So all callers get the same
//! headers, and a cache needs only one copy of each response. The responses of the operators' API
//! have no CORS headers, so pages on other origins cannot read them.

use std::sync::Arc;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::reply::{Reply, empty};

/// The methods that a page may use.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, DELETE");
/// The headers that a page may send, besides those that browsers always allow.
const HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, idempotency-key, if-none-match, last-event-id, prefer, \
     purchase-pass, order-key, x-request-id",
);
/// The headers that a page may read, besides those that browsers always allow.
const EXPOSED: &str = "age, date, etag, idempotent-replayed, location, ratelimit, \
                       ratelimit-policy, retry-after, x-request-id";
/// How long a browser may cache the response to a preflight request, in seconds. This is the
/// longest time that any browser accepts.
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");

/// The origin of the pages, if it differs from this server's origin.
#[derive(Debug, Default)]
pub(crate) struct PageOrigin {
    origin: Option<HeaderValue>,
    /// The CORS headers for this origin, as lines of text for the fast path.
    lines: Arc<str>,
}

impl PageOrigin {
    /// `origin` is the origin in the settings, for example `https://shop.example`.
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

    /// Returns the CORS headers as lines of text. Each line begins with a line break. The text is
    /// empty if the settings have no origin.
    pub(crate) fn header_lines(&self) -> &Arc<str> {
        &self.lines
    }

    /// Returns the response to a preflight request from the origin in the settings. Returns `None`
    /// if the router must handle the request.
    pub(crate) fn preflight(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Option<Reply> {
        let is_preflight =
            *method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        let origin = self
            .origin
            .as_ref()
            .filter(|origin| is_preflight && headers.get(ORIGIN) == Some(*origin))?;
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

    /// Adds the headers that let pages of the configured origin read the response.
    pub(crate) fn add_headers(&self, path: &str, head: &mut HeaderMap) {
        if let Some(origin) = self.origin.as_ref().filter(|_| is_buyer_path(path)) {
            head.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            head.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }
    }

    /// On an edge, removes the CORS headers of a node's response, because the edge adds its own.
    pub(crate) fn remove_headers(&self, head: &mut HeaderMap) {
        if self.is_set() {
            head.remove(ACCESS_CONTROL_ALLOW_ORIGIN);
            head.remove(ACCESS_CONTROL_EXPOSE_HEADERS);
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.origin.is_some()
    }
}

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

    fn is_allowed(origin: &'static str, path: &str, setting: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, HeaderValue::from_static(origin));
        headers.insert(ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("POST"));
        PageOrigin::new(setting).preflight(&Method::OPTIONS, path, &headers).is_some()
    }

    #[test]
    fn only_the_configured_origin_is_allowed_and_only_on_buyers_paths() {
        assert!(is_allowed(HERE, "/v1/orders", Some(HERE)));
        for (origin, path, setting) in [
            (HERE, "/v1/orders", None),
            ("https://shop.example.evil", "/v1/orders", Some(HERE)),
            ("http://shop.example", "/v1/orders", Some(HERE)),
            ("null", "/v1/orders", Some(HERE)),
            (HERE, "/v1/admin/sales", Some(HERE)),
            (HERE, "/v1/admin", Some(HERE)),
            (HERE, "/metrics", Some(HERE)),
        ] {
            assert!(!is_allowed(origin, path, setting), "{origin} {path} {setting:?}");
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
