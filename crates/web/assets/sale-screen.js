/* Derives one screen of the sale page from the model, and does not touch the page. Each text is a
   key of texts-en.js and texts-zh.js. */
import { has } from '/assets/texts.js';
import { LOOKS } from '/assets/scene.js';
import {
  OLD_MS, canWaitlist, buyerStateOf, ends, isAdmitted, row, sceneOf, variantOf, starts, usedUp,
} from '/assets/sale-state.js';

/* For each buyer state (see sale-state.js):
   - `look`: replaces the look of the scene.
   - `mode`: the mode of the button.
   - `pick`: whether the buyer may choose units.
   - `tone`: the tone of the words.
   - `act`: the second action, if it stays on the sale page.
   - `see`: the address of the page that the second action opens.
   - `until`: the field of the model with the time at which the state ends. */
const BUYER_STATES = {
  before: { mode: 'wait', pick: true },
  due: { mode: 'wait', pick: true },
  live: { mode: 'go', pick: true },
  asking: { mode: 'busy' },
  queued: { mode: 'busy' },
  retrying: { mode: 'busy', until: 'retry_ms' },
  cooldown: { mode: 'refill', until: 'calm_ms', pick: true },
  busy: { mode: 'refill', until: 'busy_ms', pick: true },
  reserved: {
    mode: 'order',
    tone: 'good',
    act: 'again',
    look: { light: 'on', pill: 'yours', tone: 'live' },
  },
  paid: { mode: 'order', tone: 'good', act: 'again' },
  lapsed: { mode: 'order', act: 'again' },
  heldout: { mode: 'wait', until: 'busy_ms' },
  waitlisted: { mode: 'busy', act: 'leave', look: { pill: 'waitlisted', tone: 'live' } },
  soldout: { mode: 'wait', see: '/' },
  limit: { mode: 'wait', see: '/#orders' },
  check: { mode: 'go', pick: true },
  code: { mode: 'go', pick: true },
  join: { mode: 'go', pick: true },
  waiting: { mode: 'busy', pick: true, act: 'quit', look: { pill: 'waitingroom', tone: 'live' } },
  gone: {
    mode: 'wait',
    pick: true,
    act: 'quit',
    look: { light: 'low', pill: 'waitingroom', tone: 'warn' },
  },
  members: { mode: 'wait', act: 'anew' },
  level: { mode: 'wait', act: 'anew' },
  blocked: { mode: 'wait', act: 'anew' },
  identifying: { mode: 'busy' },
  signin: { mode: 'signin' },
  nosignin: { mode: 'wait' },
  paused: { mode: 'wait' },
  ended: { mode: 'wait', see: '/#orders' },
  offline: { mode: 'wait', tone: 'bad', act: 'retry', look: { pill: 'offline', tone: 'warn' } },
};
const HOUR_MS = 3_600_000;
/* The page alerts the buyer if the turn comes within NEAR_SECS, or if the position is NEAR_POSITION
   or lower. */
const NEAR_SECS = 60,
  NEAR_POSITION = 3;

const mayBuyMore = (m, scene, buyerState) =>
  ['live', 'out'].includes(scene) && (buyerState === 'lapsed' || !usedUp(m));

/** Returns the screen at this time:
   - `scene`, `buyerState`, `variant`: the state (see sale-state.js)
   - `light`, `pill`, `tone`: the picture, the label and the label's tone
   - `clock`: { label, and one of text, time, left, count }
   - `date`: the time that matters now
   - `aloud`: the countdown for screen readers
   - `stock`: { words, more, values, bar: { sold, held } in thousandths, or null }
   - `mode`, `until`, `button`: the button
   - `pick`: whether the buyer may choose units
   - `say_tone`, `title`, `text`: the words
   - `act`, `see`: the second action
   - `tab`: { head, rest_ms, lit }: the text before the tab's title, the time in its icon, and
     whether the buyer can act now
   - `news`: the event to report to a buyer who looks at another tab, or null */
