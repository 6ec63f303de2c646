//! Draws challenges in separate threads, so that the drawing does not slow down the threads that
//! serve requests.
//!
//! - While no request waits, one of the threads draws pictures in advance. Work challenges are not
//!   created in advance, because each needs the current difficulty of its sale.
//! - For each kind of challenge, the number of waiting requests is limited, and the threads serve
//!   the kinds in turn. So many requests for one kind do not delay requests for the other kinds.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use doorbuster_challenge::{
    Captcha, Effort, Puzzle, RandomSource, WorkChallenge, WorkKeys, draw_captcha, draw_puzzle,
};
use tokio::sync::oneshot;

use super::seal::{ANSWER_BYTES, PuzzleKind};

const THREADS: usize = 2;
/// The maximum number of requests that wait for one kind of challenge. If this many requests wait,
/// the server asks further clients to retry.
const WAITING_MAX: usize = 512;
/// Challenges of this many kinds can be drawn in advance. These are the first kinds in
/// [`PuzzleKind`].
pub(super) const PRERENDERED_KINDS: usize = 2;
const PRERENDERED_MAX: usize = 1_024;
/// For each kind, the maximum size of all challenges that are drawn in advance, in bytes. The
/// drawing stops at this size or at `PRERENDERED_MAX` challenges, whichever comes first.
const PRERENDERED_BYTES_MAX: usize = 24 * 1_024 * 1_024;
/// After a challenge was drawn in advance, no further one is drawn in advance for this many times
/// the drawing time. So requests get most of the processor's time.
const RENDER_PAUSE_FACTOR: u32 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RenderRequest {
    Image,
    Slider,
    WorkChallenge(Effort),
}

impl RenderRequest {
    const PRERENDERED_KINDS: [Self; PRERENDERED_KINDS] = [Self::Image, Self::Slider];

    pub(super) const fn kind(self) -> PuzzleKind {
        match self {
            Self::Image => PuzzleKind::Image,
            Self::Slider => PuzzleKind::Slider,
            Self::WorkChallenge(_) => PuzzleKind::Work,
        }
    }
}

/// A drawn challenge with its answer. Only one request gets this challenge.
#[derive(Clone, Debug)]
pub(super) struct RenderedChallenge {
    pub(super) shown: ChallengeContent,
    pub(super) answer: [u8; ANSWER_BYTES],
}

/// The part of a challenge that the buyer sees.
#[derive(Clone, Debug)]
pub enum ChallengeContent {
    /// An image with text.
    Image {
        /// The image as a data URL.
        image: String,
    },
    /// A picture with a gap, and the piece that fits.
    Slider {
        /// The picture as a data URL.
        background: String,
        /// The piece as a data URL.
        piece: String,
        /// The vertical position of the piece, in pixels.
        piece_y: u16,
    },
    /// A proof of work.
    WorkChallenge {
        /// The challenge in ALTCHA's format.
        altcha: serde_json::Value,
        /// The number of keys that a client must try in the worst case.
        tries_max: u32,
    },
}

impl RenderedChallenge {
    fn bytes(&self) -> usize {
        match &self.shown {
            ChallengeContent::Image { image } => image.len(),
            ChallengeContent::Slider { background, piece, .. } => background.len() + piece.len(),
            ChallengeContent::WorkChallenge { .. } => 0,
        }
    }
}

#[derive(Debug, Default)]
struct PrerenderedQueue {
    is_wanted: bool,
    made: VecDeque<RenderedChallenge>,
    bytes: usize,
}

impl PrerenderedQueue {
    fn is_full(&self) -> bool {
        self.made.len() >= PRERENDERED_MAX || self.bytes >= PRERENDERED_BYTES_MAX
    }

    fn push_if_wanted(&mut self, made: RenderedChallenge) {
        if self.is_wanted && !self.is_full() {
            self.bytes += made.bytes();
            self.made.push_back(made);
        }
    }

    fn take(&mut self) -> Option<RenderedChallenge> {
        let made = self.made.pop_front()?;
        self.bytes -= made.bytes();
        Some(made)
    }
}

#[derive(Debug, Default)]
struct PoolState {
    /// The number of issued challenges of each kind.
    given: [u64; PuzzleKind::ALL.len()],
    prerendered: [PrerenderedQueue; PRERENDERED_KINDS],
    waiting: [VecDeque<(RenderRequest, oneshot::Sender<RenderedChallenge>)>; PuzzleKind::ALL.len()],
    /// The index of the kind whose turn is next.
    turn: usize,
    is_closing: bool,
}

