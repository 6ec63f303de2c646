//! Sends messages to push services. [`MessageQueue`] limits the waiting messages, the concurrent
//! requests and the attempts. A message that expires before its delivery is dropped.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use doorbuster_base::counter::Counter;
use doorbuster_base::outgoing::OutgoingClient;
use doorbuster_base::vapid::VapidKey;
use doorbuster_core::Millis;
use doorbuster_engine::node::Node;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::StatusCode;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::encrypt::encrypt;
use super::message::PushMessage;
use super::metrics::MessageOutcome;
use super::queue::{MessageQueue, QueuedMessage};
use crate::{AddressGuard, check_address, guarded_client};

const TIMEOUT: Duration = Duration::from_secs(10);

enum Attempt {
    Done(MessageOutcome),
    /// The attempt failed, but another attempt may succeed.
    Failed(String),
}

pub(super) struct Sender {
    key: VapidKey,
    contact: String,
    guard: AddressGuard,
    client: OutgoingClient,
    messages: Mutex<MessageQueue>,
    added: Notify,
    outcomes: [Counter; MessageOutcome::ALL.len()],
}

impl fmt::Debug for Sender {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Sender({:?})", self.key)
    }
}

impl Sender {
    pub(super) fn new(key: VapidKey, contact: String, guard: AddressGuard) -> Self {
        let client = guarded_client(guard.clone(), TIMEOUT);
        let (messages, outcomes) = (Mutex::default(), Default::default());
        Self { key, contact, guard, client, messages, added: Notify::new(), outcomes }
    }

    pub(super) fn renew_client(&self) {
        self.client.renew();
    }

    /// Checks the address of a browser's subscription. The rules are those for the addresses of
    /// webhooks.
    pub(super) async fn check(&self, endpoint: &str) -> Result<(), &'static str> {
        let url = check_address(endpoint, &self.guard)?;
        self.guard.refuse_private_host(&url).await
    }

    /// Adds a message to the queue. If the queue is full, a message is lost. This loss is allowed,
    /// because the buyer also sees the change on the page.
    pub(super) fn queue(&self, message: PushMessage) {
        if !self.lock().add(message, Instant::now()) {
            self.outcomes[MessageOutcome::Dropped as usize].add_one();
            tracing::debug!("dropped a push message, because too many messages wait");
        }
        self.added.notify_one();
    }

    pub(super) fn has_room(&self, count: usize) -> bool {
        self.lock().has_room(count)
    }

    /// Sends messages to live subscriptions until the future is dropped. Deletes a subscription
    /// that has ended at the push service, and calls `gone` with the subscription's id.
    ///
    /// After the future is dropped, `run` must not be called again: the queue would still count the
    /// requests that the dropped future had started.
    pub(super) async fn run(&self, node: &Node, is_live: impl Fn(u64) -> bool, gone: impl Fn(u64)) {
        let mut sending = FuturesUnordered::new();
        loop {
            let now = Instant::now();
            while let Some(queued) = self.next(now) {
                // The subscription may have ended while the message waited.
                if is_live(queued.message.id) {
                    sending.push(self.send(node, &gone, queued));
                } else {
                    self.outcomes[MessageOutcome::Gone as usize].add_one();
                    self.lock().finish(&queued);
                }
            }
            let due = self.lock().next_due_at(now);
            let pause = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(()) = sending.next(), if !sending.is_empty() => {}
                () = self.added.notified() => {}
                () = pause => {}
            }
        }
    }

    fn next(&self, now: Instant) -> Option<QueuedMessage> {
        self.lock().next(now)
    }

    async fn send(&self, node: &Node, gone: &impl Fn(u64), queued: QueuedMessage) {
        let id = queued.message.id;
        let outcome = match self.attempt(node, &queued.message).await {
            Attempt::Done(outcome) => outcome,
            Attempt::Failed(error) => {
                tracing::debug!(error, "failed to send a push message");
                if !self.lock().retry(queued, Instant::now()) {
                    self.outcomes[MessageOutcome::Failed as usize].add_one();
                }
                return;
            }
        };
        self.outcomes[outcome as usize].add_one();
        if outcome == MessageOutcome::Gone {
            gone(id);
            if let Err(error) = node.store().delete_push_subscription(id).await {
                // The row stays in the store, so a node loads the subscription again. When that
                // node sends the next message, the push service reports once more that the
                // subscription has ended. The node then makes another attempt to delete the row.
                tracing::debug!(%error, "failed to delete a browser's subscription");
            }
        }
        self.lock().finish(&queued);
    }

    fn lock(&self) -> MutexGuard<'_, MessageQueue> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn messages(&self, outcome: MessageOutcome) -> u64 {
        self.outcomes[outcome as usize].get()
    }

    async fn attempt(&self, node: &Node, message: &PushMessage) -> Attempt {
        let ttl_secs = (message.until.0 - node.now().0).div_euclid(1_000);
        if ttl_secs <= 0 {
            return Attempt::Done(MessageOutcome::Expired);
        }
        // The request's token has an end time, which the push service compares with its own clock.
        // So the token uses the wall clock and not the store's time.
        match self.request(node.clock().wall(), ttl_secs, message).await {
            Ok(status) if status.is_success() => Attempt::Done(MessageOutcome::Sent),
            Ok(StatusCode::NOT_FOUND | StatusCode::GONE) => Attempt::Done(MessageOutcome::Gone),
            Ok(status) if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Attempt::Failed(format!("the push service answered {}", status.as_u16()))
            }
            // The push service refused the message itself, so another attempt would fail too.
            Ok(_) => Attempt::Done(MessageOutcome::Failed),
            Err(error) => Attempt::Failed(error),
        }
    }

    async fn request(
        &self,
        now: Millis,
        ttl_secs: i64,
        message: &PushMessage,
    ) -> Result<StatusCode, String> {
        let url = check_address(&message.target.endpoint, &self.guard)?;
        let origin = url.origin().ascii_serialization();
        let authorization = self.key.authorization(&origin, &self.contact, now);
        let authorization = authorization.ok_or("the token cannot be signed")?;
        let body = encrypt(&message.target.keys, &message.body);
        let body = body.ok_or("the browser's key is not valid")?;
        let made = self.client.get();
        let client = made.map_err(|error| format!("cannot create an HTTP client: {error}"))?;
        let request = client
            .post(url)
            .header(AUTHORIZATION, authorization)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_ENCODING, "aes128gcm")
            .header("TTL", ttl_secs)
            .header("Urgency", "high")
            .header("Topic", &message.topic)
            .body(body);
        let answer = request.send().await.map_err(|error| error.without_url().to_string())?;
        Ok(answer.status())
    }
}
