//! The timeline of the incident. In `lab incident`, strategies record here what they do with their
//! lock. They also wait here as long as the simulated work under the lock takes. In all other
//! commands, the journal does nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use tokio::task::JoinHandle;

use crate::driver::LastAnswer;
use crate::redis_link::RedisLink;

/// How long the lock lasts in the incident.
pub const LOCK_MS: u64 = 60;
/// How long a usual call to the payment company takes. The next constant is for a slow call.
const WORK: Duration = Duration::from_millis(5);
const SLOW_WORK: Duration = Duration::from_millis(90);
/// One call in this many is slow, on average.
const SLOW_ONE_IN: u32 = 8;
/// The largest number of recorded events. If more events happen, a last event says how many events
/// were left out.
const EVENTS_MAX: usize = 400;

/// The kind of an event. It determines how the timeline shows the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The actor takes a free lock.
    TakesLock,
    /// The actor takes the lock while the previous holder still works.
    TakesOverlappingLock,
    /// A timer renews the actor's lock.
    RenewsLock,
    /// The actor begins work that takes longer than the lock lasts.
    BeginsLongWork,
    /// The actor releases its own lock.
    ReleasesLock,
    /// The actor releases its lock after the lock's time is over. Another actor may hold the lock
    /// now.
    ReleasesLate,
    /// The database refuses the actor's write.
    IsRefused,
    /// Any other event.
    Other,
}

impl EventKind {
    /// Returns whether the event shows that the lock failed.
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(self, Self::TakesOverlappingLock | Self::ReleasesLate | Self::IsRefused)
    }

    /// Returns whether the actor has the lock from this event on.
    #[must_use]
    pub fn begins_work(self) -> bool {
        matches!(self, Self::TakesLock | Self::TakesOverlappingLock)
    }

    /// Returns whether the actor's work under the lock ends with this event.
    #[must_use]
    pub fn ends_work(self) -> bool {
        matches!(self, Self::ReleasesLock | Self::ReleasesLate)
    }
}

/// One event of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Milliseconds since the sale opened.
    pub at_ms: u64,
    /// The actor.
    pub actor: String,
    /// The kind of the event.
    pub kind: EventKind,
    /// The description of the event.
    pub event: String,
}

/// Whether a timer renews the lock while its holder works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockRenewal {
    /// The timer renews the lock each time a third of the lock's time has passed.
    Yes,
    /// The lock is never renewed.
    No,
}

/// The journal of one actor, that is, of one server of the shop. In commands other than `lab
/// incident`, it records nothing.
#[derive(Clone, Default)]
pub struct Journal(Option<Arc<Actor>>);

struct Actor {
    name: &'static str,
    shared: Arc<SharedJournal>,
    seed: u64,
    works: AtomicU64,
}

/// The journal of all actors.
pub struct SharedJournal {
    renewal: LockRenewal,
    start: Instant,
    written: Mutex<Written>,
}

struct Written {
    events: Vec<Event>,
    /// The actor that holds the lock, and the time at which the lock ends.
    holder: Option<(&'static str, Instant)>,
    left_out: usize,
}

/// A task that renews a lock until this value is dropped.
pub struct Renewal(JoinHandle<()>);

impl Drop for Renewal {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl SharedJournal {
    /// Returns an empty journal.
    pub fn new(renewal: LockRenewal) -> Self {
        let written = Written { events: Vec::new(), holder: None, left_out: 0 };
        Self { renewal, start: Instant::now(), written: Mutex::new(written) }
    }

    /// Returns the events so far.
    pub fn events(&self) -> Vec<Event> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let mut events = written.events.clone();
        if written.left_out > 0 {
            let event = format!("{} more events are left out", written.left_out);
            let at_ms = events.last().map_or(0, |last| last.at_ms);
            let (actor, kind) = ("journal".to_owned(), EventKind::Other);
            events.push(Event { at_ms, actor, kind, event });
        }
        events
    }

    fn with(&self, write: impl FnOnce(&mut Written, Instant)) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        write(&mut written, Instant::now());
    }
}

impl Journal {
    /// Returns the journal of this actor.
    pub fn of(name: &'static str, shared: &Arc<SharedJournal>, seed: u64) -> Self {
        let seed = name.bytes().fold(seed, |sum, byte| sum.rotate_left(7) ^ u64::from(byte));
        let shared = Arc::clone(shared);
        Self(Some(Arc::new(Actor { name, shared, seed, works: AtomicU64::new(0) })))
    }

