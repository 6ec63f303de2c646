/* Draws the sale's page in every state that its model can have, and reads the texts of its
   parts. The test serves the page's own modules, so this script draws what visitors see. */
import { model as plain, sceneOf } from '/assets/sale-state.js';
import { screenOf } from '/assets/sale-screen.js';
import { show, showItem, showItems, translateItem } from '/assets/sale-view.js';
import { bindLanguages, ready, site, translate } from '/assets/texts.js';
import { now, setClock } from '/assets/clock.js';
import { Kept, faultsOfButtons, faultsOfSize, faultsOfWords, wordsOf } from '/states/common.js';

const NOW = '2026-11-27T19:30:00.000Z';
const SECOND = 1_000,
  MINUTE = 60 * SECOND,
  HOUR = 60 * MINUTE,
  DAY = 24 * HOUR;
const at = ms => new Date(now() + ms).toISOString();

/* ----- the sale's side: the times, the status, and the counts ----- */

const counted = (state, remaining, held) => ({ state, count: 1_000, remaining, held });
const uncounted = state => ({ state, count: null, remaining: null });
const sales = {
  soon: { starts: 49 * MINUTE, phase: 'scheduled', row: counted('upcoming', 1_000, 0) },
  'in three days': { starts: 3 * DAY, phase: 'scheduled', row: uncounted('upcoming') },
  'without a date': { phase: 'scheduled', row: counted('upcoming', 1_000, 0) },
  'just now': { starts: -SECOND, phase: 'scheduled', row: counted('upcoming', 1_000, 0) },
  due: { starts: -MINUTE, phase: 'scheduled', row: counted('upcoming', 1_000, 0) },
  open: { starts: -HOUR, ends: 55 * MINUTE, phase: 'open', row: counted('on_sale', 387, 96) },
  'open, one left': { starts: -HOUR, phase: 'open', row: counted('on_sale', 1, 1) },
  'open, none held': { starts: -2 * DAY, phase: 'open', row: counted('on_sale', 1_000, 0) },
  'open, uncounted': { phase: 'open', row: uncounted('on_sale') },
  'open, unlimited': { ends: 9 * DAY, phase: 'open', row: { state: 'on_sale', count: null } },
  'held out': { starts: -HOUR, ends: 38 * MINUTE, phase: 'open', row: counted('held_out', 0, 96) },
  'held out, one': { starts: -HOUR, phase: 'open', row: counted('held_out', 0, 1) },
  'held out, uncounted': { starts: -HOUR, phase: 'open', row: uncounted('held_out') },
  'sold out': { starts: -HOUR, ends: 38 * MINUTE, phase: 'open', row: counted('sold_out', 0, 0) },
  'sold out, uncounted': { phase: 'open', row: uncounted('sold_out') },
  paused: { starts: -HOUR, ends: 38 * MINUTE, phase: 'paused', row: counted('paused', 387, 96) },
  'paused, uncounted': { phase: 'paused', row: uncounted('paused') },
  ended: { starts: -HOUR, ends: -MINUTE, phase: 'closed', row: counted('ended', 142, 12) },
  'ended early': { starts: -HOUR, ends: 38 * MINUTE, phase: 'closed', row: counted('ended', 1, 1) },
  'ended, none left': { phase: 'closed', row: counted('ended', 0, 0) },
  'ended, uncounted': { ends: -DAY, phase: 'closed', row: uncounted('ended') },
};

/* ----- the buyer's side ----- */