export function screenOf(m, t) {
  const scene = sceneOf(m, t),
    buyerState = buyerStateOf(m, scene, t),
    plan = BUYER_STATES[buyerState];
  const state = {
    m,
    t,
    scene,
    buyerState,
    variant: variantOf(m, buyerState, t),
    turn: isTurn(m, scene, buyerState, t),
  };
  /* The label has the name of the scene, but `due` has the label `soon`. */
  const pill = scene === 'due' ? 'soon' : scene,
    look = { pill, ...LOOKS[scene], ...plan.look };
  if (state.turn) Object.assign(look, { pill: 'turn', tone: 'live' });
  if (look.pill === 'before' && !starts(m)) look.pill = 'undated';
  const words = part => wordsOf(state, part);
  const news = newsOf(state);
  /* A buyer whom the token's claims exclude gets no "Check again", because these claims do not
     change. */
  const acts =
    plan.act &&
    !(plan.act === 'anew' && !m.barred) &&
    !(plan.act === 'again' && !mayBuyMore(m, scene, buyerState));
  const mode = plan.mode === 'wait' && canWaitlist(m, buyerState, t) ? 'go' : plan.mode;
  return {
    ...state,
    ...look,
    clock: clockOf(state),
    date: dateOf(state),
    aloud: aloudOf(state),
    stock: stockOf(state),
    mode,
    until: plan.until ? m[plan.until] : t,
    pick: !!plan.pick,
    say_tone: plan.tone,
    button: words('button'),
    title: words('title'),
    text: words('text'),
    act: acts ? plan.act : null,
    see: plan.see && (plan.see === '/' || m.token) ? plan.see : null,
    action: plan.act === 'quit' ? 'room.leave' : buyerState + '.action',
    tab: tabOf(state, look.pill, mode, news),
    news,
  };
}

const isTurn = (m, scene, buyerState, t) =>
  ['live', 'check', 'code', 'cooldown', 'busy'].includes(buyerState) &&
  scene !== 'before' &&
  isAdmitted(m, t) &&
  !!m.room.until_ms;

/* Returns the text of the button, or of a line under it. During the pause after a refusal, the
   lines give the reason for the refusal, but the button does not. */
function wordsOf({ m, t, buyerState, variant }, part) {
  if (variant && has(`${variant}.${part}`)) return `${variant}.${part}`;
  if (buyerState === 'cooldown' && part !== 'button') {
    const key = `${m.why?.name ?? 'again'}.${part}`;
    if (has(key)) return key;
  }
  if (part === 'button' && canWaitlist(m, buyerState, t)) return 'joinable.button';
  const hasEnded = ends(m) && ends(m) <= t;
  if (buyerState === 'ended' && part === 'title' && !hasEnded) return 'endedx.title';
  if (buyerState === 'before' && !starts(m)) return 'undated.' + part;
  return `${buyerState}.${part}`;
}

/* The clock shows these texts when it has no time to show. */
const STATE_WORDS = { out: 'clock.out', sold: 'clock.soldout', paused: 'clock.paused' };
function clockOf({ m, t, scene, buyerState, turn }) {
  const opens = starts(m),
    closes = ends(m),
    state = { label: 'state', text: STATE_WORDS[scene] ?? 'clock.open' };
  if (buyerState === 'reserved') return { label: 'pay', left: Date.parse(m.order.pay_by) - t };
  if (buyerState === 'waitlisted') {
    const { ahead } = m.waitlist[m.item.id];
    return { label: 'position', count: ahead === null ? null : ahead + 1 };
  }
  if (buyerState === 'waiting' || buyerState === 'gone')
    return { label: 'position', count: m.room?.position || null };
  if (turn) return { label: 'turn', left: m.room.until_ms - t };
  /* The button shows the front door's step and not the countdown, so the clock shows the
     countdown. */
  if (scene === 'before' && ['check', 'code'].includes(buyerState) && opens && opens - t < HOUR_MS)
    return { label: 'in', left: opens - t };
  if (scene === 'before' || scene === 'due')
    return opens ? { label: 'before', time: opens } : { ...state, text: 'pill.undated' };
  if (scene === 'ended')
    return closes && closes <= t
      ? { label: 'ended', time: closes }
      : { ...state, text: 'clock.shut' };
  /* Buyers do not wait for a certain time in these states. */
  if (scene === 'paused' || scene === 'sold') return state;
  if (closes) return { label: 'live', left: closes - t };
  if (opens && opens <= t && scene === 'live') return { label: 'opened', time: opens };
  return state;
}
function dateOf({ m, t, scene }) {
  const opens = starts(m),
    closes = ends(m);
  if (scene === 'before' || scene === 'due') return opens ? { key: 'opens', at: opens } : null;
  if (closes && closes <= t) return { key: 'closed', at: closes };
  /* An operator may have closed an ended sale early, so the page does not show its planned closing
     time. */
  if (closes && scene !== 'ended') return { key: 'closes', at: closes };
  return opens ? { key: 'opened', at: opens } : null;
}
function aloudOf({ m, scene, buyerState, turn }) {
  if (buyerState === 'reserved') return { key: 'clock.pay', at: Date.parse(m.order.pay_by) };
  if (turn) return { key: 'clock.turn', at: m.room.until_ms };
  return scene === 'before' && starts(m) ? { key: 'say.opens', at: starts(m) } : null;
}

