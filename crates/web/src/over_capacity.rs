//! Refuses a connection that exceeds the limit of connections: sends one answer and closes the
//! connection.

use doorbuster_api::problem::{MEDIA_TYPE, Problem};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::limits::{OVER_CAPACITY_TIMEOUT, RETRY_SECS};

/// Tells the client to retry later, and closes the connection.
pub(crate) async fn turn_away(mut stream: TcpStream) {
    let body = Problem::overloaded(RETRY_SECS).to_json();
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {MEDIA_TYPE}\r\n\
         retry-after: {RETRY_SECS}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let sending = async {
        // If the server closed the connection while it has unread bytes, the connection would be
        // reset. The reset may arrive before the answer. So the server reads these bytes first.
        let mut unread = [0; 2048];
        let _ = stream.read(&mut unread).await;
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(&body).await;
        let _ = stream.shutdown().await;
        while matches!(stream.read(&mut unread).await, Ok(read) if read > 0) {}
    };
    // After the timeout, the connection closes even if the client has not read the answer.
    let _ = tokio::time::timeout(OVER_CAPACITY_TIMEOUT, sending).await;
}
