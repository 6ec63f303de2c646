//! Reads and drops bodies that no handler read, such as the body of a request with an invalid key.
//!
//! If the server closes a connection with unread bytes, the kernel sends a reset. The client may
//! then lose the response. So the server reads the rest of the body, within limits, before it sends
//! the response.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http::header::EXPECT;
use hyper::body::{Body, Frame, SizeHint};

use super::limits::DRAIN_BYTES_MAX;
use super::request_body::drain;

type BodySlot<B> = Arc<Mutex<Option<B>>>;

/// A body that is lent to a handler. If the handler drops the body before all of it was read, the
/// rest of the body is stored in `back`.
pub(crate) struct RecoverableBody<B: Body + Unpin> {
    body: Option<B>,
    back: BodySlot<B>,
}

pub(crate) struct UnreadBody<B>(BodySlot<B>);

pub(crate) fn lend<B: Body + Unpin>(body: B) -> (RecoverableBody<B>, UnreadBody<B>) {
    let back = BodySlot::default();
    (RecoverableBody { body: Some(body), back: back.clone() }, UnreadBody(back))
}

impl<B: Body<Data = Bytes> + Unpin> UnreadBody<B> {
    pub(crate) async fn discard(self, headers: &HeaderMap) {
        let left = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(body) = left {
            discard(headers, body).await;
        }
    }
}

/// Reads and drops the body. Does nothing if the client waits for `100 Continue`, or if the body is
/// too long.
pub(crate) async fn discard<B: Body<Data = Bytes>>(headers: &HeaderMap, body: B) {
    let waits = headers.contains_key(EXPECT);
    if !waits && !body.is_end_stream() && body.size_hint().lower() <= DRAIN_BYTES_MAX as u64 {
        drain(std::pin::pin!(body)).await;
    }
}

impl<B: Body + Unpin> Drop for RecoverableBody<B> {
    fn drop(&mut self) {
        if let Some(body) = self.body.take()
            && !body.is_end_stream()
        {
            *self.back.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}

impl<B: Body + Unpin> Body for RecoverableBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}
