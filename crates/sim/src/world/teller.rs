//! Workers that tell endpoints what happened: they read events by position, send them, and write down how far they are.
use std::collections::BTreeMap;

use doorbuster_core::outbox::{Bounds, Desk, Note, Outcome, Parcel, Progress};
use doorbuster_core::rules::{Rule, keeps};

use super::World;
use super::flight::Message;
use crate::judge::about;

/// Endpoints of one simulated sale.
pub(crate) const ENDPOINTS: usize = 2;
/// Workers that may tell one endpoint at the same time: leases only save work.
const WORKERS: usize = 2;
/// Bounds that are small enough to be reached: one endpoint's events are tried once, the other's twice.
fn bounds(endpoint: usize) -> Bounds {
    let tries = 1 + endpoint as u32;
    Bounds { tries, refusals: tries, refused_ms: 0, at_once: 3, window: 6, pending: 4 }
}
/// Sends of one worker before others have their turn.
const SENDS_MAX: usize = 8;
/// Position of the first event that is read by its number instead of its place.
const NUMBERS: i64 = 1_000;

/// How an endpoint behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It takes what it is told.
    #[default]
    Well,
    /// It takes nothing.
    Fails,
    /// It takes what it is told, and its answer never comes.
    Hangs,
    /// It refuses this event.
    Refuses(usize),
}

/// What the store knows of an endpoint.
#[derive(Clone, Debug, Default)]
pub(crate) struct Endpoint {
    pub(crate) position: i64,
    /// Events behind the position that were not told, by position.
    pub(crate) rows: BTreeMap<i64, Parcel>,
    pub(crate) mood: Mood,
}

/// A worker's memory.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    desks: [Option<Desk>; ENDPOINTS],
    /// The sending that an event is on, by endpoint and position.
    sendings: BTreeMap<(usize, i64), u64>,
    life: u64,
}

/// What travels between workers, endpoints and the store.
#[derive(Clone, Debug)]
pub(crate) enum Tale {
    /// To an endpoint.
    Send { from: From, event: usize },
    /// Its answer, or that none came.
    Answer { from: From, outcome: Outcome },
    /// A worker's transaction.
    Advance { worker: usize, life: u64, endpoint: usize, progress: Progress },
    /// A worker's transaction.
    Note { worker: usize, endpoint: usize, note: Note },
}

/// Which sending it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct From {
    pub(crate) worker: usize,
    pub(crate) endpoint: usize,
    pub(crate) position: i64,
    pub(crate) sending: u64,
}

fn no_answer(from: From) -> Message {
    Message::Tale(Tale::Answer {
        from,
        outcome: Outcome::Failed { error: "no answer".into(), pause_ms: 0 },
    })
}

/// Everything about telling.
#[derive(Debug, Default)]
pub(crate) struct Tellers {
    pub(crate) endpoints: [Endpoint; ENDPOINTS],
    pub(crate) workers: [Worker; WORKERS],
    /// Events in the order of their positions, from 1.
    pub(crate) placed: Vec<usize>,
    sendings: u64,
}

impl World {
    /// Gives the committed events that have none their positions, in the order of their numbers: transactions draw numbers when they begin, and commit in any
    /// order.
    pub(crate) fn place_events(&mut self) {
        let mut new: Vec<_> = (self.tellers.placed.len()..self.truth.model.events.len()).collect();
        new.sort_by_key(|&i| (self.truth.wrote[i], i));
        self.tellers.placed.extend(new);
    }

    /// The next events to read, with their positions.
    fn events_after(&mut self, position: i64, limit: usize) -> Vec<(i64, usize)> {
        if keeps(Rule::ReadByPosition) {
            self.place_events();
            let all = (1_i64..).zip(self.tellers.placed.iter().copied());
            return all.skip_while(|(at, _)| *at <= position).take(limit).collect();
        }
        let number = |i: usize| self.truth.wrote[i] as i64 * NUMBERS + i as i64;
        let mut all: Vec<_> = (0..self.truth.model.events.len()).map(|i| (number(i), i)).collect();
        all.sort_unstable();
        all.into_iter().filter(|(at, _)| *at > position).take(limit).collect()
    }

