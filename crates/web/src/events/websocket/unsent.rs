//! Sends the rest of a frame that an idle WebSocket did not accept at once.

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::events::feed::FeedEvent;
use crate::events::idle_connection::WebSocketReader;
use crate::guarded_stream::GuardedStream;
use crate::limits::CLOSE_TIMEOUT;

/// Only a part of a frame was sent, so the server cannot send another frame, not even a close
/// frame.
pub(super) struct PartialFrame;

/// Sends the rest of the frame. Returns a reason if the connection must end. In this case, the
/// client gets a short time to read the rest, so that a close frame can follow.
pub(super) async fn send_unsent(
    socket: &mut GuardedStream,
    unsent: Vec<u8>,
    reader: &mut WebSocketReader,
) -> Result<Option<FeedEvent>, PartialFrame> {
    let app = reader.feed.app().clone();
    let mut rest = Bytes::from(unsent);
    let end = tokio::select! {
        biased;
        sent = socket.write_all_buf(&mut rest) => {
            return sent.map(|()| None).map_err(|_| PartialFrame);
        }
        end = reader.feed.must_end() => Some(end),
        () = app.stop.cancelled() => None,
        () = reader.connection.cut.cancelled() => None,
    };
    let Some(end) = end else { return Err(PartialFrame) };
    tokio::select! {
        sent = timeout(CLOSE_TIMEOUT, socket.write_all_buf(&mut rest)) => match sent {
            Ok(Ok(())) => Ok(Some(end)),
            _ => Err(PartialFrame),
        },
        () = reader.connection.cut.cancelled() => Err(PartialFrame),
    }
}
