//! Sends the sandbox's messages to this server over HTTP, as a real provider does. Sends each
//! message until the server answers 200, at most [`SENDS_MAX`] times.
//!
//! Before the sandbox stores a message, it writes an announcement under `due/`. The key of the
//! announcement contains the time at which the message must be sent. With these keys, the sender
//! finds every message, even after a restart.
//!
//! Every node with the role `api` sends the messages to itself. So a message can be sent several
//! times, but the server applies it only once.
use std::time::Duration;

use doorbuster_base::failpoint::{self, Failpoint};
use doorbuster_base::signing;
use doorbuster_core::Millis;
use doorbuster_core::backoff::backoff_ms;
use doorbuster_engine::error::EngineError;
use doorbuster_engine::outage_log;

use super::{POLL_INTERVAL, Sandbox};

pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
const PAGE_SIZE: usize = 200;
/// The sandbox sends a message at most this many times. After that, the server learns of the
/// payment when it asks about the checkout.
const SENDS_MAX: u32 = 30;
/// The longest pause between two attempts to send one message, in milliseconds.
const PAUSE_MS_MAX: i64 = 15_000;
/// How long an announcement may exist without its message, in milliseconds. If the message is still
/// missing after this time, the node stopped before it stored the message. So the announcement is
/// ignored.
const ORPHAN_MS: i64 = 30_000;
/// The stored value of an announcement whose message needs no further attempt to send it.
const SENT: &str = "done";

impl Sandbox {
    /// Writes the announcement of a message of `session`, and returns the announcement's key.
    pub(super) async fn schedule_message(
        &self,
        session: &str,
        due: Millis,
    ) -> Result<String, EngineError> {
        let key = format!("due/{:020}/{session}/{:016x}", due.0.max(0), rand::random::<u64>());
        self.node.store().sandbox_swap(key.clone(), None, String::new()).await?;
        Ok(key)
    }

    pub(crate) async fn send_messages(&self) {
        let mut from = String::new();
        loop {
            if self.address.get().is_some()
                && let Err(error) = self.send_due(&mut from).await
            {
                outage_log::warn!(
                    self.node.outage_log(),
                    error,
                    event = "sandbox.delivery_failed",
                    "failed to send the sandbox's messages; will retry"
                );
            }
            drop(tokio::time::timeout(POLL_INTERVAL, self.wake.notified()).await);
        }
    }

    /// Sends the due messages whose announcements have keys after `from`. Moves `from` past the
    /// first announcements for which nothing is left to send.
    async fn send_due(&self, from: &mut String) -> Result<(), EngineError> {
        let mut after = from.clone();
        let mut all_done = true;
        loop {
            let page =
                self.node.store().sandbox_list("due/".to_owned(), after.clone(), PAGE_SIZE).await?;
            let is_last = page.len() < PAGE_SIZE;
            for (key, value) in page {
                let now = self.node.now();
                let Some((due, session)) = parse_announcement(&key) else { continue };
                if due > now.0 {
                    return Ok(());
                }
                all_done &= value == SENT || self.send_announced(&key, due, session, now).await?;
                // Another node may still write an announcement whose time has just passed. So
                // `from` moves only past announcements that have been due for more than
                // [`ORPHAN_MS`].
                if all_done && now.0 - due > ORPHAN_MS {
                    from.clone_from(&key);
                }
                after = key;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Sends the messages of one announcement. Returns `true` if nothing is left to do: every
    /// message was accepted or dropped, or no message was stored in time.
    async fn send_announced(
        &self,
        key: &str,
        due: i64,
        id: &str,
        now: Millis,
    ) -> Result<bool, EngineError> {
        let posts = self.session(id).await?.map(|session| session.posts).unwrap_or_default();
        let announced: Vec<_> = posts.into_iter().filter(|post| post.notice == key).collect();
        let mut is_over = if announced.is_empty() { now.0 - due > ORPHAN_MS } else { true };
        for post in announced.into_iter().filter(|post| !post.done) {
            if post.due > now.0 {
                is_over = false;
                continue;
            }
            let is_taken = self.send(&post.id, &post.body).await;
            if is_taken {
                failpoint::reach(Failpoint::SandboxPosted);
            }
            let done = self.update_session(id, |session| {
                let known = session.posts.iter_mut().find(|known| known.id == post.id)?;
                known.tries += 1;
                known.done |= is_taken || known.tries >= SENDS_MAX;
                known.due = now.0 + backoff_ms(known.tries).min(PAUSE_MS_MAX);
                Some(known.done)
            });
            is_over &= done.await?.flatten().unwrap_or(true);
        }
        if is_over {
            self.node
                .store()
                .sandbox_swap(key.to_owned(), Some(String::new()), SENT.to_owned())
                .await?;
        }
        Ok(is_over)
    }

    /// Returns `true` if this server accepted the message.
    async fn send(&self, id: &str, body: &str) -> bool {
        let Some(address) = self.address.get() else { return false };
        let at_secs = self.node.now().0.div_euclid(1_000);
        let signature = signing::sign(id, at_secs, body.as_bytes(), &self.keys);
        let sent = self
            .http
            .post(format!("{address}/v1/payments/sandbox/webhook"))
            .header("content-type", "application/json")
            .header(signing::ID_HEADER, id)
            .header(signing::TIMESTAMP_HEADER, at_secs.to_string())
            .header(signing::SIGNATURE_HEADER, signature)
            .body(body.to_owned())
            .send();
        match sent.await {
            Ok(answer) if answer.status().as_u16() == 200 => true,
            Ok(answer) => {
                tracing::warn!(
                    id,
                    status = answer.status().as_u16(),
                    event = "sandbox.message_refused",
                    "the server did not accept a message of the sandbox"
                );
                false
            }
            Err(error) => {
                tracing::debug!(id, %error, "failed to deliver a message of the sandbox");
                false
            }
        }
    }
}

pub(super) fn parse_announcement(key: &str) -> Option<(i64, &str)> {
    let (due, rest) = key.strip_prefix("due/")?.split_once('/')?;
    Some((due.parse().ok()?, rest.split_once('/')?.0))
}