impl PoolState {
    fn next_to_prerender(&self) -> Option<RenderRequest> {
        let prerendered = RenderRequest::PRERENDERED_KINDS.into_iter().zip(&self.prerendered);
        let open = prerendered.filter(|(_, queue)| queue.is_wanted && !queue.is_full());
        open.min_by_key(|(_, queue)| queue.made.len()).map(|(request, _)| request)
    }

    /// Returns the queue of this kind's challenges that were drawn in advance. Returns `None` if
    /// this kind is not drawn in advance.
    fn prerendered_queue(&mut self, request: RenderRequest) -> Option<&mut PrerenderedQueue> {
        self.prerendered.get_mut(request.kind() as usize)
    }

    /// Adds a request to the queue of its kind. Returns `None` if this queue is full.
    fn enqueue(&mut self, request: RenderRequest) -> Option<oneshot::Receiver<RenderedChallenge>> {
        let waiting = &mut self.waiting[request.kind() as usize];
        let (sender, drawn) = oneshot::channel();
        (waiting.len() < WAITING_MAX).then(|| waiting.push_back((request, sender))).map(|()| drawn)
    }

    /// Takes the request to serve next. The kinds take turns, and within a kind the oldest request
    /// comes first. Skips requests whose clients have disconnected. `None` if no request waits.
    fn next_waiting(&mut self) -> Option<(RenderRequest, oneshot::Sender<RenderedChallenge>)> {
        for _ in 0..PuzzleKind::ALL.len() {
            let waiting = &mut self.waiting[self.turn];
            self.turn = (self.turn + 1) % PuzzleKind::ALL.len();
            while let Some((request, sender)) = waiting.pop_front() {
                if !sender.is_closed() {
                    return Some((request, sender));
                }
            }
        }
        None
    }
}

#[derive(Debug, Default)]
struct PoolShared {
    state: Mutex<PoolState>,
    wake: Condvar,
}

impl PoolShared {
    fn lock(&self) -> MutexGuard<'_, PoolState> {
        // No code panics in the middle of a change under this lock, so the state is consistent even
        // if the lock is poisoned.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct ChallengePool {
    shared: Arc<PoolShared>,
    threads: Vec<JoinHandle<()>>,
}

impl fmt::Debug for ChallengePool {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ChallengePool({})", self.threads.len())
    }
}

impl ChallengePool {
    pub(super) fn new(work: WorkKeys) -> Self {
        let shared = Arc::new(PoolShared::default());
        let start = |n: usize| {
            let (shared, renderer) =
                (shared.clone(), Renderer { chance: RandomSource::new(), work: work.clone() });
            let name = format!("challenge-{n}");
            thread::Builder::new().name(name).spawn(move || run_renderer(&shared, renderer, n == 0))
        };
        // If the operating system cannot start some of the threads, the other threads draw all
        // challenges. If it can start no thread, `take` returns `None`, and the server asks clients
        // to retry.
        let threads: Vec<_> = (0..THREADS).filter_map(|n| start(n).ok()).collect();
        if threads.len() < THREADS {
            tracing::error!(
                started = threads.len(),
                event = "challenge.threads_missing",
                "failed to start some threads that draw challenges; check the limit on threads"
            );
        }
        Self { shared, threads }
    }

    /// Returns a challenge for one request. Returns `None` if too many requests wait for this kind.
    pub(super) async fn take(&self, request: RenderRequest) -> Option<RenderedChallenge> {
        let drawn = {
            let mut state = self.shared.lock();
            if let Some(made) = state.prerendered_queue(request).and_then(PrerenderedQueue::take) {
                state.given[request.kind() as usize] += 1;
                return Some(made);
            }
            if self.threads.is_empty() {
                return None;
            }
            state.enqueue(request)?
        };
        self.shared.wake.notify_one();
        let made = drawn.await.ok()?;
        self.shared.lock().given[request.kind() as usize] += 1;
        Some(made)
    }

    /// Sets which kinds are drawn in advance. Drops challenges of other kinds that were drawn in
    /// advance.
    pub(super) fn set_prerendered(&self, wanted: [bool; PRERENDERED_KINDS]) {
        let mut state = self.shared.lock();
        for (queue, is_wanted) in state.prerendered.iter_mut().zip(wanted) {
            queue.is_wanted = is_wanted;
            if !is_wanted {
                (queue.made, queue.bytes) = (VecDeque::new(), 0);
            }
        }
        let is_work = state.next_to_prerender().is_some();
        drop(state);
        if is_work {
            self.shared.wake.notify_all();
        }
    }

