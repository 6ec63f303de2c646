//! Unusual texts for paths, queries and headers.

/// The length of the longest request target that the server parses, in bytes. The server answers a
/// longer target with `404`.
pub(crate) const TARGET_BYTES: usize = 4 * 1024;

/// Meaningless or hostile words for a path or a query.
pub(crate) const ODD: &[&str] = &[
    "none",
    "a%20b",
    "%00",
    "%FF",
    "%2F",
    "%2e%2e",
    "..",
    ".",
    "%",
    "%zz",
    "%C3%A9",
    "%F0%9F%98%80",
    "%0d%0aX:%20y",
    "*",
    ";",
    "+",
    "~",
    "@",
    "'",
    "a:b",
    "-1",
    "0",
    "1.0",
    "99999999999999999999",
    "true",
    "null",
    "ord_",
    "ord_x",
    "ord_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "ord_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
    "ord_AZqUxU8JZpDE0iGXlD6gNCFbaEPFjbD0kH8Oool8DklZDOCj2ISa",
    "key_",
    "key_none",
    "AAAA",
    "AAAAAAAAAAA",
    "_____w",
    "open",
    "reserved",
    "queued",
];

/// Bytes that HTTP does not allow in a request target. The server may refuse a request that
/// contains such bytes.
pub(crate) const RAW: &[&str] =
    &["é", "\"", "<", "{sale}", "a|b", "^", "`", "\\", "#", "\u{7f}", "\u{1}"];

/// Query strings that match no parameter.
pub(crate) const STRAY_QUERIES: &[&str] = &[
    "",
    "unknown=1",
    "&&&",
    "==",
    "%=%",
    "limit",
    "cursor",
    "state=&state=",
    "sale[]=spring",
    "a=b;c=d",
    "?",
    "%FF=%FF",
];

/// Headers that no endpoint or only a few endpoints use.
pub(crate) const STRAY_HEADERS: &[(&str, &str)] = &[
    ("TE", "trailers"),
    ("X-Request-Id", "é"),
    ("X-Forwarded-For", "1.2.3.4, é, ::1"),
    ("Forwarded", "for=\"[::1\";;"),
    ("Cookie", "a=b; ==; \""),
    ("Range", "bytes=0-0,-1"),
    ("Origin", "null"),
    ("Content-Encoding", "gzip"),
    ("Accept-Encoding", "gzip;q=0, *;q=9"),
    ("Accept-Language", "*"),
    ("If-Modified-Since", "never"),
    ("Last-Event-ID", "18446744073709551616"),
    ("Last-Event-ID", "-1"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("Sec-WebSocket-Protocol", ", bearer., é"),
    ("Upgrade", "h2c"),
];

pub(crate) const ACCEPTS: &[&str] = &[
    "*/*",
    "application/json",
    "text/html",
    "application/*;q=0.1",
    "é",
    ";;q=,",
    "*/*;q=0",
    "a/b/c, /, */json",
    "",
];

/// Authorization headers that identify no caller.
pub(crate) const INVALID_TOKENS: &[&str] = &[
    "",
    "Bearer",
    "Bearer ",
    "Bearer x",
    "bearer x.y.z",
    "Basic YTpi",
    "Bearer é",
    "Bearer a b",
    "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm5hIiwiZXhwIjo0MDAwMDAwMDAwfQ.",
    "Bearer dbk_0d7c9f5b1e3a48e2a6c4f1b09d8e7a65",
];

/// Invalid media types, and unusual valid ones.
pub(crate) const MEDIA: &[&str] = &[
    "text/plain",
    "application/json; charset=utf-8",
    "application/json; charset=latin1",
    "APPLICATION/JSON",
    "application/merge-patch+json",
    "application/jsonx",
    "",
    "é",
    "multipart/form-data; boundary=x",
];

/// Invalid keys, and a valid one.
pub(crate) const KEYS: &[&str] = &[
    "",
    "a b",
    "é",
    "\t",
    "0123456789012345678901234567890123456789012345678901234567890123",
    "01234567890123456789012345678901234567890123456789012345678901234",
];

pub(crate) const PREFERENCES: &[&str] = &[
    "respond-async",
    "wait=0",
    "wait=1",
    "wait=-1",
    "wait=x",
    "wait=99999999999999999999",
    ",,=;",
    "é",
    "wait=\"1\"",
];

/// Values for `If-Match` and `If-None-Match`.
pub(crate) const TAGS: &[&str] =
    &["*", "\"\"", "W/\"1\"", "nonsense", "\"1\", \"2\", é", "", "\"", ",,,"];