    /// Returns how long the lock lasts, in milliseconds: [`LOCK_MS`] in `lab incident`, and `usual`
    /// in any other command. In the incident, a slow call to the payment company takes longer than
    /// the lock lasts.
    pub fn lock_ms(&self, usual: u64) -> u64 {
        if self.0.is_some() { LOCK_MS } else { usual }
    }

    /// Records that this actor took the lock. If the journal still names another holder, that
    /// holder's lock expired before the holder began to release it. The previous holder may thus
    /// still be changing data.
    pub fn locked(&self, lock_ms: u64) {
        self.write(|written, now, actor| {
            let until = now + Duration::from_millis(lock_ms);
            match written.holder.replace((actor, until)) {
                Some((other, _)) if other != actor => (
                    EventKind::TakesOverlappingLock,
                    format!("takes the lock: {other}'s lock has ended, but {other} still works"),
                ),
                _ => (EventKind::TakesLock, format!("takes the lock for {lock_ms} ms")),
            }
        });
    }

    fn renewed(&self, lock_ms: u64) {
        self.write(|written, now, actor| {
            let until = now + Duration::from_millis(lock_ms);
            if let Some(holder) = written.holder.as_mut().filter(|(holder, _)| *holder == actor) {
                holder.1 = until;
            }
            (EventKind::RenewsLock, format!("renews the lock for {lock_ms} ms"))
        });
    }

    /// Records that the actor read the stock under the lock.
    pub fn read_stock(&self, available: i64) {
        self.note(|| format!("reads the stock: {available} bottles"));
    }

    /// Waits as long as a call to the payment company takes, and records the call if it is slow.
    /// Does nothing outside of `lab incident`.
    pub async fn simulate_payment_call(&self) {
        let Some(actor) = &self.0 else { return };
        let count = actor.works.fetch_add(1, Ordering::Relaxed);
        let mut dice = SmallRng::seed_from_u64(actor.seed.wrapping_add(count));
        let is_slow = dice.random_ratio(1, SLOW_ONE_IN);
        if is_slow {
            let ms = SLOW_WORK.as_millis();
            self.write(|_, _, _| {
                let text =
                    format!("waits {ms} ms for the payment company, longer than the lock lasts");
                (EventKind::BeginsLongWork, text)
            });
        }
        tokio::time::sleep(if is_slow { SLOW_WORK } else { WORK }).await;
    }

    /// Records that the actor wrote the new stock and the order.
    pub fn sold(&self, buyer: i64, left: i64) {
        self.note(|| {
            format!("writes the new stock of {left} bottles and the order of buyer {buyer}")
        });
    }

    /// Records that the actor will now delete the lock without checking who holds it. Call this
    /// before the deletion. Otherwise the next holder could take the lock, and could record its
    /// event before this deletion is recorded.
    pub fn record_lock_deletion(&self) {
        self.write(|written, now, actor| match written.holder.take() {
            Some((other, until)) if other != actor && until > now => {
                (EventKind::ReleasesLate, format!("deletes the lock, although {other} holds it"))
            }
            Some((holder, until)) if holder == actor && until > now => {
                (EventKind::ReleasesLock, "releases the lock".to_owned())
            }
            _ => (EventKind::ReleasesLate, "deletes a lock that is no longer its own".to_owned()),
        });
    }

    /// Notes that the actor begins to release its lock. Call this before the release. Otherwise the
    /// next holder could take the lock, and could record its event before this release is recorded.
    pub fn record_release_start(&self) {
        let Some(actor) = &self.0 else { return };
        actor.shared.with(|written, _| {
            written.holder = written.holder.filter(|(holder, _)| *holder != actor.name);
        });
    }

    /// Records the result of the release script. The script deletes the lock only if the lock still
    /// has the actor's token.
    pub fn released(&self, was_ours: bool) {
        self.write(|_, _, _| {
            if was_ours {
                (EventKind::ReleasesLock, "releases the lock".to_owned())
            } else {
                let text = "does not delete the lock, because its own lock has ended";
                (EventKind::ReleasesLate, text.to_owned())
            }
        });
    }

