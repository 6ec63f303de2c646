/* The model of the sale page, and the state that follows from the model. This code touches neither
   the page nor the network. The *scene* is the state of the sale (before, open, ended, …). The
   *buyer state* says what this buyer can do, or waits for. */
import { now } from '/assets/clock.js';
import { EARLY_MS, passOf } from '/assets/pass.js';
import { OPENING_MS, sceneOfStatus } from '/assets/scene.js';
import { claimsOf } from '/assets/who.js';

/** The page accepts at most one press in this interval. The server also has its own limits. */
export const CALM_MS = 10_000;
/** If a status is older than this, the page shows the time of the status. */
export const OLD_MS = 20_000;

export const model = {
  id: null,
  sale: null,
  item: null,
  units: 1,
  token: null,
  identifying: false /* the page repeats the failed request for this buyer's session */,
  sign_in_url: null,
  status: null /* the newest answer or event */,
  seen_ms: 0 /* server time at which the newest answer or event came */,
  offline: false,
  removed: false /* an operator has deleted the sale, or has made it a draft again */,
  press: null /* the press without a final answer */,
  stage: null /* the stage of the press: asking, queued, retrying, offline */,
  retry_ms: 0 /* server time of the press's next attempt */,
  order: null /* the order that the last press got, until the buyer asks for more */,
  came: null /* the id of the order that a waitlist entry became */,
  calm_ms: 0 /* server time until which the button rests after a press */,
  busy_ms: 0 /* until this server time, the page must send no requests */,
  scope: null /* the scope of the exceeded limit: buyer, ip, interface */,
  why: null /* { name, …values } of the last refusal */,
  passes: {} /* item id → { pass, item, valid_from, expires_at } */,
  code: null /* the access code that the buyer typed */,
  barred: null /* { name } of the reason why this buyer may not buy: members, level, blocked */,
  /* The position in the waiting room of the sale or of the shown item:
     { state, position, first, estimate: {…}, until_ms } */
  room: null,
  roomStuck: false /* the request to leave the waiting room failed */,
  lapsed: false /* this buyer's turn ended unused */,
  joining: false /* a position is being taken */,
  waitlist: {} /* item id → { id, ahead }: this buyer's waitlist entries */,
  waitlistBusyItem: null /* the item whose waitlist is being joined or left */,
  wish: null /* the item whose waitlist is joined once the front door's requirements are met */,
  waitlistError: null /* { item, name }: why joining or leaving the waitlist failed */,
  spread: Math.random() /* 0 to 1: chooses this visitor's moment within a period of time */,
  /* item id → { limit, used, orders }. `limit` and `used` come from the orders or from a refusal.
     `orders` has the units of each known order, and 0 for an ended order. */
  share: {},
};

/* If an operator has removed a time, its field is null. */
const timeOf = (m, field) => Date.parse((m.status ?? m.sale)?.[field]) || null;
export const starts = m => timeOf(m, 'starts_at');
export const ends = m => timeOf(m, 'ends_at');
export const row = m => m.status?.items?.find(r => r.item === m.item.id) ?? {};

/** The scene of the shown item (see scene.js). The scene also follows the page's clock, because the
   start can come before a status reports the start. */
export function sceneOf(m, t = now()) {
  const scene = sceneOfStatus(m.status, [row(m).state]),
    opens = starts(m),
    closes = ends(m);
  if (closes && t >= closes && m.seen_ms < closes + OPENING_MS) return 'ended';
  if (scene !== 'before' || !opens || t < opens) return scene;
  return m.seen_ms < opens + OPENING_MS ? 'live' : 'due';
}

/** Returns how many units the buyer may choose: the limit minus the units of the buyer's orders,
   but at least 1. */
export function most(m) {
  const limit = m.item.limit_per_buyer ?? 1,
    { used = 0 } = m.share[m.item.id] ?? {};
  return Math.max(1, limit - used);
}
export const atLimit = m => {
  const s = m.share[m.item.id];
  return !!s && s.used >= s.limit;
};

/* ----- the front door: its requirements, and those that this buyer does not meet ----- */

const OPEN_DOOR = {
  pass: 'off',
  challenge: 'off',
  waiting_room: 'off',
  rooms: 'sale',
  members_only: false,
  min_level: 0,
  access_codes: 'off',
};
const CHECK_SPREAD_MS = 18_000;
/** The server decides when a turn is over. When the page's clock shows the end of the turn, the
   page asks the server. If no answer comes within this time, the turn counts as over. */
const TURN_SLACK_MS = 10_000;
/** Returns the front door's requirements. The returned object is a part of the status, so that a
   refusal can change it. */
export function frontOf(m) {
  if (!m.status) return { ...OPEN_DOOR };
  return (m.status.front_door = { ...OPEN_DOOR, ...m.status.front_door });
}
/** Returns the item whose waiting room the page shows, or null if one room serves the whole
   sale. */