const TOKEN = 'x.' + btoa(JSON.stringify({ sub: 'ann', member: false, level: 1 })) + '.x';
const order = (state, more = {}) => ({
  id: 'ord_1',
  sale: 'spring',
  item: 'lamp',
  units: 1,
  state,
  pay_by: at(14 * MINUTE),
  amount: { amount_minor: 4_900, currency: 'EUR' },
  ...more,
});
const room = more => ({
  front: { waiting_room: 'always', pass: 'required' },
  room: { position: 212, first: 300, until_ms: null, ...more },
});
const error = name => ({ waitlistError: { item: 'lamp', name } });
const buyers = {
  known: () => ({}),
  'not signed in': () => ({ token: null, sign_in_url: '/sign-in' }),
  'not signed in, without a page for it': () => ({ token: null }),
  'not known yet': () => ({ token: null, sign_in_url: '/sign-in', identifying: true }),
  offline: () => ({ offline: true }),
  asking: () => ({ press: { units: 1 }, stage: 'asking' }),
  queued: () => ({ press: { units: 2, decide_by: at(5 * SECOND) }, stage: 'queued' }),
  retrying: () => ({ press: { units: 1 }, stage: 'retrying', retry_ms: now() + 3 * SECOND }),
  'offline while asking': () => ({ press: { units: 1 }, stage: 'offline' }),
  reserved: () => ({ order: order('reserved') }),
  'reserved, the limit': () => ({ order: order('reserved', { units: 2 }) }),
  'reserved from the waitlist': () => ({ order: order('reserved'), came: 'ord_1' }),
  'reserved until tomorrow': () => ({ order: order('reserved', { pay_by: at(DAY) }) }),
  paid: () => ({ order: order('paid') }),
  'paid, the limit': () => ({ order: order('paid', { units: 2 }) }),
  lapsed: () => ({ order: order('expired', { pay_by: at(-MINUTE) }) }),
  resting: () => ({ calm_ms: now() + 7 * SECOND }),
  'no luck': () => ({ calm_ms: now() + 7 * SECOND, why: { name: 'cooldown' } }),
  'fewer left': () => ({ calm_ms: now() + 7 * SECOND, why: { name: 'less', available: 1 } }),
  'part of the limit': () => ({
    calm_ms: now() + 7 * SECOND,
    why: { name: 'share', used: 1, limit: 2 },
    share: { lamp: { used: 1, limit: 2 } },
  }),
  undecided: () => ({ calm_ms: now() + 7 * SECOND, why: { name: 'undecided' } }),
  refused: () => ({ calm_ms: now() + 7 * SECOND, why: { name: 'refused' } }),
  'at the limit': () => ({ share: { lamp: { used: 2, limit: 2 } } }),
  'too often': () => ({ busy_ms: now() + 18 * SECOND, scope: 'buyer' }),
  'too many from a network': () => ({ busy_ms: now() + 18 * SECOND, scope: 'ip' }),
  'too many at once': () => ({ busy_ms: now() + 18 * SECOND, scope: 'interface' }),
  'not a member': () => ({ front: { members_only: true } }),
  'refused as not a member': () => ({ barred: { name: 'members' } }),
  'a low level': () => ({ front: { min_level: 3 } }),
  blocked: () => ({ barred: { name: 'blocked' } }),
  'without a code': () => ({ front: { pass: 'required', access_codes: 'required' } }),
  'before the check': () => ({ front: { pass: 'required', challenge: 'slider' } }),
  'after the check': () => ({
    front: { pass: 'required', challenge: 'slider' },
    passes: { lamp: { pass: 'x', item: 'lamp', valid_from: at(-HOUR), expires_at: at(DAY) } },
  }),
  'outside the waiting room': () => ({ front: { waiting_room: 'always', pass: 'required' } }),
  joining: () => ({ ...room({}), room: null, joining: true }),
  'in the draw': () => room({ state: 'before', position: null }),
  waiting: () => room({ state: 'waiting', estimate: { from: 130, to: 230 } }),
  'next in the waiting room': () =>
    room({ state: 'waiting', position: 1, first: 1, estimate: { from: 0, to: 12 } }),
  'waiting without an estimate': () => room({ state: 'waiting' }),
  'stuck in the waiting room': () => ({ ...room({ state: 'waiting' }), roomStuck: true }),
  'nothing left for the position': () => room({ state: 'gone' }),
  'in turn': () => room({ state: 'admitted', until_ms: now() + 2 * MINUTE }),
  'a turn that is over': () => room({ state: 'admitted', until_ms: now() - MINUTE }),
  'a turn that lapsed': () => ({ ...room({}), room: null, lapsed: true }),
  'on the waitlist': () => ({ waitlist: { lamp: { id: 'w', ahead: 12 } } }),
  'second on the waitlist': () => ({ waitlist: { lamp: { id: 'w', ahead: 1 } } }),
  'next on the waitlist': () => ({ waitlist: { lamp: { id: 'w', ahead: 0 } } }),
  'somewhere on the waitlist': () => ({ waitlist: { lamp: { id: 'w', ahead: null } } }),
  'stuck on the waitlist': () => ({ waitlist: { lamp: { id: 'w', ahead: 3 } }, ...error('stuck') }),
  'joining the waitlist': () => ({ waitlistBusyItem: 'lamp' }),
  'a full waitlist': () => error('waitlist_full'),
  'a waitlist beyond the limit': () => error('limit_reached'),
  'a waitlist that served before': () => error('wrong_state'),
  'a waitlist not reached': () => error('lost'),
  'a waitlist entry that ended': () => error('ended'),
};

