//! A webhook endpoint that refuses most events, so that the server must retry deliveries.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;

/// The endpoint accepts one event out of this many, and refuses the others.
const ACCEPTED_OF: u64 = 4;
const TIMEOUT: Duration = Duration::from_secs(30);

/// The endpoint. Its thread runs until the process ends.
pub(super) struct FailingEndpoint {
    addr: SocketAddr,
    seen: Arc<AtomicU64>,
}

impl FailingEndpoint {
    pub(super) fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen for webhooks")?;
        let addr = listener.local_addr()?;
        let seen = Arc::new(AtomicU64::new(0));
        let counted = seen.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counted = counted.clone();
                // Each connection has its own thread. There are only a few threads, because the
                // server reuses its connections.
                std::thread::spawn(move || drop(answer(stream, &counted)));
            }
        });
        Ok(Self { addr, seen })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/events", self.addr)
    }

    /// Returns the number of refused events and the number of accepted events.
    pub(super) fn counts(&self) -> [u64; 2] {
        let seen = self.seen.load(Ordering::Relaxed);
        [seen - seen / ACCEPTED_OF, seen / ACCEPTED_OF]
    }
}

fn answer(stream: TcpStream, seen: &AtomicU64) -> std::io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(digits) = line.strip_prefix("content-length:") {
                length = digits.trim().parse().unwrap_or(0);
            }
            if line.is_empty() {
                break;
            }
        }
        std::io::copy(&mut stream.by_ref().take(length), &mut std::io::sink())?;
        let number = seen.fetch_add(1, Ordering::Relaxed) + 1;
        let status = if number.is_multiple_of(ACCEPTED_OF) { "204 No Content" } else { "500 Oops" };
        let reply = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        // A response with status `204` must not have a `Content-Length`.
        let reply = if status.starts_with("204") {
            reply.replace("Content-Length: 0\r\n", "")
        } else {
            reply
        };
        stream.get_mut().write_all(reply.as_bytes())?;
    }
}
