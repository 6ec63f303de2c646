/* Purchase passes, which a sale may require in addition to the buyer's token. Pages fetch passes
   shortly before the start, at random times, so that the first second is free for purchases. Later,
   a page fetches a pass immediately before the purchase. */
import { askForPass } from '/assets/api.js';
import { now } from '/assets/clock.js';
import { buyerOf } from '/assets/who.js';
import { tab } from '/assets/store.js';

/** Passes are available from this long before the start. */
export const EARLY_MS = 60_000;
/** The page does not use a pass that expires within this time. */
const SPARE_MS = 1_000;
const slot = m => 'passes.' + m.id;

/** Returns the item's pass, or null if there is none or if it expires too soon. Before the start,
   the pass may not be valid yet. */
export function passOf(m, item = m.item.id, t = now()) {
  const pass = m.passes[item];
  return pass && t < Date.parse(pass.expires_at) - SPARE_MS ? pass : null;
}
const write = m => tab.set(slot(m), { buyer: buyerOf(m.token), passes: m.passes });
export function dropPass(m, item) {
  delete m.passes[item];
  write(m);
}
/** Restores the passes of this buyer after a reload. */
export function recallPasses(m) {
  const kept = tab.get(slot(m));
  m.passes = m.token && kept?.buyer === buyerOf(m.token) ? (kept.passes ?? {}) : {};
}

/** Fetches and stores a new pass. `solved` is the solved challenge, if there is one. */
export async function fetchPass(m, item, solved = null) {
  const wish = { item, ...solved, ...(m.code && { access_code: m.code }) };
  const answer = await askForPass(m.token, m.id, wish);
  if (answer.status === 201 && answer.data.pass) {
    m.passes[item] = answer.data;
    write(m);
    /* The request extended the buyer's turn, which now ends together with the pass. */
    if (m.room?.state === 'admitted') m.room.until_ms = Date.parse(answer.data.expires_at);
  }
  return answer;
}
