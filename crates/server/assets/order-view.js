/* Shows one order. What there is to pay, until when, and how to give it back; each state fills the same slots. */
import { $, text, has, put, attr, announce, countAloud, site } from '/assets/words.js';
import { now } from '/assets/clock.js';
import { count, left, moment, money } from '/assets/format.js';

/** Little time is left: two minutes, or of a short hold its last quarter. */
const endingMs = ({ reserved_at, pay_by }) => Math.min(120_000, (Date.parse(pay_by) - Date.parse(reserved_at)) / 4 || 0);
const backToSale = order => '/sale/' + encodeURIComponent(order.sale) + '#item=' + encodeURIComponent(order.item);
const at = iso => (iso ? moment(Date.parse(iso)) : '');

/* Pill tone; what the clock's place shows; the steps of "what happened" as [words, time, class]. */
const views = {
  queued:    { tone: 'warn', pill: 'queued', clock: 'decide_by', steps: o => [['h.queued', null, 'now'], ['h.answerby', o.decide_by, 'next']] },
  reserved:  { tone: 'live', pill: 'reserved', clock: 'pay_by', steps: o => [['h.reserved', o.reserved_at, 'now'], ['h.payby', o.pay_by, 'next']] },
  ending:    { tone: 'live', pill: 'reserved', clock: 'pay_by', steps: o => [['h.reserved', o.reserved_at, 'now'], ['h.payby', o.pay_by, 'next']] },
  paid:      { tone: 'good', pill: 'paid', big: ['h.paid', 1], steps: o => [['h.reserved', o.reserved_at], ['h.paid', o.paid_at, 'good']] },
  cancelled: { tone: '', pill: 'cancelled', big: ['o.charged', 0], back: true, steps: o => [['h.reserved', o.reserved_at], ['h.cancelled', o.ended_at]] },
  expired:   { tone: '', pill: 'expired', big: ['o.charged', 0], back: true, steps: o => [['h.reserved', o.reserved_at], ['h.expired', o.ended_at, 'bad']] },
  refunded:  { tone: 'good', pill: 'refunded', big: ['h.refunded', 1], steps: o => [['h.reserved', o.reserved_at], ['h.paid', o.paid_at], ['h.refunded', o.ended_at, 'good']] },
  refused:   { tone: '', pill: 'refused', big: ['o.charged', 0], back: true, steps: () => [['h.queued', null], ['h.refused', null, 'bad']] }
};
/* Without an order: what to say, and what may be done about it. */
const bare = { loading: {}, missing: { pill: 'none' }, signin: { pill: 'signin' }, far: { pill: 'offline', tone: 'warn' } };
let shown = '';

export function stateOf(m) {
  if (!m.order) return m.trouble ?? 'loading';
  const { state, pay_by } = m.order;
  return state === 'reserved' && Date.parse(pay_by) - now() < endingMs(m.order) ? 'ending' : state;
}

function showSlip(m) {
  const { order, sale } = m, item = sale?.items?.find(i => i.id === order.item);
  const price = item && { ...item.price, amount_minor: item.price.amount_minor * order.units }, sum = order.amount ?? price;
  put($('#slip-title'), item?.title ?? order.item);
  put($('#slip-sale'), sale && sale.title !== item?.title ? sale.title : '');
  put($('#id'), order.id);
  put($('#units'), count(order.units));
  for (const el of document.querySelectorAll('.priced')) el.hidden = !sum || order.state === 'refused';
  if (sum && order.state !== 'refused') { put($('#each'), money({ ...sum, amount_minor: sum.amount_minor / order.units })); put($('#sum'), money(sum)); }
  $('#image').hidden = !item?.image; $('#thumb').toggleAttribute('hidden', !!item?.image);
  if (item?.image) { $('#image').onerror = () => { $('#image').hidden = true; $('#thumb').toggleAttribute('hidden', false); }; attr($('#image'), 'src', item.image); }
  return sum;
}
function showSteps(steps) {
  $('#steps').replaceChildren(...steps.map(([key, iso, kind]) => {
    const li = document.createElement('li'), b = document.createElement('span'), t = document.createElement('time');
    b.textContent = text(key); t.textContent = at(iso);
    if (kind) li.className = kind;
    if (kind === 'now') li.setAttribute('aria-current', 'step');
    li.append(b, t);
    return li;
  }));
}