    /// Records that the database refused the actor's write, because a later holder of the lock has
    /// already used the database.
    pub fn fenced(&self) {
        self.write(|_, _, _| {
            let text = "is refused by the database: a later lock holder has already used it";
            (EventKind::IsRefused, text.to_owned())
        });
    }

    /// Records a buyer's answer.
    pub fn record_answer(&self, buyer: i64, answer: LastAnswer) {
        let is_lock_story =
            self.0.as_ref().is_some_and(|actor| actor.works.load(Ordering::Relaxed) > 0);
        if answer == LastAnswer::Sold && !is_lock_story {
            self.note(|| format!("sells a bottle to buyer {buyer}"));
        }
    }

    /// Starts a timer that renews the lock, or returns `None` if the variant renews no lock.
    pub fn renewal(
        &self,
        redis: &RedisLink,
        lock: &'static str,
        token: &str,
        lock_ms: u64,
    ) -> Option<Renewal> {
        let actor = self.0.as_ref()?;
        if actor.shared.renewal == LockRenewal::No {
            return None;
        }
        let (redis, token, journal) = (redis.clone(), token.to_owned(), self.clone());
        Some(Renewal(tokio::spawn(async move {
            let script = redis::Script::new(include_str!("renew.lua"));
            loop {
                tokio::time::sleep(Duration::from_millis(lock_ms / 3)).await;
                let mut renew = script.key(lock);
                let renewed = redis.script::<i64>(renew.arg(&token).arg(lock_ms)).await;
                // The lock was not renewed, so this timer ends. The release script later detects
                // that the holder lost the lock.
                if !renewed.is_ok_and(|renewed| renewed == 1) {
                    return;
                }
                journal.renewed(lock_ms);
            }
        })))
    }

    fn note(&self, text: impl FnOnce() -> String) {
        self.write(|_, _, _| (EventKind::Other, text()));
    }

    fn write(
        &self,
        describe: impl FnOnce(&mut Written, Instant, &'static str) -> (EventKind, String),
    ) {
        let Some(actor) = &self.0 else { return };
        actor.shared.with(|written, now| {
            let (kind, event) = describe(written, now, actor.name);
            if written.events.len() >= EVENTS_MAX {
                written.left_out += 1;
                return;
            }
            let since = now.duration_since(actor.shared.start).as_millis();
            let at_ms = u64::try_from(since).unwrap_or(u64::MAX);
            written.events.push(Event { at_ms, actor: actor.name.to_owned(), kind, event });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journals() -> (Arc<SharedJournal>, Journal, Journal) {
        let shared = Arc::new(SharedJournal::new(LockRenewal::No));
        let (a, b) = (Journal::of("server A", &shared, 1), Journal::of("server B", &shared, 1));
        (shared, a, b)
    }

    fn kinds(shared: &SharedJournal) -> Vec<EventKind> {
        shared.events().iter().map(|event| event.kind).collect()
    }

    #[test]
    fn a_holder_that_has_begun_its_release_does_not_overlap_with_the_next_holder() {
        let (shared, a, b) = journals();
        a.locked(60);
        a.record_release_start();
        // Server B may get the lock before the journal has recorded server A's release. This is not
        // an overlap.
        b.locked(60);
        a.released(true);
        let expected = [EventKind::TakesLock, EventKind::TakesLock, EventKind::ReleasesLock];
        assert_eq!(kinds(&shared), expected);
    }

    #[test]
    fn a_holder_that_still_works_overlaps_and_its_late_release_is_a_failure() {
        let (shared, a, b) = journals();
        a.locked(0);
        b.locked(60_000);
        a.record_lock_deletion();
        let expected =
            [EventKind::TakesLock, EventKind::TakesOverlappingLock, EventKind::ReleasesLate];
        assert_eq!(kinds(&shared), expected);
        let events = shared.events();
        assert_eq!(events[2].event, "deletes the lock, although server B holds it");
    }

    #[test]
    fn a_lock_that_was_deleted_before_the_next_holder_took_it_is_not_accused() {
        let (shared, a, b) = journals();
        a.locked(60_000);
        a.record_lock_deletion();
        b.locked(60_000);
        b.record_lock_deletion();
        let expected = [
            EventKind::TakesLock,
            EventKind::ReleasesLock,
            EventKind::TakesLock,
            EventKind::ReleasesLock,
        ];
        assert_eq!(kinds(&shared), expected);
    }
}
