//! Refuses a connection over the limit: one answer, then it is closed.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::limits::{OVER_CAPACITY_TIMEOUT, RETRY_SECS};
use doorbuster_api::problem::{MEDIA_TYPE, Problem};

/// Tells the client to retry later, and closes the connection.
pub(crate) async fn turn_away(mut stream: TcpStream) {
    let body = Problem::overloaded(RETRY_SECS).to_json();
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {MEDIA_TYPE}\r\n\
         retry-after: {RETRY_SECS}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let sending = async {
        // Closing with unread bytes would reset the connection, and the reset may overtake the
        // answer.
        let mut unread = [0; 2048];
        let _ = stream.read(&mut unread).await;
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(&body).await;
        let _ = stream.shutdown().await;
        while matches!(stream.read(&mut unread).await, Ok(read) if read > 0) {}
    };
    // A slower client is closed without the answer.
    let _ = tokio::time::timeout(OVER_CAPACITY_TIMEOUT, sending).await;
}
