//! Sends messages to push services. The queue of messages, the number of concurrent requests, and
//! the number of attempts for a message are bounded. A message that cannot be delivered before it
//! expires is dropped.

use std::fmt;
use std::time::Duration;

use doorbuster_base::outgoing::OutgoingClient;
use doorbuster_base::vapid::VapidKey;
use doorbuster_core::Millis;
use doorbuster_engine::node::Node;
use futures_util::StreamExt;
use futures_util::stream::poll_fn;
use http::StatusCode;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use tokio::sync::{Mutex, mpsc};

use super::PushMessage;
use super::encrypt::encrypt;
use super::metrics::{MessageMetrics, MessageOutcome};
use crate::{AddressGuard, check_address, guarded_client};

/// The maximum number of messages that wait. At this bound, further messages are dropped.
const QUEUE_MAX: usize = 1_000;
/// The maximum number of requests to push services at the same time.
const AT_ONCE_MAX: usize = 8;
/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The pauses before the second and later attempts.
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(8)];

/// The result of one attempt.
enum Attempt {
    Done(MessageOutcome),
    /// The attempt failed, but another attempt may succeed.
    Failed(String),
}

/// Sends messages.
pub(super) struct Sender {
    key: VapidKey,
    contact: String,
    guard: AddressGuard,
    client: OutgoingClient,
    queue: mpsc::Sender<PushMessage>,
    waiting: Mutex<mpsc::Receiver<PushMessage>>,
    metrics: MessageMetrics,
}

impl fmt::Debug for Sender {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Sender({:?})", self.key)
    }
}

impl Sender {
    pub(super) fn new(key: VapidKey, contact: String, guard: AddressGuard) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let client = guarded_client(guard.clone(), TIMEOUT);
        let (waiting, metrics) = (Mutex::new(waiting), MessageMetrics::default());
        Self { key, contact, guard, client, queue, waiting, metrics }
    }

    /// Makes the next message use the system's newest certificates.
    pub(super) fn renew_client(&self) {
        self.client.renew();
    }

    /// Checks whether requests may go to an address. The rule is the same as for webhooks.
    pub(super) async fn check(&self, endpoint: &str) -> Result<(), &'static str> {
        let url = check_address(endpoint, &self.guard)?;
        self.guard.refuse_private_host(&url).await
    }

    /// Adds a message to the queue. If the queue is full, drops the message, because the buyer also
    /// sees the change on the page.
    pub(super) fn queue(&self, message: PushMessage) {
        if self.queue.try_send(message).is_err() {
            self.metrics.count(MessageOutcome::Dropped);
            tracing::debug!("dropped a push message, because too many messages wait");
        }
    }

    /// Adds a message to the queue as soon as the queue has room.
    pub(super) async fn queue_when_free(&self, message: PushMessage) {
        if self.queue.send(message).await.is_err() {
            self.metrics.count(MessageOutcome::Dropped);
        }
    }

    /// Sends messages until the future is dropped. If a push service answers that a subscription
    /// has ended, deletes the subscription and calls `gone`.
    pub(super) async fn run(&self, node: &Node, gone: impl Fn(u64)) {
        let mut waiting = self.waiting.lock().await;
        let messages = poll_fn(move |context| waiting.poll_recv(context));
        let gone = &gone;
        let send = |message: PushMessage| async move {
            let id = message.id;
            let outcome = self.deliver(node, message).await;
            self.metrics.count(outcome);
            if outcome == MessageOutcome::Gone {
                gone(id);
                if let Err(error) = node.store().delete_push_subscription(id).await {
                    // The row stays in the store, so a node loads the subscription again. After the
                    // next message to this subscription, the server tries the deletion again.
                    tracing::debug!(%error, "failed to delete a browser's subscription");
                }
            }
        };
        messages.for_each_concurrent(AT_ONCE_MAX, send).await;
    }

    /// Tries to deliver a message. Stops after a few attempts, or when the message expires.
    async fn deliver(&self, node: &Node, message: PushMessage) -> MessageOutcome {
        let mut pauses = PAUSES.iter();
        loop {
            let error = match self.attempt(node.now(), &message).await {
                Attempt::Done(outcome) => return outcome,
                Attempt::Failed(error) => error,
            };
            tracing::debug!(error, "failed to send a push message");
            let Some(pause) = pauses.next() else { return MessageOutcome::Failed };
            tokio::time::sleep(*pause).await;
        }
    }

    /// Returns the number of messages with this outcome.
    pub(super) fn messages(&self, outcome: MessageOutcome) -> u64 {
        self.metrics.get(outcome)
    }

    async fn attempt(&self, now: Millis, message: &PushMessage) -> Attempt {
        let ttl_secs = (message.until.0 - now.0).div_euclid(1_000);
        if ttl_secs <= 0 {
            return Attempt::Done(MessageOutcome::Expired);
        }
        match self.request(now, ttl_secs, message).await {
            Ok(status) if status.is_success() => Attempt::Done(MessageOutcome::Sent),
            Ok(StatusCode::NOT_FOUND | StatusCode::GONE) => Attempt::Done(MessageOutcome::Gone),
            Ok(status) if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Attempt::Failed(format!("the push service answered {}", status.as_u16()))
            }
            // The push service refused the message, and would also refuse another attempt.
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
