//! Word to a connection over the cap: one answer, then it is closed.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::limits::{OVER_CAPACITY_TIMEOUT, RETRY_SECS};
use doorbuster_api::problem::{MEDIA_TYPE, Problem};

/// Tells a client to come again, and closes.
pub(crate) async fn turn_away(mut stream: TcpStream) {
    let body = Problem::overloaded(RETRY_SECS).to_json();
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {MEDIA_TYPE}\r\nretry-after: {RETRY_SECS}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    let telling = async {
        // A request that is not read would turn the close into a reset, which may outrun the
        // answer.
        let mut unread = [0; 2048];
        let _ = stream.read(&mut unread).await;
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(&body).await;
        let _ = stream.shutdown().await;
        while matches!(stream.read(&mut unread).await, Ok(read) if read > 0) {}
    };
    // Whoever is slower than this was told nothing worth waiting for.
    let _ = tokio::time::timeout(OVER_CAPACITY_TIMEOUT, telling).await;
}
