/* What the sale page knows, and which state that is. Nothing here touches the page or the network.
   The *scene* is what happened to the sale (shut, open, ajar, dark); the *deal* is what this buyer can do about it. */
import { now } from '/assets/clock.js';

/** One press per interval, for calm; the server decides what is safe. */
export const CALM_MS = 10_000;
/** How long after the start the page believes its clock before it believes a status that still says "not started". */
const OPENING_MS = 3_000;
/** A status older than this is shown with its time. */
export const OLD_MS = 20_000;

export const model = {
  id: null, sale: null, item: null, units: 1, token: null, sign_in_url: null,
  status: null,       /* the newest answer or event */
  seen_ms: 0,         /* server time when it came */
  offline: false,
  press: null,        /* the press without a final answer */
  stage: null,        /* how far it is: asking, queued, retrying, offline */
  retry_ms: 0,        /* server time of its next try */
  order: null,        /* the order that the last press got, until the buyer asks for more */
  calm_ms: 0,         /* server time until which the button rests after a press */
  busy_ms: 0,         /* server time until which the server asked to be left alone */
  why: null,          /* { name, …values } of the last refusal */
  share: {}           /* item id → { limit, used }, as a refusal told it */
};

const timeOf = (m, field) => Date.parse(m.status?.[field] ?? m.sale?.[field]) || null;
export const starts = m => timeOf(m, 'starts_at');
export const ends = m => timeOf(m, 'ends_at');
export const row = m => m.status?.items?.find(r => r.item === m.item.id) ?? {};

/** before | due | live | out | sold | paused | ended */
export function sceneOf(m, t = now()) {
  const { status } = m, { state } = row(m), opens = starts(m), closes = ends(m);
  if (status.phase === 'closed' || state === 'ended' || (closes && t >= closes && m.seen_ms < closes + OPENING_MS)) return 'ended';
  if (status.phase === 'paused' || state === 'paused') return 'paused';
  const shut = status.phase ? ['scheduled', 'draft'].includes(status.phase) : !status.started;
  if (shut) {
    if (!opens || t < opens) return 'before';
    return m.seen_ms < opens + OPENING_MS ? 'live' : 'due';
  }
  return state === 'sold_out' ? 'sold' : state === 'held_out' ? 'out' : 'live';
}

/** How many the buyer may ask for at once: the limit, less what a refusal said is already used. */
export function most(m) {
  const limit = m.item.limit_per_buyer ?? 1, { used = 0 } = m.share[m.item.id] ?? {};
  return Math.max(1, limit - used);
}
const atLimit = m => { const s = m.share[m.item.id]; return !!s && s.used >= s.limit; };

/** The name under which the words of button, title and text are found in the copy. */
export function dealOf(m, scene, t = now()) {
  if (m.offline || m.stage === 'offline') return 'offline';
  if (m.press && m.stage) return m.stage;
  const mine = m.order?.item === m.item.id ? { reserved: 'reserved', paid: 'paid', expired: 'lapsed' }[m.order.state] : null;
  if (mine) return mine;
  if (scene === 'sold') return 'soldout';
  if (scene === 'out') return 'heldout';
  if (scene === 'paused' || scene === 'ended') return scene;
  if (!m.token) return m.sign_in_url ? 'signin' : 'nosignin';
  if (scene === 'before' || scene === 'due') return scene;
  if (atLimit(m)) return 'limit';
  if (t < m.busy_ms) return 'busy';
  if (t < m.calm_ms) return 'cooldown';
  return 'live';
}

/** What a refusal means for the page. The refusal is newer than any status, so it is written into the status. */
export function learn(m, code, problem, press) {
  const r = m.status?.items?.find(i => i.item === press.item);
  m.why = { name: 'cooldown' };
  if (code === 'sold_out') {
    if (problem.available > 0) m.why = { name: 'less', available: problem.available };
    else if (r) Object.assign(r, { state: problem.may_return === false ? 'sold_out' : 'held_out', remaining: r.count == null ? null : 0 });
  } else if (code === 'limit_reached') {
    const limit = problem.limit ?? m.item.limit_per_buyer, used = problem.used ?? limit;
    m.share[press.item] = { limit, used };
    m.why = { name: 'share', limit, used };
  } else if (code === 'paused') m.status.phase = 'paused';
  else if (code === 'ended') m.status.phase = 'closed';
  else if (code === 'not_started') Object.assign(m.status, { phase: 'scheduled', started: false, starts_at: problem.opens_at ?? m.status.starts_at });
  else if (code === 'unavailable') m.why = { name: 'undecided' };
  else m.why = { name: 'refused', detail: typeof problem.detail === 'string' ? problem.detail.slice(0, 140) : '' };
}
