//! The messages that wait, and the number of requests to each push service. Each push service gets
//! at most a part of the concurrent requests. A message that waits for its next attempt does not
//! count as a request. So a push service that does not answer does not stop the messages to other
//! push services.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use tokio::time::Instant;

use super::message::PushMessage;

/// The maximum number of messages that wait. At this bound, the server drops a message for each new
/// message: the last message of the push service for which the most messages wait. Because of
/// messages that wait for another attempt, the number may exceed this bound by [`AT_ONCE_MAX`].
const WAITING_MAX: usize = 1_000;
/// The maximum number of requests to push services at the same time. Further messages wait.
const AT_ONCE_MAX: usize = 32;
/// The maximum number of requests to one push service at the same time. Further messages wait.
const SERVICE_AT_ONCE_MAX: usize = 8;
/// The pauses before the second and later attempts.
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(8)];

/// A message with the state of its attempts.
#[derive(Debug)]
pub(super) struct QueuedMessage {
    pub message: PushMessage,
    /// The origin of the push service's address.
    service: Arc<str>,
    /// The number of failed attempts.
    tries: usize,
    /// The earliest time of the next attempt.
    next_at: Instant,
}

/// The counts of messages to one push service.
#[derive(Debug, Default)]
struct ServiceCounts {
    waiting: usize,
    sending: usize,
}

/// The messages that wait, in the order in which they were added.
#[derive(Debug, Default)]
pub(super) struct MessageQueue {
    waiting: VecDeque<QueuedMessage>,
    /// The push services with messages that wait or are being sent.
    services: HashMap<Arc<str>, ServiceCounts>,
    /// The number of requests in progress.
    sending: usize,
}

impl MessageQueue {
    /// Adds a message. Returns false if this message or another one was dropped, because too many
    /// messages wait.
    pub(super) fn add(&mut self, message: PushMessage, now: Instant) -> bool {
        let service = service_of(&message.target.endpoint);
        let is_full = self.waiting.len() >= WAITING_MAX;
        if is_full && !self.drop_for(&service) {
            return false;
        }
        self.services.entry(service.clone()).or_default().waiting += 1;
        self.waiting.push_back(QueuedMessage { message, service, tries: 0, next_at: now });
        !is_full
    }

    /// Drops the last message of the push service for which the most messages wait. If no other
    /// push service has more waiting messages than `service`, drops nothing and returns false.
    fn drop_for(&mut self, service: &Arc<str>) -> bool {
        let own = self.services.get(service).map_or(0, |counts| counts.waiting);
        let most = self.services.iter().max_by_key(|(_, counts)| counts.waiting);
        let Some((most, _)) = most.filter(|(_, counts)| counts.waiting > own) else {
            return false;
        };
        let most = most.clone();
        let last = self.waiting.iter().rposition(|queued| queued.service == most);
        let Some(dropped) = last.and_then(|last| self.waiting.remove(last)) else { return false };
        self.update(&dropped.service, |counts| counts.waiting -= 1);
        true
    }

    /// Returns whether this many more messages can be added.
    pub(super) fn has_room(&self, count: usize) -> bool {
        self.waiting.len() + count <= WAITING_MAX
    }

    /// Takes the first message that can be sent now. After the attempt, the caller must call
    /// [`MessageQueue::finish`] or [`MessageQueue::retry`].
    pub(super) fn next(&mut self, now: Instant) -> Option<QueuedMessage> {
        if self.sending >= AT_ONCE_MAX {
            return None;
        }
        let is_free = |service: &Arc<str>| {
            self.services.get(service).is_none_or(|counts| counts.sending < SERVICE_AT_ONCE_MAX)
        };
        let mut waiting = self.waiting.iter();
        let first = waiting.position(|queued| queued.next_at <= now && is_free(&queued.service))?;
        let queued = self.waiting.remove(first)?;
        self.sending += 1;
        self.update(&queued.service, |counts| {
            counts.waiting -= 1;
            counts.sending += 1;
        });
        Some(queued)
    }

    /// Returns the earliest time after `now` at which the pause of a message ends.
    pub(super) fn next_due_at(&self, now: Instant) -> Option<Instant> {
        self.waiting.iter().map(|queued| queued.next_at).filter(|at| *at > now).min()
    }

