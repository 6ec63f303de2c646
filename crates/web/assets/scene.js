/* The scene of a sale: before | due | live | out | sold | paused | ended. The page for visitors
   without JavaScript follows the same rules (page_html/state.rs). One table of cases tests both. */

/** For this long after the start, the page trusts its own clock, even if a status says "not
   started". */
export const OPENING_MS = 3_000;

export const LOOKS = {
  before: { light: 'before' },
  due: { light: 'before' },
  live: { light: 'on', tone: 'live' },
  out: { light: 'low', tone: 'warn' },
  sold: { light: 'off' },
  paused: { light: 'low', tone: 'warn' },
  ended: { light: 'off' },
};

/** Does not use the clock, so it never returns `due`. */
export function sceneOfStatus({ phase, started }, states) {
  if (phase === 'closed') return 'ended';
  if (phase === 'paused') return 'paused';
  const shut = phase ? ['scheduled', 'draft'].includes(phase) : !started;
  if (shut) return 'before';
  const all = (...wanted) => states.length > 0 && states.every(state => wanted.includes(state));
  return all('sold_out') ? 'sold' : all('sold_out', 'held_out') ? 'out' : 'live';
}
