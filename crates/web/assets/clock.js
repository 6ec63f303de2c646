/* Estimates the server's time from its answers, and advances the estimate with the browser's
   monotonic clock. The device's wall clock may be wrong and is never read. */
let low = 0,
  high = 0,
  mark = 0;

/** Sets the clock by `iso`, the server's time in an answer. `sent` and `got` are the times of the
   request and of the answer, by performance.now. So the answer gives a range for the server's time.
   If this range overlaps the estimate's range, the estimate becomes more exact. Otherwise a new
   estimate begins. */
export function setClock(iso, sent, got) {
  const ms = Date.parse(iso);
  if (Number.isNaN(ms)) return;
  const since = got - mark,
    least = Math.max(ms, low + since),
    most = Math.min(ms + got - sent, high + since);
  [low, high] = least <= most ? [least, most] : [ms, ms + got - sent];
  mark = got;
}
/** In milliseconds since 1970. */
export const now = () => (low + high) / 2 + (performance.now() - mark);

/** Returns a random time in a range, so that thousands of pages do not act at the same moment. */
export const jitter = (low, high) => low + Math.random() * (high - low);

/** Waits until the page is visible. */
export const untilSeen = () =>
  document.hidden &&
  new Promise(seen => document.addEventListener('visibilitychange', seen, { once: true }));

/* Browsers end a timer at once if it is longer than this (24.8 days). */
const TIMER_MAX_MS = 2 ** 31 - 1;
/** `rest(ms)` resolves with false after `ms` milliseconds, or with true when `wake()` is called. */
export function pauser() {
  let cut = null;
  return {
    rest: ms =>
      new Promise(done => {
        const timer =
          ms === Infinity ? 0 : setTimeout(done, Math.min(ms, TIMER_MAX_MS), false);
        cut = () => {
          clearTimeout(timer);
          done(true);
        };
      }),
    wake: () => cut?.(),
  };
}