const ITEM = {
  id: 'lamp',
  title: 'Ora 99',
  description: '',
  price: { amount_minor: 4_900, currency: 'EUR' },
  list_price: { amount_minor: 12_900, currency: 'EUR' },
  limit_per_buyer: 2,
  hold_secs: 900,
};
/** Draws the state, and returns the screen that the model made for it. */
function draw(sale, buyer) {
  const { front, ...own } = buyers[buyer](),
    { starts, ends, phase, row } = sales[sale];
  const times = {
    starts_at: starts === undefined ? null : at(starts),
    ends_at: ends === undefined ? null : at(ends),
  };
  const m = Object.assign(structuredClone(plain), { id: 'spring', token: TOKEN, ...own });
  m.sale = { id: 'spring', title: 'Ora 99', items: [ITEM], ...times };
  m.item = ITEM;
  m.seen_ms = now();
  m.title = ITEM.title;
  m.spread = 0;
  m.status = {
    sale: 'spring',
    phase,
    started: phase !== 'scheduled',
    server_time: at(0),
    ...times,
    items: [{ item: 'lamp', ...row }],
    ...(front && { front_door: front }),
  };
  show(m);
  return screenOf(m, now());
}

/* ----- what the parts of the page say ----- */

const PARTS = [
  '#pill', '#clock-label', '#clock', '#stock', '#stock-more', '#units', '.press .buy:not([hidden])',
  '#say-title', '#say-text', '.aside > :not([hidden])', '#full-time', '#shop-time',
];
/* `OPEN` finds texts that say that a buyer can buy now. `SHUT` finds texts that say that a buyer
   cannot buy now. A page must not show both kinds. */
const OPEN = /\b(Open now|On sale|Buy now|are open)\b|正在抢购$|立即抢购|抢购已开始|正在销售/,
  SHUT = new RegExp(
    '\\b(Paused|is paused|Sold out|None left|Ended|has ended|ended|Opens|opens)\\b' +
      '|已暂停|已售罄|暂时无货|已结束|后开抢|即将开',
  );
/* `SOME` finds texts that say how many units are left, and `NONE` finds texts that say that none
   are left. `STATES` finds words for the state of the sale. */
const SOME = /^[1-9]\d* left\b|^还剩 [1-9]|^剩余 [1-9]/,
  NONE = /\b(None left|Sold out)\b|暂时无货|已售罄/,
  STATES = /^(Open now|Waiting room|On the waitlist|正在抢购|排队中|候补中)$/;
/* The `data-light` value of the picture for each label. */
const LIGHTS = [
  ['before', /^(Opens|Coming soon)\b|开抢$|敬请期待/],
  ['on', /^(Open now|Your turn|Reserved for you)$|^(正在抢购|轮到你了|已为你保留)$/],
  ['low', /^(None left now|Paused)$|^(暂时无货|已暂停)$/],
  ['off', /^(Sold out|Ended)$|^(已售罄|已结束)$/],
];
/* Matches the names of the states in which the button does nothing. */
const IDLE = new RegExp(
  '^(waitlist(full|limit|once|busy)|soldout|limit|members|level|blocked|nosignin|paused|endedx?' +
    '|gone|goneout|due|before|undated|drawn|ready|joining|waitlisted|asking|queued|waiting' +
    '|identifying)\\.',
);
/* The text that was drawn in the tab's icon. */
let drawn = '';
const { fillText } = CanvasRenderingContext2D.prototype;
CanvasRenderingContext2D.prototype.fillText = function (words, ...rest) {
  drawn = words;
  return fillText.call(this, words, ...rest);
};
const iconOf = () =>
  document.querySelector('link[rel=icon]').href.startsWith('data:') ? drawn : '';

/* The icon must count down with the title. The icon may be filled only if the title gives the
   reason. */