    fn event_at(&self, position: i64) -> usize {
        match keeps(Rule::ReadByPosition) {
            true => self.tellers.placed[position as usize - 1],
            false => (position % NUMBERS) as usize,
        }
    }

    /// A worker reads on, sends what may be sent, and moves the position.
    pub(crate) fn tell_endpoint(&mut self, worker: u8, endpoint: u8) {
        let (w, e) = (usize::from(worker) % WORKERS, usize::from(endpoint) % ENDPOINTS);
        let mut desk = match self.tellers.workers[w].desks[e].take() {
            Some(desk) => desk,
            None => {
                let Endpoint { position, rows, .. } = &self.tellers.endpoints[e];
                let rows = rows.values().filter(|row| !row.dead).cloned().collect();
                self.tellers.workers[w].sendings.retain(|(of, _), _| *of != e);
                Desk::new(bounds(e), *position, rows)
            }
        };
        for (at, event) in self.events_after(desk.read_after(), desk.room()) {
            let word = about(&self.truth.model.events[event]);
            desk.read(at, &word, true);
        }
        for _ in 0..SENDS_MAX {
            let Some(at) = desk.next(self.mono) else { break };
            self.tellers.sendings += 1;
            let from =
                From { worker: w, endpoint: e, position: at, sending: self.tellers.sendings };
            self.tellers.workers[w].sendings.insert((e, at), from.sending);
            self.send(Message::Tale(Tale::Send { from, event: self.event_at(at) }));
        }
        if let Some(progress) = desk.go() {
            let life = self.tellers.workers[w].life;
            self.send(Message::Tale(Tale::Advance { worker: w, life, endpoint: e, progress }));
        }
        self.tellers.workers[w].desks[e] = Some(desk);
    }

    pub(crate) fn run_tale(&mut self, tale: Tale) {
        match tale {
            Tale::Send { from, event } => self.sent(from, event),
            Tale::Answer { from, outcome } => self.answer_tale(from, outcome),
            Tale::Advance { worker, life, endpoint, progress } => {
                let done = self.advance(endpoint, &progress);
                let it = &mut self.tellers.workers[worker];
                if it.life != life {
                    return;
                }
                match &mut it.desks[endpoint] {
                    Some(desk) if done => desk.gone(),
                    desk => *desk = None,
                }
            }
            Tale::Note { endpoint, note, .. } => self.note_row(endpoint, note),
        }
    }

    fn sent(&mut self, from: From, event: usize) {
        let mood = self.tellers.endpoints[from.endpoint].mood;
        let takes = match mood {
            Mood::Well | Mood::Hangs => true,
            Mood::Fails => false,
            Mood::Refuses(one) => event != one,
        };
        if takes {
            let dead = self.dead_letters(from.endpoint);
            self.judge.heard_of(&self.truth.model.events, from.endpoint, event, &dead);
        } else {
            self.judge.refused_tale(from.endpoint, event);
        }
        let outcome = match (takes, mood) {
            (true, Mood::Hangs) => Outcome::Failed { error: "no answer".into(), pause_ms: 0 },
            (true, _) => Outcome::Told,
            (false, Mood::Refuses(_)) => Outcome::Refused { error: "400".into() },
            (false, _) => Outcome::Failed { error: "500".into(), pause_ms: 0 },
        };
        self.send(Message::Tale(Tale::Answer { from, outcome }));
    }

    /// A worker hears what came of a sending, and writes it down before it sends anything else.
    fn answer_tale(&mut self, from: From, outcome: Outcome) {
        let From { worker, endpoint, position, sending } = from;
        if self.tellers.workers[worker].sendings.get(&(endpoint, position)) != Some(&sending) {
            return;
        }
        self.tellers.workers[worker].sendings.remove(&(endpoint, position));
        let Some(desk) = &mut self.tellers.workers[worker].desks[endpoint] else { return };
        let Some(note) = desk.done(position, outcome, self.mono, 0) else { return };
        match keeps(Rule::NoteBeforeNext) {
            true => self.note_row(endpoint, note),
            false => self.send(Message::Tale(Tale::Note { worker, endpoint, note })),
        }
    }

