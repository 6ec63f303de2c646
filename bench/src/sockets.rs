//! WebSockets of buyers.
use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Result, bail};

/// Upgrades this connection to a WebSocket that follows one sale, and waits for the first event.
///
/// # Errors
/// Fails if the first event does not arrive.
pub fn follow_sale(stream: &mut TcpStream, sale: &str, token: &str) -> Result<()> {
    let request = format!(
        "GET /v1/ws?sale={sale} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: doorbuster.v1\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut received = Vec::new();
    let mut inbox = [0; 4096];
    while !received.windows(7).any(|w| w == b"\"hello\"") {
        let read = stream.read(&mut inbox)?;
        if read == 0 || received.len() > 64 * 1024 {
            bail!("no first event: {}", String::from_utf8_lossy(&received));
        }
        received.extend_from_slice(&inbox[..read]);
    }
    Ok(())
}
