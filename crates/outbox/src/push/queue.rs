//! The messages that wait, and the number of running requests to each push service. Each push
//! service gets only a part of the concurrent requests. So a push service that does not answer
//! cannot block messages to other push services.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use tokio::time::Instant;

use super::message::PushMessage;

/// The maximum number of waiting messages. If the queue is full, the node drops one message for
/// each new message. The dropped message is the last one for the push service with the most waiting
/// messages. Messages that failed are put back without this check, so the queue can exceed the
/// bound by at most [`AT_ONCE_MAX`].
const WAITING_MAX: usize = 1_000;
const AT_ONCE_MAX: usize = 32;
const SERVICE_AT_ONCE_MAX: usize = 8;
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(8)];

#[derive(Debug)]
pub(super) struct QueuedMessage {
    pub message: PushMessage,
    service: Arc<str>,
    tries: usize,
    next_at: Instant,
}

#[derive(Debug, Default)]
struct ServiceCounts {
    waiting: usize,
    sending: usize,
}

/// The waiting messages, in the sequence in which they were added.
#[derive(Debug, Default)]
pub(super) struct MessageQueue {
    waiting: VecDeque<QueuedMessage>,
    services: HashMap<Arc<str>, ServiceCounts>,
    sending: usize,
}

impl MessageQueue {
    /// Adds a message. Returns `false` if the queue was full, which means that this message or
    /// another one was dropped.
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

    /// Makes room for a message to `service`: drops the last message of the push service with the
    /// most waiting messages. If no other push service has more waiting messages than `service`,
    /// drops nothing and returns `false`.
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

    pub(super) fn has_room(&self, count: usize) -> bool {
        self.waiting.len() + count <= WAITING_MAX
    }

    /// Takes the first message that may be sent now. After the attempt, the caller must call
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

    /// Returns the earliest time after `now` at which a failed message may be sent again, or `None`
    /// if there is no such message.
    pub(super) fn next_due_at(&self, now: Instant) -> Option<Instant> {
        self.waiting.iter().map(|queued| queued.next_at).filter(|at| *at > now).min()
    }

    pub(super) fn finish(&mut self, queued: &QueuedMessage) {
        self.sending -= 1;
        self.update(&queued.service, |counts| counts.sending -= 1);
    }

    /// Puts the message back for another attempt. If this was the last attempt, drops the message
    /// and returns `false`.
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

    fn update(&mut self, service: &Arc<str>, change: impl FnOnce(&mut ServiceCounts)) {
        let Some(counts) = self.services.get_mut(service) else { return };
        change(counts);
        if counts.waiting == 0 && counts.sending == 0 {
            self.services.remove(service);
        }
    }
}

/// Returns the origin of an address. The origin identifies the push service. An invalid address is
/// returned unchanged: nothing is ever sent to it.
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
        assert!(!queue.add(message(1_001, "fast"), now), "a message to `slow` must be dropped");
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
