//! Serves one file of the pages: chooses its compression, and adds its headers and its `ETag`.

use std::borrow::Cow;
use std::sync::OnceLock;

use doorbuster_api::header::if_none_match;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::compress::{self, Coding};
use super::{CACHE_BRIEFLY, media_type_of};
use crate::rendered::Rendered;
use crate::reply::{Reply, ReplyBody, empty};

/// The content security policy: a page may load only files of its own origin. Only images, such as
/// images of items, may come from other origins by HTTPS.
pub(super) const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                              img-src 'self' data: https:; font-src 'self'; connect-src 'self'; \
                              form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

#[derive(Debug)]
pub(crate) struct AssetFile {
    pub(super) plain: Rendered,
    /// The file in each coding, compressed at the first request for this coding. The inner `None`
    /// means that the coding does not make the file smaller.
    packed: [OnceLock<Option<Rendered>>; Coding::ALL.len()],
    media_type: HeaderValue,
    cache: HeaderValue,
}

impl AssetFile {
    pub(super) fn new(plain: Rendered, media_type: &'static str, cache: HeaderValue) -> Self {
        let media_type = HeaderValue::from_static(media_type);
        Self { plain, packed: Default::default(), media_type, cache }
    }

    /// Returns a file for a page that the server has rendered. Caches may keep it as long as other
    /// pages.
    pub(crate) fn page(html: String) -> Self {
        let media_type = media_type_of(".html").unwrap_or_default();
        Self::new(Rendered::from_bytes(html.into()), media_type, CACHE_BRIEFLY)
    }

    pub(crate) fn reply(&self, headers: &HeaderMap) -> Reply {
        let coding = compress::accepted(headers).filter(|coding| self.packed(*coding).is_some());
        let it = coding.and_then(|coding| self.packed(coding)).unwrap_or(&self.plain);
        let etag = it.etag.to_str().expect("an ETag is ASCII");
        let known =
            if_none_match(headers.get_all(IF_NONE_MATCH).iter().map(HeaderValue::as_bytes), etag);
        let mut reply = match known {
            true => empty(StatusCode::NOT_MODIFIED),
            false => Response::new(ReplyBody::Bytes(Some(it.bytes.clone()))),
        };
        let head = reply.headers_mut();
        head.insert(ETAG, it.etag.clone());
        head.insert(CACHE_CONTROL, self.cache.clone());
        head.insert(VARY, HeaderValue::from_static("accept-encoding"));
        head.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_POLICY));
        head.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        head.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if !known {
            head.insert(CONTENT_TYPE, self.media_type.clone());
            if let Some(coding) = coding {
                head.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
            }
        }
        reply
    }

    fn packed(&self, coding: Coding) -> Option<&Rendered> {
        self.packed[coding as usize]
            .get_or_init(|| {
                coding.pack(&self.plain.bytes).map(|packed| Rendered::from_bytes(packed.into()))
            })
            .as_ref()
    }

    pub(crate) fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.plain.bytes)
    }
}