function faultsOfTab(tab, mode) {
  const icon = iconOf(),
    head = tab === 'Ora 99' ? '' : tab,
    time = /(?:(\d+):)?(\d+):(\d+)/.exec(head);
  if (icon && !head) return [`the icon says “${icon}”, and the title says nothing`];
  if (!!time !== /\d/.test(icon)) return [`the icon “${icon}” contradicts the title “${head}”`];
  if (time) {
    const [, h = 0, min, s] = time.map(n => Number(n ?? 0)),
      secs = h * 3600 + min * 60 + s,
      number = secs < 60 ? secs : Math.ceil(secs / 60);
    const days = /d |天/.test(head);
    return days || Math.abs(number - Number(icon)) <= 1 ? [] : [`the icon “${icon}” at “${head}”`];
  }
  const can = ['go', 'order', 'signin', 'refill'].includes(mode);
  if (icon && !can && OPEN.test(head)) return ['the icon calls a buyer who can do nothing'];
  return head && can && !icon && OPEN.test(head) ? ['the icon is not filled'] : [];
}
function faultsOf(sale, { mode, title: key }, words) {
  const [pill, label, clock, stock, , , button, title, , action] = words;
  const faults = faultsOfWords(words);
  const tab = document.title.replace(/ – Ora 99$/, '');
  const said = [pill, label, clock, stock, button, title, tab];
  const open = said.filter(word => OPEN.test(word)),
    shut = said.filter(word => SHUT.test(word));
  if (open.length && shut.length) faults.push(`“${open}” contradicts “${shut}”`);
  const some = said.filter(word => SOME.test(word)),
    none = said.filter(word => NONE.test(word));
  if (some.length && none.length) faults.push(`“${some}” contradicts “${none}”`);
  if (tab !== 'Ora 99' && said.indexOf(tab) === 6 && STATES.test(tab))
    faults.push(`only the tab says “${tab}”`);
  const acts = document.querySelector('#buy').dataset.mode === 'go';
  if (acts && /Buy now|立即抢购/.test(button) && sales[sale].row.state !== 'on_sale')
    if (sale !== 'just now') faults.push('the button buys what is not on sale');
  const more = document.querySelector('#act:not([hidden])[data-does=again]');
  if (more && sale !== 'just now' && !['on_sale', 'held_out'].includes(sales[sale].row.state))
    faults.push(`“${more.textContent}” is offered for what is not on sale`);
  if (action === button) faults.push(`two buttons say “${button}”`);
  const { light } = document.querySelector('#stage').dataset,
    lit = LIGHTS.find(([, label]) => label.test(pill))?.[0];
  if (lit && lit !== light) faults.push(`the light is “${light}”, but the label is “${pill}”`);
  if (/Buy now|立即抢购/.test(button) && light !== 'on')
    faults.push(`the light is “${light}”, but the button is “${button}”`);
  const isIdle = mode !== 'go' && IDLE.test(key);
  return [...faults, ...faultsOfTab(tab, mode), ...faultsOfButtons(isIdle)];
}
const kept = new Kept();
/* Returns the state's faults and the positions of the page's parts. */
function visit(sale, buyer, zone) {
  site.time_zone = zone;
  const screen = draw(sale, buyer),
    { scene, buyerState, variant, tone, title } = screen,
    parts = PARTS.map(part => document.querySelector(part)),
    words = wordsOf(parts);
  const places = parts.map(el => Math.round(el?.getBoundingClientRect().top ?? -1));
  const faults = [...faultsOf(sale, screen, words), ...faultsOfSize(parts)];
  if (zone === SHOP_ZONE && !words.at(-1) && words.at(-2))
    faults.push('the shop’s time is missing');
  const names = [title.split('.')[0], scene, buyerState, variant, tone, zone];
  kept.add(names.filter(Boolean).join(' '), () => {
    site.time_zone = zone;
    draw(sale, buyer);
  });
  const shown = zone === SHOP_ZONE ? zone : '';
  return { state: `${sale}, ${buyer}`, buyerState, words, places, faults, zone: shown };
}
/* A time zone of the shop that differs from the time zone of every visitor of the test. */
const SHOP_ZONE = 'Asia/Kathmandu';
const UNKNOWN_ZONE = 'Asia/Shanghaii';
/** Draws every state in the page's language, and some states with a time zone of the shop.
   Returns the faults of each state, and the positions of the page's parts. */
function walk() {
  const found = Object.keys(sales).flatMap(sale =>
    Object.keys(buyers).map(buyer => visit(sale, buyer, null)),
  );
  for (const sale of Object.keys(sales))
    for (const buyer of ['known', 'reserved']) found.push(visit(sale, buyer, SHOP_ZONE));
  for (const sale of Object.keys(sales)) found.push(visit(sale, 'known', UNKNOWN_ZONE));
  return found;
}

/* ----- the cases that the list of sales and the server's page share ----- */

const SHOWN = {
  before: 'soon', due: 'soon', live: 'open', out: 'none_left', sold: 'sold_out', paused: 'paused',
  ended: 'ended',
};
/** The list of sales shows the state of the item that gives a buyer the best chance. */
function shownOf(sale) {
  const m = { ...structuredClone(plain), sale, status: sale.status };
  m.seen_ms = Date.parse(sale.status.server_time);
  const scenes = sale.items.map(item => sceneOf({ ...m, item }, m.seen_ms));
  return SHOWN[['live', 'out', 'sold'].find(best => scenes.includes(best)) ?? scenes[0]];
}

setClock(NOW, performance.now(), performance.now());
translate();
const first = structuredClone(plain);
first.sale = { id: 'spring', title: 'Ora 99', items: [ITEM] };
first.item = ITEM;
showItems(first, () => {});
showItem(first);
bindLanguages(() => translateItem(first));
window.states = {
  draw: kept.draw,
  look: (...how) => kept.look(...how),
  names: kept.names,
  shownOf,
  walk,
};
ready();