    pub(super) fn issued_and_ready(&self, kind: PuzzleKind) -> (u64, usize) {
        let state = self.shared.lock();
        (
            state.given[kind as usize],
            state.prerendered.get(kind as usize).map_or(0, |queue| queue.made.len()),
        )
    }
}

impl Drop for ChallengePool {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_closing = true;
        state.waiting.iter_mut().for_each(VecDeque::clear);
        drop(state);
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            // If the thread panicked, the panic was already logged.
            drop(thread.join());
        }
    }
}

struct Renderer {
    chance: RandomSource,
    work: WorkKeys,
}

impl Renderer {
    fn render(&mut self, request: RenderRequest) -> RenderedChallenge {
        let mut answer = [0; ANSWER_BYTES];
        let shown = match request {
            RenderRequest::Image => {
                let Captcha { png, text } = draw_captcha(&mut self.chance);
                answer[..text.len()].copy_from_slice(text.as_bytes());
                ChallengeContent::Image { image: data_url(&png) }
            }
            RenderRequest::Slider => {
                let Puzzle { background, piece, piece_y, x } = draw_puzzle(&mut self.chance);
                answer[..2].copy_from_slice(&x.to_be_bytes());
                ChallengeContent::Slider {
                    background: data_url(&background),
                    piece: data_url(&piece),
                    piece_y,
                }
            }
            RenderRequest::WorkChallenge(effort) => {
                let WorkChallenge { json, mark } =
                    self.work.new_challenge(&mut self.chance, effort);
                answer = mark;
                ChallengeContent::WorkChallenge { altcha: json, tries_max: effort.keys_max }
            }
        };
        RenderedChallenge { shown, answer }
    }
}

fn data_url(png: &[u8]) -> String {
    let mut url = String::with_capacity(22 + png.len().div_ceil(3) * 4);
    url.push_str("data:image/png;base64,");
    STANDARD.encode_string(png, &mut url);
    url
}

/// Draws challenges for waiting requests until the pool closes. If `fills` is true, also draws
/// challenges in advance.
fn run_renderer(shared: &PoolShared, mut renderer: Renderer, fills: bool) {
    let mut pool_rests_until = Instant::now();
    let mut state = shared.lock();
    while !state.is_closing {
        if let Some((request, sender)) = state.next_waiting() {
            drop(state);
            let sent = sender.send(renderer.render(request));
            state = shared.lock();
            if let (Err(left), Some(queue)) = (sent, state.prerendered_queue(request)) {
                queue.push_if_wanted(left);
            }
            continue;
        }
        let rest = pool_rests_until.saturating_duration_since(Instant::now());
        match state.next_to_prerender().filter(|_| fills) {
            Some(request) if rest == Duration::ZERO => {
                drop(state);
                let began = Instant::now();
                let made = renderer.render(request);
                pool_rests_until = Instant::now() + began.elapsed() * RENDER_PAUSE_FACTOR;
                state = shared.lock();
                if let Some(queue) = state.prerendered_queue(request) {
                    queue.push_if_wanted(made);
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
    fn a_flood_for_one_kind_does_not_delay_the_others() {
        let mut state = PoolState::default();
        let images: Vec<_> = (0..WAITING_MAX)
            .map(|_| state.enqueue(RenderRequest::Image).expect("the queue of this kind has room"))
            .collect();
        assert!(
            state.enqueue(RenderRequest::Image).is_none(),
            "a request over the bound of its kind must be refused"
        );
        let sliders = [state.enqueue(RenderRequest::Slider), state.enqueue(RenderRequest::Slider)]
            .map(|one| one.expect("the queue of the other kind has room"));
        let work = state
            .enqueue(RenderRequest::WorkChallenge(Effort::DEFAULT))
            .expect("the queue of the other kind has room");
        let mut next = || state.next_waiting().map(|(request, _)| request.kind());
        assert_eq!(
            [next(), next(), next()],
            [Some(PuzzleKind::Image), Some(PuzzleKind::Slider), Some(PuzzleKind::Work)]
        );
        assert_eq!(
            [next(), next(), next()],
            [Some(PuzzleKind::Image), Some(PuzzleKind::Slider), Some(PuzzleKind::Image)]
        );
        drop((images, sliders, work));
        assert_eq!(next(), None, "the pool must skip requests whose clients disconnected");
    }
}
