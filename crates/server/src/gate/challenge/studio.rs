//! Where challenges are drawn: a few threads of their own, beside those that serve requests. Pictures that will be wanted are drawn in advance, while there
//! is time; work is made when it is asked for, as much of it as the sale says then.
//!
//! Whoever asks gets one from the shelf, or waits until it is drawn; a bounded number may wait for each kind, and the kinds take turns, so that a flood for
//! one of them makes no other wait. What was taken from the shelf is nobody else's.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use doorbuster_challenge::{
    Captcha, Chance, Effort, Puzzle, Work, WorkKeys, draw_captcha, draw_puzzle,
};
use tokio::sync::oneshot;

use super::seal::{ANSWER, Kind};

/// Threads that draw.
const THREADS: usize = 2;
/// Requests that wait for a challenge of one kind to be drawn; at the bound a request for this kind is told to come again.
const WAITING_MAX: usize = 512;
/// Kinds that are drawn in advance: the first ones.
pub(super) const PICTURES: usize = 2;
/// Challenges of a kind that are kept drawn.
const SHELF_MAX: usize = 1_024;
/// Bytes of a kind that are kept drawn; whichever of the two bounds comes first.
const SHELF_BYTES_MAX: usize = 24 * 1_024 * 1_024;
/// Drawing in advance rests so many times as long as it took, so that requests hardly notice it.
const RESTS: u32 = 4;

/// What is to be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Image,
    Slider,
    Work(Effort),
}

impl Wish {
    /// What lies on the shelves, in their order.
    const PICTURES: [Self; PICTURES] = [Self::Image, Self::Slider];

    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::Image => Kind::Image,
            Self::Slider => Kind::Slider,
            Self::Work(_) => Kind::Work,
        }
    }
}

/// A challenge, drawn for whoever comes first.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) shown: Shown,
    pub(super) answer: [u8; ANSWER],
}

/// The part of a challenge that is shown.
#[derive(Clone, Debug)]
pub(crate) enum Shown {
    /// Data URL of an image.
    Image { image: String },
    /// Data URLs of a picture and a piece, and how far down the piece lies.
    Slider { background: String, piece: String, piece_y: u16 },
    /// The protocol's own challenge, and how many keys it takes at most.
    Work { altcha: serde_json::Value, tries_max: u32 },
}

impl Made {
    fn bytes(&self) -> usize {
        match &self.shown {
            Shown::Image { image } => image.len(),
            Shown::Slider { background, piece, .. } => background.len() + piece.len(),
            Shown::Work { .. } => 0,
        }
    }
}

/// Challenges of one kind that are drawn already.
#[derive(Debug, Default)]
struct Shelf {
    is_wanted: bool,
    made: VecDeque<Made>,
    bytes: usize,
}

impl Shelf {
    fn is_full(&self) -> bool {
        self.made.len() >= SHELF_MAX || self.bytes >= SHELF_BYTES_MAX
    }

    fn put(&mut self, made: Made) {
        if self.is_wanted && !self.is_full() {
            self.bytes += made.bytes();
            self.made.push_back(made);
        }
    }

    fn take(&mut self) -> Option<Made> {
        let made = self.made.pop_front()?;
        self.bytes -= made.bytes();
        Some(made)
    }
}

#[derive(Debug, Default)]
struct State {
    /// Challenges that were given out, by kind.
    given: [u64; Kind::ALL.len()],
    shelves: [Shelf; PICTURES],
    /// Who waits for a challenge of which kind.
    waiting: [VecDeque<(Wish, oneshot::Sender<Made>)>; Kind::ALL.len()],
    /// The kind whose turn it is, should somebody wait for it.
    turn: usize,
    is_closing: bool,
}

impl State {
    /// The shelf that is emptiest of those that are to be filled.
    fn to_fill(&self) -> Option<Wish> {
        let shelves = Wish::PICTURES.into_iter().zip(&self.shelves);
        let open = shelves.filter(|(_, shelf)| shelf.is_wanted && !shelf.is_full());
        open.min_by_key(|(_, shelf)| shelf.made.len()).map(|(wish, _)| wish)
    }

    /// The shelf of such challenges. `None`: they are not drawn in advance.
    fn shelf(&mut self, wish: Wish) -> Option<&mut Shelf> {
        self.shelves.get_mut(wish.kind() as usize)
    }

    /// A place among those who wait for this kind. `None`: there is none.
    fn wait(&mut self, wish: Wish) -> Option<oneshot::Receiver<Made>> {
        let waiting = &mut self.waiting[wish.kind() as usize];
        let (sender, drawn) = oneshot::channel();
        (waiting.len() < WAITING_MAX).then(|| waiting.push_back((wish, sender))).map(|()| drawn)
    }