    /// The store's transaction: the position moves if it is still where the worker read it.
    fn advance(&mut self, endpoint: usize, progress: &Progress) -> bool {
        let it = &mut self.tellers.endpoints[endpoint];
        if it.position != progress.from && keeps(Rule::AdvanceCompares) {
            return false;
        }
        let back = progress.to < it.position;
        it.position = progress.to;
        for parcel in &progress.failed {
            it.rows.insert(parcel.position, parcel.clone());
        }
        let pending = it.rows.values().filter(|r| !r.dead).count();
        self.judge.advanced(back, pending, bounds(endpoint).pending);
        true
    }

    /// A row that is gone, because another worker told it, stays so; and so does one that was given up.
    fn note_row(&mut self, endpoint: usize, note: Note) {
        let rows = &mut self.tellers.endpoints[endpoint].rows;
        let (Note::Told(position) | Note::Again(Parcel { position, .. })) = note;
        let Some(was_dead) = rows.get(&position).map(|row| row.dead) else { return };
        if was_dead && keeps(Rule::NoteOnlyWhatWaits) {
            return;
        }
        self.judge.noted(was_dead);
        match note {
            Note::Told(_) => drop(rows.remove(&position)),
            Note::Again(parcel) => drop(rows.insert(position, parcel)),
        }
    }

    pub(crate) fn endpoint_turns(&mut self, endpoint: u8, mood: u8) {
        let events = self.truth.model.events.len();
        self.tellers.endpoints[usize::from(endpoint) % ENDPOINTS].mood = match mood {
            0 => Mood::Well,
            1 => Mood::Fails,
            2 => Mood::Hangs,
            n => usize::from(n).checked_rem(events).map_or(Mood::Well, Mood::Refuses),
        };
    }

    pub(crate) fn crash_teller(&mut self, worker: u8) {
        let w = usize::from(worker) % WORKERS;
        let life = self.tellers.workers[w].life + 1;
        self.tellers.workers[w] = Worker { life, ..Worker::default() };
        let gone = |m: &Message| match m {
            Message::Tale(Tale::Advance { worker, .. } | Tale::Note { worker, .. }) => *worker == w,
            Message::Tale(Tale::Answer { from, .. }) => from.worker == w,
            _ => false,
        };
        self.flight.retain(|m| !gone(m));
        self.late.retain(|m| !gone(m));
    }

    /// What is lost on its way to an endpoint, or held up, is taken for failed after a while.
    pub(crate) fn tale_lost(&mut self, tale: &Tale) {
        match tale {
            Tale::Send { from, .. } | Tale::Answer { from, .. } => self.send(no_answer(*from)),
            Tale::Advance { worker, life, endpoint, .. } => {
                // Nobody knows what came of it: the worker begins anew from what the store has.
                let it = &mut self.tellers.workers[*worker];
                if it.life == *life {
                    it.desks[*endpoint] = None;
                }
            }
            Tale::Note { .. } => {}
        }
    }

    /// Whether the endpoint was told everything, as far as it can be.
    pub(crate) fn all_told(&self, endpoint: usize) -> bool {
        let Endpoint { position, rows, .. } = &self.tellers.endpoints[endpoint];
        let last = match keeps(Rule::ReadByPosition) {
            true => self.truth.model.events.len() as i64,
            false => 0,
        };
        *position >= last && rows.values().all(|row| row.dead)
    }

    /// Events that the endpoint was not told and will not be.
    pub(crate) fn dead_letters(&self, endpoint: usize) -> Vec<usize> {
        let rows = self.tellers.endpoints[endpoint].rows.values();
        rows.filter(|r| r.dead).map(|r| self.event_at(r.position)).collect()
    }

    /// When the endpoint's workers have something to do next.
    pub(crate) fn tells_next(&self, endpoint: usize) -> Option<doorbuster_core::Millis> {
        let desks = self.tellers.workers.iter().filter_map(|w| w.desks[endpoint].as_ref());
        desks.filter_map(Desk::due).min()
    }
}
