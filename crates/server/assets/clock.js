/* The server's time, advanced by the monotonic clock. The device's wall clock is never read. */
let low = 0,
  high = 0,
  mark = 0;

/** Takes `iso`, the server's time in the answer to a request sent at `sent` and received at `got`
    (both of performance.now). The server wrote it during that round trip. An answer that fits the
    estimate narrows it; one that does not fit replaces it. */
export function setClock(iso, sent, got) {
  const ms = Date.parse(iso);
  if (Number.isNaN(ms)) return;
  const since = got - mark,
    least = Math.max(ms, low + since),
    most = Math.min(ms + got - sent, high + since);
  [low, high] = least <= most ? [least, most] : [ms, ms + got - sent];
  mark = got;
}
export const clockIsSet = () => low > 0;
/** Milliseconds since 1970 by the server. */
export const now = () => (low + high) / 2 + (performance.now() - mark);

/** A random number of milliseconds in [low, high): nothing that thousands of pages do may be in
   step. */
export const jitter = (low, high) => low + Math.random() * (high - low);

/** A pause that can be cut short: `rest(ms)` resolves after ms, or at once on `wake()`. */
export function pauser() {
  let cut = null;
  return {
    rest: ms =>
      new Promise(done => {
        const timer = ms === Infinity ? 0 : setTimeout(done, ms);
        cut = () => {
          clearTimeout(timer);
          done();
        };
      }),
    wake: () => cut?.(),
  };
}