    /// Who is drawn for next: the first of the next kind that somebody waits for. Whoever hung up meanwhile is passed over.
    fn next_waiting(&mut self) -> Option<(Wish, oneshot::Sender<Made>)> {
        for _ in 0..Kind::ALL.len() {
            let waiting = &mut self.waiting[self.turn];
            self.turn = (self.turn + 1) % Kind::ALL.len();
            while let Some((wish, sender)) = waiting.pop_front() {
                if !sender.is_closed() {
                    return Some((wish, sender));
                }
            }
        }
        None
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two of its changes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The threads, and what they share with requests.
pub(super) struct Studio {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Studio {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Studio({})", self.threads.len())
    }
}

impl Studio {
    pub(super) fn new(work: WorkKeys) -> Self {
        let shared = Arc::new(Shared::default());
        let start = |n: usize| {
            let (shared, easel) =
                (shared.clone(), Easel { chance: Chance::new(), work: work.clone() });
            let name = format!("challenge-{n}");
            thread::Builder::new().name(name).spawn(move || draw_for(&shared, easel, n == 0))
        };
        // With fewer threads there is less to give away; without any, requests are told to come again.
        let threads: Vec<_> = (0..THREADS).filter_map(|n| start(n).ok()).collect();
        if threads.len() < THREADS {
            tracing::error!(
                started = threads.len(),
                "not every thread that draws challenges could be started"
            );
        }
        Self { shared, threads }
    }

    /// A challenge that nobody else gets. `None`: too many wait for this kind.
    pub(super) async fn take(&self, wish: Wish) -> Option<Made> {
        let drawn = {
            let mut state = self.shared.lock();
            if let Some(made) = state.shelf(wish).and_then(Shelf::take) {
                state.given[wish.kind() as usize] += 1;
                return Some(made);
            }
            if self.threads.is_empty() {
                return None;
            }
            state.wait(wish)?
        };
        self.shared.wake.notify_one();
        let made = drawn.await.ok()?;
        self.shared.lock().given[wish.kind() as usize] += 1;
        Some(made)
    }

    /// Keeps pictures of these kinds drawn in advance, and no others.
    pub(super) fn want(&self, wanted: [bool; PICTURES]) {
        let mut state = self.shared.lock();
        for (shelf, is_wanted) in state.shelves.iter_mut().zip(wanted) {
            shelf.is_wanted = is_wanted;
            if !is_wanted {
                (shelf.made, shelf.bytes) = (VecDeque::new(), 0);
            }
        }
        let is_work = state.to_fill().is_some();
        drop(state);
        if is_work {
            self.shared.wake.notify_all();
        }
    }

    /// How many of a kind were given out, and how many are drawn in advance.
    pub(super) fn drawn(&self, kind: Kind) -> (u64, usize) {
        let state = self.shared.lock();
        (
            state.given[kind as usize],
            state.shelves.get(kind as usize).map_or(0, |shelf| shelf.made.len()),
        )
    }
}

impl Drop for Studio {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_closing = true;
        state.waiting.iter_mut().for_each(VecDeque::clear);
        drop(state);
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            drop(thread.join());
        }
    }
}

/// What a thread draws with.
struct Easel {
    chance: Chance,
    work: WorkKeys,
}

impl Easel {
    fn draw(&mut self, wish: Wish) -> Made {
        let mut answer = [0; ANSWER];
        let shown = match wish {
            Wish::Image => {
                let Captcha { png, text } = draw_captcha(&mut self.chance);
                answer[..text.len()].copy_from_slice(text.as_bytes());
                Shown::Image { image: data_url(&png) }
            }
            Wish::Slider => {
                let Puzzle { background, piece, piece_y, x } = draw_puzzle(&mut self.chance);
                answer[..2].copy_from_slice(&x.to_be_bytes());
                Shown::Slider {
                    background: data_url(&background),
                    piece: data_url(&piece),
                    piece_y,
                }
            }
            Wish::Work(effort) => {
                let Work { json, mark } = self.work.make(&mut self.chance, effort);
                answer = mark;
                Shown::Work { altcha: json, tries_max: effort.keys_max }
            }
        };
        Made { shown, answer }
    }
}

fn data_url(png: &[u8]) -> String {
    let mut url = String::with_capacity(22 + png.len().div_ceil(3) * 4);
    url.push_str("data:image/png;base64,");
    STANDARD.encode_string(png, &mut url);
    url
}

/// Draws for those who wait; when nobody does, one thread fills the shelves, with rests.
fn draw_for(shared: &Shared, mut easel: Easel, fills: bool) {
    let mut rests_until = Instant::now();
    let mut state = shared.lock();
    while !state.is_closing {
        if let Some((wish, sender)) = state.next_waiting() {
            drop(state);
            let sent = sender.send(easel.draw(wish));
            state = shared.lock();
            if let (Err(left), Some(shelf)) = (sent, state.shelf(wish)) {
                shelf.put(left);
            }
            continue;
        }
        let rest = rests_until.saturating_duration_since(Instant::now());
        match state.to_fill().filter(|_| fills) {
            Some(wish) if rest == Duration::ZERO => {
                drop(state);
                let began = Instant::now();
                let made = easel.draw(wish);
                rests_until = Instant::now() + began.elapsed() * RESTS;
                state = shared.lock();
                if let Some(shelf) = state.shelf(wish) {
                    shelf.put(made);
                }
            }
            Some(_) => {
                state =
                    shared.wake.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0
            }
            None => state = shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_for_one_kind_makes_no_other_wait() {
        let mut state = State::default();
        let images: Vec<_> =
            (0..WAITING_MAX).map(|_| state.wait(Wish::Image).expect("there is room")).collect();
        assert!(state.wait(Wish::Image).is_none(), "there is none left for this kind");
        let sliders = [state.wait(Wish::Slider), state.wait(Wish::Slider)]
            .map(|one| one.expect("another kind's room"));
        let work = state.wait(Wish::Work(Effort::USUAL)).expect("another kind's room");
        let mut next = || state.next_waiting().map(|(wish, _)| wish.kind());
        assert_eq!(
            [next(), next(), next()],
            [Some(Kind::Image), Some(Kind::Slider), Some(Kind::Work)]
        );
        assert_eq!(
            [next(), next(), next()],
            [Some(Kind::Image), Some(Kind::Slider), Some(Kind::Image)]
        );
        drop((images, sliders, work));
        assert_eq!(next(), None, "nobody is drawn for who hung up");
    }
}