export const roomItem = m => (frontOf(m).rooms === 'items' ? (m.item?.id ?? null) : null);
/** The page offers an item's waiting room from this long before the start. If one room serves the
   whole sale, the page joins this room without a press. */
const JOIN_EARLY_MS = 600_000;
export const needsCheck = m => frontOf(m).challenge !== 'off';
/** Returns when the page offers the check, which is a random moment for each visitor. */
export const checkFrom = m => starts(m) - EARLY_MS + 2_000 + m.spread * CHECK_SPREAD_MS;
/** Returns why this buyer may not buy, or null. The token has the shop's claims about the buyer. */
export function barredOf(m) {
  const front = frontOf(m),
    { member = false, level = 0 } = claimsOf(m.token);
  if (m.barred) return m.barred.name;
  return front.members_only && !member ? 'members' : level < front.min_level ? 'level' : null;
}
/** Returns whether this buyer may get a pass. If there is a waiting room, it must have admitted the
   buyer. */
export const isIn = (m, t = now()) =>
  frontOf(m).waiting_room === 'off' ||
  (frontOf(m).waiting_room === 'auto' && !m.room) ||
  isAdmitted(m, t);
export const isAdmitted = (m, t = now()) =>
  frontOf(m).waiting_room !== 'off' &&
  m.room?.state === 'admitted' &&
  !(m.room.until_ms && t >= m.room.until_ms + TURN_SLACK_MS);
/** The step before buying, or null: members | level | blocked | waiting | gone | join | code |
   check. */
function stepOf(m, scene, t) {
  const front = frontOf(m),
    barred = barredOf(m),
    early = scene === 'before';
  if (barred) return barred;
  if (passOf(m, m.item.id, t)) return null;
  const wait = starts(m) - t;
  if (early && front.waiting_room === 'always' && front.rooms === 'items' && wait < JOIN_EARLY_MS) {
    if (m.joining) return 'waiting';
    if (!m.room) return 'join';
  }
  if (!early && front.waiting_room !== 'off') {
    if (m.joining) return 'waiting';
    if (m.room?.state === 'gone') return 'gone';
    if (['before', 'waiting'].includes(m.room?.state)) return 'waiting';
    if (front.waiting_room === 'always' && !isAdmitted(m, t)) return 'join';
  }
  if (front.pass !== 'required') return null;
  if (front.access_codes === 'required' && !m.code) return 'code';
  if (needsCheck(m) && (!early || (t >= checkFrom(m) && isIn(m, t)))) return 'check';
  return null;
}

/** The buyer state is the beginning of three keys: for the text of the button and for the two lines
   under it. */
export function buyerStateOf(m, scene, t = now()) {
  if (m.offline || m.stage === 'offline') return 'offline';
  if (m.press && m.stage) return m.stage;
  const mine =
    m.order?.item === m.item.id
      ? { reserved: 'reserved', paid: 'paid', expired: 'lapsed' }[m.order.state]
      : null;
  if (mine) return mine;
  if (scene === 'sold') return 'soldout';
  if (scene === 'out' && m.waitlist[m.item.id]) return 'waitlisted';
  if (scene === 'out')
    return frontOf(m).waiting_room !== 'off' && ['waiting', 'gone'].includes(m.room?.state)
      ? 'gone'
      : 'heldout';
  if (scene === 'paused' || scene === 'ended') return scene;
  if (!m.token && m.identifying) return 'identifying';
  if (!m.token) return m.sign_in_url ? 'signin' : 'nosignin';
  if (scene === 'due') return scene;
  if (scene === 'before') return (t < m.busy_ms ? null : stepOf(m, scene, t)) ?? scene;
  if (atLimit(m)) return 'limit';
  if (t < m.busy_ms) return 'busy';
  if (t < m.calm_ms) return 'cooldown';
  return stepOf(m, scene, t) ?? 'live';
}
/** Returns whether this buyer may join the waitlist. If there is a waiting room, it must have
   admitted the buyer. */
export const mayJoinWaitlist = m => !!m.token && !barredOf(m) && !atLimit(m) && isIn(m);

/* After one of these refusals, another try to join fails too. */
const CLOSED_WAITLIST = ['waitlist_full', 'limit_reached', 'wrong_state'];
/** If the waitlist refused the buyer with this code, forgets the refusal, because its reason may
   have ended. */
export function reopenWaitlist(m, code) {
  if (m.waitlistError?.name === code) m.waitlistError = null;
}
export const canWaitlist = (m, buyerState, t = now()) =>
  buyerState === 'heldout' &&
  mayJoinWaitlist(m) &&
  !m.waitlistBusyItem &&
  t >= m.busy_ms &&
  !(m.waitlistError?.item === m.item.id && CLOSED_WAITLIST.includes(m.waitlistError.name));
/** Returns whether the buyer has used up the limit. The order on the page counts too. */
export const usedUp = m => atLimit(m) || (m.order?.units ?? 0) >= (m.item.limit_per_buyer ?? 1);

