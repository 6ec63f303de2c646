//! How a dormitory is closed when the server stops: everybody is told so in their sleep, and waited for like those who are awake.

use std::collections::HashMap;
use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Dormitory, Sleeper, is_later};
use crate::metrics::Present;
use crate::web::connection::Connection;
use crate::web::events::frame::{farewell, is_farewell};
use crate::web::events::socket::{GOING_AWAY, Reader, STOPPING};
use crate::web::limits::{CLOSE_TIMEOUT, FAREWELL_BYTES, SLEEPERS_AT_ONCE};
use crate::web::socket::Socket;

/// One who was told farewell and has not left yet.
struct Leaver {
    stream: TcpStream,
    connection: Arc<Connection>,
    _present: Present,
}

impl Leaver {
    /// What waited in the hub is given up.
    fn new(stream: TcpStream, reader: Reader) -> Self {
        let Reader { connection, _present, .. } = reader;
        Self { stream, connection, _present }
    }

    /// Whether the other end has left, or leaves. Whatever else it says is nobody's.
    fn is_gone(&self) -> bool {
        let mut bytes = [0; FAREWELL_BYTES];
        match (&self.stream).read(&mut bytes) {
            Ok(read) => read == 0 || is_farewell(&bytes[..read]),
            Err(error) => !is_later(&error),
        }
    }
}

impl Dormitory {
    /// Tells everybody farewell, and waits until they have left; until the `cut` at most.
    pub(super) async fn close(
        mut self,
        newcomers: &mut mpsc::Receiver<Box<Sleeper>>,
        cut: &CancellationToken,
    ) {
        // Nobody lies down here any more; whoever has a bed comes still.
        newcomers.close();
        while let Some(sleeper) = newcomers.recv().await {
            self.lay_down(sleeper);
        }
        let words = farewell(GOING_AWAY, STOPPING);
        let mut leavers = HashMap::new();
        for (at, key) in self.keys().into_iter().enumerate() {
            if at.is_multiple_of(SLEEPERS_AT_ONCE) {
                yield_now().await;
            }
            leavers.extend(self.part(key, &words).map(|leaver| (key, leaver)));
        }
        let late = Instant::now() + CLOSE_TIMEOUT;
        while !leavers.is_empty() {
            tokio::select! {
                spoke = self.ears.speakers() => match spoke {
                    Ok(keys) => leave(&mut leavers, &keys),
                    // Nobody can be waited for.
                    Err(_) => return,
                },
                // Those who do not leave are left.
                () = sleep_until(late) => return,
                () = cut.cancelled() => return,
            }
            yield_now().await;
        }
    }

    /// Tells a sleeper farewell. `None`: it is gone, or has a task of its own because it did not take that at once.
    fn part(&mut self, key: u64, words: &[u8]) -> Option<Leaver> {
        let sent = self.sleepers.get(&key)?.send(words);
        match sent {
            Ok(written) if written == words.len() => {
                let sleeper = *self.sleepers.remove(&key)?;
                Some(Leaver::new(sleeper.stream, sleeper.reader))
            }
            Ok(written) => {
                let (stream, reader) = self.take(key)?;
                see_off(
                    Leaver::new(stream, reader),
                    words[written..].to_vec(),
                    self.app.write_stall,
                );
                None
            }
            Err(_) => {
                drop(self.take(key));
                None
            }
        }
    }
}

/// Lets those go who have left.
fn leave(leavers: &mut HashMap<u64, Leaver>, spoke: &[u64]) {
    for key in spoke {
        if leavers.get(key).is_some_and(Leaver::is_gone) {
            leavers.remove(key);
        }
    }
}

/// Tells somebody the rest of a farewell in a task of its own, and waits until it has left.
fn see_off(leaver: Leaver, rest: Vec<u8>, stall: Duration) {
    tokio::spawn(async move {
        let Leaver { stream, connection, _present } = leaver;
        // What cannot be watched cannot be served.
        let Ok(stream) = tokio::net::TcpStream::from_std(stream) else { return };
        let mut socket = Socket::new(stream, Vec::new(), stall);
        let leaving = async {
            if socket.write_all(&rest).await.is_err() {
                return;
            }
            let mut bytes = [0; FAREWELL_BYTES];
            while let Ok(read) = socket.read(&mut bytes).await {
                if read == 0 || is_farewell(&bytes[..read]) {
                    return;
                }
            }
        };
        tokio::select! {
            () = leaving => {}
            () = sleep(CLOSE_TIMEOUT) => {}
            () = connection.cut.cancelled() => {}
        }
    });
}