    /// Ends the last attempt to send a message.
    pub(super) fn finish(&mut self, queued: &QueuedMessage) {
        self.sending -= 1;
        self.update(&queued.service, |counts| counts.sending -= 1);
    }

    /// Ends a failed attempt. If another attempt is allowed, the message waits for it. Otherwise
    /// drops the message and returns false.
    pub(super) fn retry(&mut self, mut queued: QueuedMessage, now: Instant) -> bool {
        let Some(pause) = PAUSES.get(queued.tries) else {
            self.finish(&queued);
            return false;
        };
        self.sending -= 1;
        self.update(&queued.service, |counts| {
            counts.sending -= 1;
            counts.waiting += 1;
        });
        queued.tries += 1;
        queued.next_at = now + *pause;
        self.waiting.push_back(queued);
        true
    }

    /// Changes the counts of a push service. Removes the push service if it has no messages any
    /// more.
    fn update(&mut self, service: &Arc<str>, change: impl FnOnce(&mut ServiceCounts)) {
        let Some(counts) = self.services.get_mut(service) else { return };
        change(counts);
        if counts.waiting == 0 && counts.sending == 0 {
            self.services.remove(service);
        }
    }
}

/// Returns the origin of an address. If the address is invalid, returns the address itself. No
/// attempt sends a request to an invalid address.
fn service_of(endpoint: &str) -> Arc<str> {
    Url::parse(endpoint)
        .map_or_else(|_| endpoint.to_owned(), |url| url.origin().ascii_serialization())
        .into()
}

const _: () = assert!(
    SERVICE_AT_ONCE_MAX < AT_ONCE_MAX,
    "one push service must not use up all concurrent requests"
);

#[cfg(test)]
mod tests {
    use doorbuster_core::Millis;

    use super::super::encrypt::{AUTH_BYTES, BrowserKeys, PUBLIC_KEY_BYTES};
    use super::super::message::Target;
    use super::*;

    fn message(id: u64, service: &str) -> PushMessage {
        let keys = BrowserKeys { public: [0; PUBLIC_KEY_BYTES], auth: [0; AUTH_BYTES] };
        let target = Target { endpoint: format!("https://{service}.example/{id}"), keys };
        let (topic, until) = (id.to_string(), Millis(0));
        PushMessage { id, target: Arc::new(target), body: Vec::new(), topic, until }
    }

    /// Takes all messages that can be sent now.
    fn take(queue: &mut MessageQueue, now: Instant) -> Vec<QueuedMessage> {
        std::iter::from_fn(|| queue.next(now)).collect()
    }

    #[test]
    fn one_push_service_leaves_requests_and_room_for_the_others() {
        let (mut queue, now) = (MessageQueue::default(), Instant::now());
        for id in 0..WAITING_MAX as u64 {
            assert!(queue.add(message(id, "slow"), now));
        }
        assert!(!queue.add(message(1_000, "slow"), now));
        assert!(!queue.add(message(1_001, "fast"), now), "a message of the slow one is dropped");
        assert!(!queue.has_room(1));
        let mut sent = take(&mut queue, now);
        let ids: Vec<u64> = sent.iter().map(|queued| queued.message.id).collect();
        assert_eq!(ids, [0, 1, 2, 3, 4, 5, 6, 7, 1_001]);
        assert!(queue.waiting.iter().all(|queued| queued.message.id < 999));
        queue.finish(&sent.remove(0));
        assert_eq!(take(&mut queue, now).len(), 1);
    }

    #[test]
    fn a_message_uses_no_request_during_the_pauses_between_its_three_attempts() {
        let (mut queue, mut now) = (MessageQueue::default(), Instant::now());
        queue.add(message(1, "slow"), now);
        for pause in PAUSES {
            let queued = queue.next(now).expect("the message is due");
            assert!(queue.retry(queued, now));
            assert_eq!((queue.sending, queue.next(now).is_none()), (0, true));
            now += pause;
            assert_eq!(queue.next_due_at(now - pause), Some(now));
        }
        let queued = queue.next(now).expect("the message is due");
        assert!(!queue.retry(queued, now));
        assert_eq!((queue.sending, queue.waiting.len(), queue.services.len()), (0, 0, 0));
    }
}
