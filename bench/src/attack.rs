//! Hostile clients that run beside the buyers. Some never read their WebSockets, some never
//! complete a request head, and some send oversized headers.
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::limits::{ADMIN_WITHIN, BOMBS_PER_SEC, DEAD_SOCKETS, SLOW_HEADS};
use crate::sockets;
use doorbuster_harness::generator::buyers::Buyers;
use doorbuster_harness::generator::cores;

/// The time between two bytes of a request head that never ends.
const SLOW_BYTE_INTERVAL: Duration = Duration::from_millis(400);
/// The size of an oversized header. It exceeds the server's limit.
const BOMB_BYTES: usize = 64 * 1024;

/// Hostile clients, which run until [`Attack::end`] is called.
#[derive(Debug)]
pub struct Attack {
    dead: Vec<TcpStream>,
    over: Arc<AtomicBool>,
    slow: JoinHandle<Result<()>>,
    bombs: JoinHandle<Result<(u64, u64)>>,
}

impl Attack {
    /// Starts the attack. If `core` is set, the clients run on this core. Returns when every
    /// WebSocket has received its first event of the sale and the other clients are running.
    ///
    /// # Errors
    ///
    /// Fails if a WebSocket gets no first event.
    pub fn start(
        addr: SocketAddr,
        core: Option<usize>,
        buyers: &Buyers,
        sale: &str,
    ) -> Result<Self> {
        let mut dead = Vec::with_capacity(DEAD_SOCKETS);
        for number in 0..DEAD_SOCKETS {
            let mut stream =
                TcpStream::connect(addr).with_context(|| format!("socket {number} failed"))?;
            stream.set_read_timeout(Some(ADMIN_WITHIN))?;
            sockets::follow_sale(&mut stream, sale, &buyers.token(number as u32))
                .with_context(|| format!("socket {number} failed"))?;
            dead.push(stream);
        }
        let over = Arc::new(AtomicBool::new(false));
        let pinned = move || core.map_or(Ok(()), cores::pin);
        let until = over.clone();
        let slow = std::thread::spawn(move || pinned().and_then(|()| slow_heads(addr, &until)));
        let until = over.clone();
        let bombs = std::thread::spawn(move || pinned().and_then(|()| bombs(addr, &until)));
        Ok(Self { dead, over, slow, bombs })
    }

    /// Ends the attack. Returns two counts of oversized headers: those that the server answered
    /// with `431`, and those for which it closed the connection without an answer.
    ///
    /// # Errors
    /// Fails if the server answered an oversized header with a status other than `431`, or if it
    /// never answered with `431`.
    pub fn end(self) -> Result<(u64, u64)> {
        self.over.store(true, Ordering::Release);
        self.slow.join().expect("slow heads do not panic")?;
        let (refused, reset) = self.bombs.join().expect("large headers do not panic")?;
        ensure!(refused > 0, "no large header was refused");
        drop(self.dead);
        Ok((refused, reset))
    }
}

/// Sends many request heads byte by byte, and never completes a head.
fn slow_heads(addr: SocketAddr, over: &AtomicBool) -> Result<()> {
    let connect = || -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(addr)?;
        stream.write_all(b"POST /v1/orders HTTP/1.1\r\nHost: shop.example\r\nX-Slow: a")?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    };
    let mut heads = (0..SLOW_HEADS)
        .map(|_| connect())
        .collect::<std::io::Result<Vec<_>>>()
        .context("cannot connect for the slow heads")?;
    while !over.load(Ordering::Acquire) {
        let begun = Instant::now();
        for head in &mut heads {
            let is_open = head.write(b"a").is_ok() && !has_received_data(head);
            // `connect` fails if the server refuses a new connection from this client. The next
            // pass of the loop then tries to connect again.
            if !is_open && let Ok(next) = connect() {
                *head = next;
            }
        }
        std::thread::sleep(SLOW_BYTE_INTERVAL.saturating_sub(begun.elapsed()));
    }
    Ok(())
}

/// Returns whether the server has sent an answer or has closed the connection. The request is
/// incomplete, so in both cases the server has refused the request.
fn has_received_data(stream: &TcpStream) -> bool {
    !stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

fn bombs(addr: SocketAddr, over: &AtomicBool) -> Result<(u64, u64)> {
    let bomb = format!(
        "GET /v1/sales HTTP/1.1\r\nHost: shop.example\r\nX-Bomb: {}\r\n\r\n",
        "x".repeat(BOMB_BYTES)
    );
    let (mut refused, mut reset) = (0, 0);
    let mut due = Instant::now();
    while !over.load(Ordering::Acquire) {
        let Ok(mut stream) = TcpStream::connect(addr) else { continue };
        stream.set_read_timeout(Some(ADMIN_WITHIN))?;
        // The error of this write is ignored: the server may close the connection before it has
        // read all bytes.
        let _ = stream.write_all(bomb.as_bytes());
        let mut head = [0; 12];
        match stream.read_exact(&mut head) {
            Ok(()) => {
                ensure!(
                    head == *b"HTTP/1.1 431",
                    "an oversized header was answered with {:?} instead of status 431",
                    String::from_utf8_lossy(&head)
                );
                refused += 1;
            }
            Err(_) => reset += 1,
        }
        due += Duration::from_secs(1) / BOMBS_PER_SEC;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok((refused, reset))
}