/* If the status has no counts, the stock line has only a text. It never shows a guessed count. */
function stockOf({ m, t, scene, buyerState }) {
  const r = row(m),
    counted = Number.isInteger(r.count) && Number.isInteger(r.remaining),
    held = Number.isInteger(r.held) ? r.held : 0,
    taken = counted ? r.count - r.remaining : 0;
  const values = { total: r.count ?? 0, left: r.remaining ?? 0, held };
  const { position, first } = m.room ?? {};
  /* Shows how far this buyer has moved up in the queue, instead of the stock. */
  if (buyerState === 'waiting' && position && first)
    return {
      words: 'stock.queue',
      more: counted && r.remaining ? 'stock.live' : null,
      values: { ...values, first, position },
      bar: { sold: 0, held: Math.round((1000 * (first - position)) / first) },
    };
  const key = scene === 'due' ? 'before' : scene;
  let words = key,
    more = key + '+';
  if (buyerState === 'gone' && (!counted || r.remaining)) words = counted ? 'gone' : 'gonex';
  else if (key === 'out') {
    if (!held) more = 'out0+';
  } else if (key === 'sold') words = counted && r.count ? 'sold' : 'soldx';
  else if (!counted) {
    words = key === 'live' ? 'free' : key + 'x';
    more = key !== 'ended' && r.count === null ? 'free+' : 'none+';
  } else if (key === 'ended') {
    words = r.remaining ? 'ended' : 'ended0';
    more = held ? 'endedh+' : taken ? 'ended+' : 'none+';
  } else if (key === 'live' && !held) more = 'live0+';
  if (buyerState === 'gone') more = 'gone+';
  if ((m.offline || t - m.seen_ms > OLD_MS) && ['live', 'out'].includes(key)) more = 'old+';
  const part = n => (r.count && key !== 'before' ? Math.round((1000 * n) / r.count) : 0);
  const bar = { sold: part(Math.max(0, taken - held)), held: part(Math.min(held, taken)) };
  return { words: 'stock.' + words, more: 'stock.' + more, values, bar: counted ? bar : null };
}

/* ----- the tab's title and icon ----- */

const isNear = room =>
  room?.state === 'waiting' &&
  (room.position <= NEAR_POSITION || (room.estimate && room.estimate.to <= NEAR_SECS));
function newsOf({ m, scene, buyerState, turn }) {
  if (turn) return 'turn';
  if (buyerState === 'waiting' && isNear(m.room)) return 'near';
  if (buyerState === 'reserved' && m.order.id === m.came) return 'came';
  return scene === 'live' ? 'open' : null;
}
/* The modes of a button that the buyer can press now or in some seconds. */
const USABLE = ['go', 'order', 'signin', 'refill'];
function tabOf({ m, t, scene, buyerState }, pill, mode, news) {
  const wait = scene === 'before' && starts(m) ? starts(m) - t : 0,
    soon_ms = wait < HOUR_MS ? wait : 0,
    pay_ms = buyerState === 'reserved' ? Math.max(0, Date.parse(m.order.pay_by) - t) : 0;
  const head = soon_ms
    ? 'remind.soon'
    : news && news !== 'open'
      ? 'remind.' + news
      : pay_ms
        ? 'remind.pay'
        : ['live', 'waitingroom', 'waitlisted'].includes(pill)
          ? 'pill.' + pill
          : null;
  const lit = (!!news && news !== 'open') || (pill === 'live' && USABLE.includes(mode));
  /* The icon counts down only if the title also counts down. */
  return { head, rest_ms: soon_ms || (head === 'remind.pay' ? pay_ms : 0), lit };
}