export function variantOf(m, buyerState, t = now()) {
  if (buyerState === 'heldout' && m.waitlistBusyItem) return 'joining';
  if (buyerState === 'heldout' && m.barred) return m.barred.name;
  if (buyerState === 'heldout' && t < m.busy_ms) return 'waitlistbusy';
  if (buyerState === 'heldout' && m.waitlistError?.item === m.item.id)
    return (
      {
        waitlist_full: 'waitlistfull',
        limit_reached: 'waitlistlimit',
        wrong_state: 'waitlistonce',
        lost: 'waitlistlost',
        stuck: null,
        ended: null,
      }[m.waitlistError.name] ?? 'waitlistover'
    );
  if (buyerState === 'heldout') return mayJoinWaitlist(m) ? 'maywaitlist' : null;
  if (buyerState === 'waitlisted')
    return m.waitlistError?.name === 'stuck'
      ? 'stuck'
      : m.waitlist[m.item.id].ahead === null
        ? 'waitlistedx'
        : m.waitlist[m.item.id].ahead === 0
          ? 'next'
          : null;
  if (buyerState === 'reserved') return m.order.id === m.came ? 'came' : null;
  if (buyerState === 'before')
    return m.room?.state === 'before' && frontOf(m).waiting_room !== 'off'
      ? 'drawn'
      : passOf(m) && (needsCheck(m) || m.code)
        ? 'ready'
        : null;
  if (buyerState === 'check' && sceneOf(m, t) === 'before') return 'checknow';
  if (buyerState === 'live' || buyerState === 'check') return isAdmitted(m, t) ? 'turn' : null;
  if (m.roomStuck && ['waiting', 'gone'].includes(buyerState)) return 'roomstuck';
  if (buyerState === 'gone') return sceneOf(m, t) === 'out' ? 'goneout' : null;
  if (buyerState === 'join') return m.lapsed || m.room?.state === 'admitted' ? 'late' : null;
  if (buyerState === 'waiting')
    return m.room?.state === 'before' || !m.room ? 'drawing' : m.room.estimate ? null : 'unknown';
  if (buyerState === 'busy')
    return m.scope === 'buyer' ? 'busyme' : m.scope === 'interface' ? 'busyall' : null;
  return null;
}

const ENDED = ['cancelled', 'expired', 'refunded'];
/** An order's units count until the order ends. The end of an order that was not counted changes
   nothing. */
export function countOrder(m, { id, sale, item: name, units, state }) {
  const item = m.sale.items.find(i => i.id === name);
  if (sale !== m.id || !item) return;
  const share = (m.share[name] ??= { limit: item.limit_per_buyer ?? 1, used: 0 }),
    orders = (share.orders ??= {});
  if (['reserved', 'paid'].includes(state)) {
    if (!orders[id]) share.used += units;
    orders[id] = units;
  } else if (ENDED.includes(state)) {
    share.used = Math.max(0, share.used - (orders[id] ?? 0));
    orders[id] = 0;
  }
}
/** Counts an order again only if it was counted before, because a refusal's `used` may already
   include other orders. */
export function recountOrder(m, order) {
  if (ENDED.includes(order.state)) reopenWaitlist(m, 'limit_reached');
  if (m.share[order.item]?.orders?.[order.id] === undefined) return;
  countOrder(m, order);
  if (ENDED.includes(order.state) && m.why?.name === 'share') m.why = null;
}

/** Counts how much of each limit these orders use. Returns the order that the page must show, or
   null. */
export function learnOrders(m, orders) {
  const mine = orders.filter(o => o.sale === m.id && ['reserved', 'paid'].includes(o.state));
  m.share = {};
  for (const order of mine) countOrder(m, order);
  const here = mine.filter(o => o.item === m.item.id);
  return here.find(o => o.state === 'reserved') ?? (atLimit(m) ? (here[0] ?? null) : null);
}

/** A refusal is newer than any status, so it changes the status. */
export function learn(m, code, problem, press) {
  const r = m.status?.items?.find(i => i.item === press.item);
  m.why = { name: 'cooldown' };
  if (code === 'sold_out') {
    if (problem.available > 0) m.why = { name: 'less', available: problem.available };
    else if (r)
      Object.assign(r, {
        state: problem.may_return === false ? 'sold_out' : 'held_out',
        remaining: r.count == null ? null : 0,
      });
  } else if (code === 'limit_reached') {
    const limit = problem.limit ?? m.item.limit_per_buyer,
      used = problem.used ?? limit;
    m.share[press.item] = { ...m.share[press.item], limit, used };
    m.why = { name: 'share', limit, used };
  } else if (code === 'paused') m.status.phase = 'paused';
  else if (code === 'ended') m.status.phase = 'closed';
  else if (code === 'not_started')
    Object.assign(m.status, {
      phase: 'scheduled',
      started: false,
      starts_at: problem.opens_at ?? m.status.starts_at,
    });
  else if (code === 'unavailable') m.why = { name: 'undecided' };
  else m.why = { name: 'refused' };
}
