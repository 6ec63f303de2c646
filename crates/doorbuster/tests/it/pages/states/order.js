/* Draws the order page in every state that it can have, and reads the texts of its parts. The test
   serves the page's own modules, so this script draws what buyers see. */
import { stateOf } from '/assets/order-state.js';
import { showOrder } from '/assets/order-view.js';
import { bindLanguages, ready, site, translate } from '/assets/texts.js';
import { now, setClock } from '/assets/clock.js';
import { Kept, faultsOfButtons, faultsOfSize, faultsOfWords, wordsOf } from '/states/common.js';

const NOW = '2026-11-27T19:30:00.000Z';
const SECOND = 1_000,
  MINUTE = 60 * SECOND,
  DAY = 24 * 60 * MINUTE;
const at = ms => new Date(now() + ms).toISOString();
const amount = { amount_minor: 9_800, currency: 'EUR' };

const order = (state, more = {}) => ({
  id: 'ord_01hv5z8k2m9x7q4c',
  sale: 'spring',
  item: 'lamp',
  units: 2,
  state,
  reserved_at: at(-MINUTE),
  pay_by: at(14 * MINUTE),
  amount,
  ...more,
});
const done = (state, more) =>
  order(state, { paid_at: at(-30 * SECOND), ended_at: at(-SECOND), ...more });
const late = more => done('expired', { pay_by: at(-MINUTE), ...more });
const history = (...events) => ({
  history: events.map(([event, more], i) => ({ event, at: at((i - 9) * SECOND), ...more })),
});
const refund = (state, cause, ...events) => ({
  told: {
    ...history(['order.reserved'], ...events),
    refunds: [{ state, cause, amount, settled_at: state === 'settled' ? at(-SECOND) : null }],
  },
});
const back = () => ({ back_ms: performance.now() });
const codes = [
  'sold_out', 'limit_reached', 'not_started', 'paused', 'ended', 'unavailable',
  'idempotency_key_reused',
];
const refunds = (name, make) =>
  Object.fromEntries(
    ['pending', 'failed', 'settled'].map(state => [`${name}, refund ${state}`, () => make(state)]),
  );
const states = {
  loading: () => ({}),
  missing: () => ({ trouble: 'missing' }),
  unlinked: () => ({ trouble: 'unlinked', sign_in_url: '/sign-in' }),
  'unlinked, without a page to sign in': () => ({ trouble: 'unlinked' }),
  signin: () => ({ trouble: 'signin', sign_in_url: '/sign-in' }),
  nosignin: () => ({ trouble: 'signin' }),
  far: () => ({ trouble: 'far' }),
  queued: () => ({ order: order('queued', { decide_by: at(5 * SECOND), pay_by: null }) }),
  'on the waitlist': () => ({ order: order('waiting', { ahead: 12, joined_at: at(-MINUTE) }) }),
  'next on the waitlist': () => ({ order: order('waiting', { ahead: 0, joined_at: at(-DAY) }) }),
  'leaving the waitlist': () => ({
    order: order('waiting', { ahead: 0, joined_at: at(-DAY) }),
    cancelling: true,
  }),
  'still on the waitlist': () => ({
    order: order('waiting', { ahead: 0, joined_at: at(-DAY) }),
    said: 'o.unleft',
  }),
  left: () => ({ order: order('refused', { code: 'left', joined_at: at(-MINUTE) }) }),
  ...Object.fromEntries(
    codes.map(code => [`refused, ${code}`, () => ({ order: order('refused', { code }) })]),
  ),
  reserved: () => ({ order: order('reserved') }),
  'reserved, one': () => ({ order: order('reserved', { units: 1 }) }),
  'reserved until tomorrow': () => ({ order: order('reserved', { pay_by: at(DAY) }) }),
  'reserved, with more time': () => ({
    order: order('reserved'),
    told: history(['order.reserved'], ['order.extended']),
  }),
  'a payment that failed': () => ({
    order: order('reserved'),
    told: { ...history(['order.reserved']), payment_failed_at: at(-SECOND) },
  }),
  'a payment not heard of': () => ({ order: order('reserved'), unheard: true }),
  'opening the payment page': () => ({ order: order('reserved'), opening: true }),
  'cancelling': () => ({ order: order('reserved'), cancelling: true }),
  ...Object.fromEntries(
    ['nopay', 'away', 'often', 'uncancelled'].map(said => [
      `reserved, ${said}`,
      () => ({ order: order('reserved'), said: 'o.' + said }),
    ]),
  ),
  ...refunds('reserved', state => ({
    order: order('reserved'),
    ...refund(state, 'other', ['payment.refunded', { state: 'reserved' }]),
  })),
  ending: () => ({ order: order('reserved', { pay_by: at(50 * SECOND) }) }),
  checking: () => ({ order: order('reserved'), ...back() }),
  over: () => ({ order: order('reserved', { pay_by: at(-SECOND) }) }),
  paid: () => ({ order: done('paid') }),
  'paid, with its history': () => ({
    order: done('paid'),
    told: history(['order.reserved'], ['order.paid']),
  }),
  'paid late': () => ({
    order: done('paid', { pay_by: at(-MINUTE) }),
    told: history(['order.reserved'], ['order.expired'], ['order.paid']),
  }),
  ...refunds('paid twice', state => ({
    order: done('paid'),
    ...refund(state, 'second', ['order.paid'], ['payment.refunded', { state: 'paid' }]),
  })),
  ...refunds('paid, and another payment', state => ({
    order: done('paid'),
    ...refund(state, 'other', ['order.paid'], ['payment.refunded', { state: 'paid' }]),
  })),
  cancelled: () => ({ order: done('cancelled') }),
  'cancelled by the buyer': () => ({
    order: done('cancelled'),
    told: history(['order.reserved'], ['order.cancelled', { by: 'buyer' }]),
  }),
  'cancelled by the shop': () => ({
    order: done('cancelled'),
    told: history(['order.reserved'], ['order.cancelled', { by: 'operator' }]),
  }),
  'cancelled, back from paying': () => ({ order: done('cancelled'), ...back() }),
  expired: () => ({ order: late() }),
  'expired, back from paying': () => ({ order: late(), ...back() }),
  ...refunds('paid after the end', state => ({
    order: late(),
    ...refund(state, 'late', ['order.expired'], ['payment.refunded', { state: 'expired' }]),
  })),
  ...refunds('paid after the cancellation', state => ({
    order: done('cancelled'),
    ...refund(state, 'late', ['order.cancelled'], ['payment.refunded', { state: 'cancelled' }]),
  })),
  'refunded, without its history': () => ({ order: done('refunded') }),
  ...refunds('refunded', state => ({
    order: done('refunded'),
    ...refund(state, 'order', ['order.paid'], ['order.refunded']),
  })),
};
/* How the page was opened, or what has happened to it. */
const visits = {
  '': {},
  ', offline': { offline: true },
  ', by link': { by_link: true, token: null, told: null },
};
const SALE = {
  id: 'spring',
  title: { en: 'The winter sale of the small workshop', zh: '小作坊冬季抢购' },
  items: [{ id: 'lamp', title: 'Ora 99', price: { amount_minor: 4_900, currency: 'EUR' } }],
};
const PLAIN = {
  id: 'ord_01hv5z8k2m9x7q4c', order: null, told: null, sale: null, trouble: null, offline: false,
  cancelling: false, opening: false, said: null, unheard: false, back_ms: null, sign_in_url: null,
  token: 'x', key: null, by_link: false,
};
function draw(state, visit) {
  const m = { ...PLAIN, ...states[state](), ...visits[visit] };
  if (m.order) m.sale = SALE;
  showOrder(m);
  return m;
}