/** Draws the order from `m`: { order, sale, trouble, offline, cancelling, failed, sign_in_url }. Called when something changed. */
export function showOrder(m) {
  const name = stateOf(m), view = views[name] ?? bare[name] ?? views.reserved, { order } = m;
  const go = $('#go'), side = $('#side'), focus = document.activeElement;
  $('#slip').hidden = $('#orders').hidden = !order;
  $('#door').toggleAttribute('hidden', !!order || name === 'loading');
  $('#clock-box').hidden = !order;
  const sum = order ? showSlip(m) : null;
  const v = order && { by: at(name === 'queued' ? order.decide_by : order.pay_by), units: count(order.units), sum: sum ? money(sum) : '' };

  const pill = m.offline && order ? 'offline' : view.pill, tone = m.offline && order ? 'warn' : view.tone;
  $('#pill').hidden = !pill;
  attr($('#pill'), 'class', 'pill' + (tone ? ' pill--' + tone : ''));
  if (pill) put($('#pill'), text('p.' + pill));
  let words = 'o.' + name + '+';
  if (name === 'refused' && has('o.refused.' + order.code)) words = 'o.refused.' + order.code;
  if (name === 'signin' && !m.sign_in_url) words = 'o.nosignin+';
  if (name === 'reserved' && site.guest && !order.checkout_url) words = 'o.demo+';
  if (m.offline && order) words = order.state === 'reserved' ? 'o.offline+' : 'o.old+';
  if (m.failed) words = 'o.uncancelled';
  put($('#state'), text('o.' + name));
  put($('#text'), text(words, v ?? {}));

  attr($('#clock'), 'role', view.clock ? 'timer' : 'none');
  if (view.clock) put($('#clock-label'), text(view.clock === 'pay_by' ? 'o.payin' : 'o.answerin'));
  else if (view.big) { put($('#clock-label'), text(view.big[0])); put($('#clock'), sum ? money({ ...sum, amount_minor: sum.amount_minor * view.big[1] }) : ''); }
  $('#clock-box').classList.toggle('is-off', !view.clock && !sum);
  $('#time-bar').classList.toggle('is-off', view.clock !== 'pay_by');

  /* Paying is offered only when the order itself says where. */
  const pay = order?.state === 'reserved' && /^(https?:\/\/|\/[^/])/.test(order.checkout_url ?? '') ? order.checkout_url : null;
  const way = pay ? [pay, 'o.pay'] : view.back ? [backToSale(order), 'o.back'] : name === 'signin' && m.sign_in_url ? [m.sign_in_url, 'o.signin.b'] : null;
  go.hidden = !way;
  if (way) { attr(go, 'href', way[0]); put(go.firstElementChild, text(way[1], v ?? {})); }
  attr($('#back'), 'href', order ? backToSale(order) : '/');
  put($('#back'), text(order ? 'o.back' : 'all'));
  $('#back').hidden = !!view.back;
  const retry = name === 'far' || (m.offline && !!order), cancel = order?.state === 'reserved' && !retry;
  side.hidden = !retry && !cancel;
  side.dataset.does = retry ? 'retry' : 'cancel';
  put(side, text(retry ? 'o.retry' : m.cancelling ? 'o.cancelling' : 'o.cancel'));
  attr(side, 'aria-disabled', m.cancelling);
  $('.order__do').hidden = !order && go.hidden && side.hidden;
  if (focus === side && side.hidden) (go.hidden ? $('#main') : go).focus();
  if (order) {
    showSteps(view.steps?.(order) ?? []);
    put($('#sure-text'), text(order.units === 1 ? 'o.sure1+' : 'o.sure+', v));
  }
  document.title = text('o.title') + (order ? ' – ' + $('#slip-title').textContent : '');

  const state = [name, m.offline, m.failed].join();
  if (shown && shown !== state && name !== 'loading') announce($('#state').textContent + '. ' + $('#text').textContent, true);
  shown = state;
  showClock(m);
}

/** The countdown alone; called four times a second. */
export function showClock(m) {
  const { order } = m, view = order && views[stateOf(m)];
  if (!view?.clock) return;
  const end = Date.parse(order[view.clock]), rest = Math.max(0, end - now());
  put($('#clock'), left(rest));
  if (view.clock !== 'pay_by') return;
  const whole = end - Date.parse(order.reserved_at) || 1;
  attr($('#bar'), 'width', Math.min(1000, Math.round(1000 * rest / whole)));
  attr($('#bar'), 'class', rest < endingMs(order) ? 'fill-bad' : 'fill-held');
  countAloud(text('o.payin'), Math.ceil(rest / 1000));
}