/* ----- what the parts of the page say ----- */

const PARTS = [
  '#pill', '#state', '#text', '#clock-label', '#clock', '.order__do .buy:not([hidden])', '#side',
  '#sandbox', '#next', '#deadline', '#back', '#slip-title', '#slip-sale', '#sum', '#steps',
];
/* `OPEN`: the order can be paid. `PAID`: the order is paid. `OVER`: the order ended unpaid. `BACK`:
   all the money was sent back. The large parts of a page say at most one of these. */
const KINDS = {
  OPEN: /^(Reserved|Pay within|Pay [€\d])|^Little time|^(已保留|已为你保留|剩余付款时间|付款 )/,
  PAID: /^(Paid)\b|^(已付款|付款成功)/,
  OVER: new RegExp(
    '^(Cancelled|Expired|No luck|Charged|Order cancelled|Left)\\b|' +
      '^(已取消|已过期|未抢到|实际扣款|订单已取消|已退出)',
  ),
  BACK: /^(Refunded$|Too late, so refunded)|^已退款$|，已退款$/,
};
/* Matches a text that says that money is on its way back, or could not be sent back. */
const PENDING = /on its way back|could not be sent back|正在退回给你|暂时未能退回/;
/* Matches a text that asks the buyer to pay. */
const ASKS = /^Pay by|Pay within|请在 .* 前付款/;

function faultsOf(m, words) {
  const faults = faultsOfWords(words),
    [pill, title, text, label, clock, button, side] = words;
  const said = [pill, title, label, button];
  const kinds = Object.keys(KINDS).filter(kind => said.some(word => KINDS[kind].test(word)));
  if (kinds.length > 1) faults.push(`${kinds}: “${said}”`);
  if (kinds.includes('BACK') && PENDING.test(text)) faults.push(`“${said}” contradicts “${text}”`);
  if (ASKS.test(text) && m.order?.state !== 'reserved') faults.push(`asks to pay: “${text}”`);
  if (kinds.includes('OPEN') && m.order?.state !== 'reserved')
    faults.push(`can be paid: “${said}”`);
  if (kinds.includes('PAID') && m.order?.state !== 'paid') faults.push(`is paid: “${said}”`);
  const shown = sel => !!document.querySelector(sel)?.checkVisibility();
  if (shown('#deadline') && m.order?.state !== 'reserved')
    faults.push('a deadline without a reserved order');
  if (button && button === side) faults.push(`two buttons say “${button}”`);
  if (label && !clock) faults.push(`“${label}” has no value`);
  return [...faults, ...faultsOfButtons(false)];
}
const kept = new Kept();
/** Returns the faults of each state, in the page's language. */
function walk() {
  const found = [];
  for (const state of Object.keys(states))
    for (const visit of Object.keys(visits)) {
      const m = draw(state, visit),
        parts = PARTS.map(part => document.querySelector(part)),
        words = wordsOf(parts);
      const sized = parts.filter(el => el?.id !== 'steps');
      const faults = [...faultsOf(m, words), ...faultsOfSize(sized)];
      kept.add(state + visit, () => draw(state, visit));
      found.push({ state: state + visit, name: stateOf(m), words, faults });
    }
  return found;
}

Object.assign(site, {
  sandbox: true,
  shop_url: '/shop',
  next_steps: { en: 'We ship within two days.', zh: '两天内发货。' },
});
setClock(NOW, performance.now(), performance.now());
translate();
bindLanguages(() => draw('loading', ''));
draw('loading', '');
window.states = { draw: kept.draw, look: (...how) => kept.look(...how), names: kept.names, walk };
ready();
