/* Shows one order: the amount, the time to pay, and how to cancel. Every state fills the same
   elements. */
import {
  $, text, has, put, putText, attr, announce, countAloud, localized, site,
} from '/assets/texts.js';
import { now } from '/assets/clock.js';
import {
  count, isToday, left, moment, money, shortId, wholeTime,
} from '/assets/format.js';
import { remind } from '/assets/remind.js';
import { endingMs, isBack, moneyBack, stateOf, stepsOf } from '/assets/order-state.js';

const backToSale = order =>
  '/sale/' + encodeURIComponent(order.sale) + '#item=' + encodeURIComponent(order.item);
const at = iso => (iso ? moment(Date.parse(iso)) : '');

/* The view of each state:
   - `pill` and `tone`: the label and its tone
   - `clock`: the order's field with the end of a countdown
   - `number`: a label, and the field with its number
   - `big`: a label, and a factor of the amount
   - `does`: the large button can `pay`, show a `busy` text, or go `back` to the sale */
const views = {
  queued: { tone: 'warn', pill: 'queued', clock: 'decide_by' },
  waiting: { tone: 'warn', pill: 'waiting', number: ['o.ahead', 'ahead'] },
  left: { tone: '', pill: 'left', big: ['o.charged', 0], does: 'back' },
  reserved: { tone: 'live', pill: 'reserved', clock: 'pay_by', does: 'pay' },
  ending: { tone: 'live', pill: 'reserved', clock: 'pay_by', does: 'pay' },
  checking: { tone: 'warn', pill: 'checking', clock: 'pay_by', does: 'busy' },
  over: { tone: 'warn', pill: 'over', clock: 'pay_by', does: 'busy' },
  paid: { tone: 'good', pill: 'paid', big: ['h.paid', 1] },
  paidlate: { tone: 'good', pill: 'paid', big: ['h.paid', 1] },
  cancelled: { tone: '', pill: 'cancelled', big: ['o.charged', 0], does: 'back' },
  expired: { tone: '', pill: 'expired', big: ['o.charged', 0], does: 'back' },
  refunded: { tone: 'good', pill: 'refunded', big: ['h.refunded', 1] },
  late: { tone: 'warn', pill: 'refunded', big: ['h.refunded', 1], does: 'back' },
  refused: { tone: '', pill: 'refused', big: ['o.charged', 0], does: 'back' },
};
const PAID = ['paid', 'paidlate'];
/* In these states, the door in the picture is shut. */
const OVER = ['refused', 'cancelled', 'expired', 'refunded'];
const PRINTED = [...PAID, 'refunded'];
/* Views without an order. */
const bare = {
  loading: {},
  missing: { pill: 'none' },
  unlinked: { pill: 'none' },
  signin: { pill: 'signin' },
  far: { pill: 'offline', tone: 'warn' },
};
let shown = '',
  waited = false /* the page has shown a waitlist entry */,
  changes = false /* the page has shown an order that changes by itself */,
  broken = ''; /* a picture that did not load */

function showSlip(m) {
  const { order, sale } = m,
    item = sale?.items?.find(i => i.id === order.item);
  const price = item && { ...item.price, amount_minor: item.price.amount_minor * order.units },
    sum = order.amount ?? price;
  const edition = localized(sale?.title);
  putText($('#slip-title'), item?.title ?? order.item);
  putText($('#slip-sale'), edition !== localized(item?.title) ? sale?.title : '');
  put($('#id'), shortId(order.id));
  attr($('#id'), 'title', order.id);
  put($('#whole-id'), order.id);
  put($('#units'), count(order.units));
  for (const el of document.querySelectorAll('.priced'))
    el.hidden = !sum || order.state === 'refused';
  if (sum && order.state !== 'refused') {
    put($('#each'), money({ ...sum, amount_minor: sum.amount_minor / order.units }));
    put($('#sum'), money(sum));
  }
  const picture = item?.image && item.image !== broken ? item.image : null;
  $('#image').hidden = !picture;
  $('#thumb').toggleAttribute('hidden', !!picture);
  $('#thumb').classList.toggle('is-shut', OVER.includes(order.state));
  if (picture) {
    $('#image').onerror = () => {
      broken = picture;
      $('#image').hidden = true;
      $('#thumb').toggleAttribute('hidden', false);
    };
    attr($('#image'), 'src', picture);
  }
  return sum;
}
/* Hides the time of the next step if that time has passed. */
function showNext(isPaid) {
  const at = Date.parse(site.next_steps_at),
    isAhead = at > now();
  $('#next').hidden = !isPaid || !(site.next_steps || isAhead);
  putText($('#next-text'), site.next_steps);
  $('#next-time').hidden = !isAhead;
  put($('#next-at'), isAhead ? wholeTime(at) : '');
}
/* The date and the zone are shown with deadlines, with times that are not today, and with every
   step of a finished order, because the buyer may print it. */
function showSteps(steps, isOver) {
  $('#steps').replaceChildren(
    ...steps.map(([key, iso, kind]) => {
      const li = document.createElement('li'),
        b = document.createElement('span'),
        t = document.createElement('time');
      b.textContent = text(key);
      const isWhole =
        !!iso && (isOver || kind === 'next' || !isToday(Date.parse(iso)));
      t.textContent = isWhole ? wholeTime(Date.parse(iso)) : at(iso);
      if (kind) li.className = kind;
      li.classList.toggle('is-dated', isWhole);
      if (kind === 'now') li.setAttribute('aria-current', 'step');
      li.append(b, t);
      return li;
    }),
  );
}

/* Returns the text under the title: the state or the problem, and a refund if there is one. */
function wordsOf(m, name, v) {
  const { order } = m,
    money_back = order && moneyBack(m);
  if (m.said) return text(m.said, v);
  if (m.offline && order) return text(order.state === 'reserved' ? 'o.offline+' : 'o.old+', v);
  let key = 'o.' + name + '+';
  if (name === 'refused' && has('o.refused.' + order.code)) key = 'o.refused.' + order.code;
  if (name === 'signin' && !m.sign_in_url) key = 'o.nosignin+';
  if ((name === 'reserved' || name === 'ending') && m.unheard) key = 'o.unheard+';
  if ((name === 'expired' || name === 'cancelled') && isBack(m)) key = 'o.lateback+';
  else if ((name === 'reserved' || name === 'ending') && m.told?.payment_failed_at)
    key = 'o.failed+';
  if (name === 'cancelled' && m.told?.history?.at(-1)?.by === 'operator') key = 'o.cancelled.shop+';
  if (!money_back) return text(key, v);
  const why =
    name === 'paid' && money_back.cause === 'second'
      ? 'o.second'
      : ['late', 'refunded'].includes(name)
        ? key
        : 'o.other';
  const words = [
    text(why, v),
    text('o.money.' + money_back.state, { back: money(money_back.amount) }),
  ];
  return (name === 'late' || name === 'refunded' ? words : [text(key, v), ...words]).join(
    text('o.gap'),
  );
}
function showButtons(m, name, view, v) {
  const { order } = m,
    pay = $('#pay'),
    go = $('#go'),
    side = $('#side'),
    focus = document.activeElement;
  const retry = name === 'far' || (m.offline && !!order),
    busy = m.opening || view.does === 'busy';
  pay.hidden = view.does !== 'pay' && view.does !== 'busy';
  if (!pay.hidden) {
    attr(pay, 'data-mode', busy ? 'busy' : m.offline || m.cancelling ? 'wait' : 'go');
    attr(pay, 'aria-disabled', busy || m.offline || m.cancelling);
    put(
      pay.firstElementChild,
      text(m.opening ? 'o.opening' : view.does === 'busy' ? `o.${name}.b` : 'o.pay', v),
    );
  }
  const way =
    view.does === 'back'
      ? [backToSale(order), 'o.back']
      : ['signin', 'unlinked'].includes(name) && m.sign_in_url
        ? [m.sign_in_url, 'o.signin.b']
        : null;
  go.hidden = !way;
  if (way) {
    attr(go, 'href', way[0]);
    put(go.firstElementChild, text(way[1]));
  }
  attr($('#back'), 'href', order ? backToSale(order) : '/');
  put($('#back'), text(order ? 'o.back' : 'all'));
  $('#back').hidden = view.does === 'back';
  const does = retry
    ? 'retry'
    : name === 'checking'
      ? 'pay'
      : view.does === 'pay'
        ? m.by_link
          ? null
          : 'cancel'
        : name === 'waiting'
          ? 'leave'
          : PRINTED.includes(name)
            ? 'print'
            : null;
  side.hidden = !does;
  if (does) {
    side.dataset.does = does;
    put(
      side,
      text(
        {
          retry: 'o.retry',
          pay: m.opening ? 'o.opening' : 'o.again',
          cancel: m.cancelling ? 'o.cancelling' : 'o.cancel',
          leave: 'o.leave',
          print: 'o.print',
        }[does],
      ),
    );
    attr(side, 'aria-disabled', m.cancelling || m.opening);
  }
  $('.order__do').hidden = !order && go.hidden && side.hidden;
  /* If the focused button is now hidden, the visible button gets the focus. */
  if ([pay, go, side].includes(focus) && focus.hidden)
    ([pay, go, side].find(el => !el.hidden) ?? $('#main')).focus({ preventScroll: true });
}

/** The page calls this after each change of the model `m` of order.js. */
export function showOrder(m) {
  const name = stateOf(m),
    view = views[name] ?? bare[name] ?? views.refused,
    { order } = m;
  changes ||= ['waiting', 'queued', 'reserved'].includes(order?.state);
  $('.order__state').classList.toggle('has-room', changes);
  $('#slip').hidden = !order;
  $('#orders').hidden = !order || m.by_link;
  $('#door').toggleAttribute('hidden', !!order || name === 'loading');
  $('#clock-box').hidden = !order;
  const isPaid = PAID.includes(name);
  showNext(isPaid);
  $('#deadline').hidden = order?.state !== 'reserved';
  $('#copy-link').hidden = order?.state !== 'reserved' || !m.token;
  $('#link-note').hidden ||= $('#copy-link').hidden;
  $('#shop').hidden = !isPaid || !site.shop_url;
  attr($('#shop'), 'href', site.shop_url ?? '/');
  $('#sandbox').hidden = !site.sandbox || !order;
  $('#sandbox').classList.toggle('is-off', !['reserved', 'paid'].includes(order?.state));
  put($('#sandbox'), text(isPaid ? 'o.sandboxed' : 'o.sandbox'));
  const sum = order ? showSlip(m) : null,
    back = order && moneyBack(m);
  const v = order
    ? {
        by: at(name === 'queued' ? order.decide_by : order.pay_by),
        units: order.units,
        sum: sum ? money(sum) : '',
      }
    : {};

  const isDue = view.pill === 'refunded' && !!back && back.state !== 'settled';
  const pill = m.offline && order ? 'offline' : isDue ? 'refunding' : view.pill,
    tone = isDue || (m.offline && order) ? 'warn' : view.tone;
  $('#pill').hidden = !pill;
  attr($('#pill'), 'class', 'pill' + (tone ? ' pill--' + tone : ''));
  if (pill) put($('#pill'), text('p.' + pill));
  put($('#state'), text('o.' + name + (isDue ? '.due' : '')));
  put($('#text'), wordsOf(m, name, v));

  attr($('#clock'), 'role', view.clock ? 'timer' : 'none');
  if (view.clock) put($('#clock-label'), text(view.clock === 'pay_by' ? 'o.payin' : 'o.answerin'));
  else if (view.number) {
    put($('#clock-label'), text(view.number[0]));
    put($('#clock'), count(order[view.number[1]]));
  } else if (view.big) {
    put($('#clock-label'), text(isDue ? 'o.goesback' : view.big[0]));
    put(
      $('#clock'),
      name === 'late'
        ? money(back.amount)
        : sum
          ? money({ ...sum, amount_minor: sum.amount_minor * view.big[1] })
          : '',
    );
  }
  $('#clock-box').classList.toggle('is-off', !view.clock && !view.number && !sum);
  $('#time-bar').classList.toggle('is-off', view.clock !== 'pay_by');
  showButtons(m, name, view, v);
  if (order) {
    showSteps(stepsOf(m), !['reserved', 'queued', 'waiting'].includes(order.state));
    put($('#sure-text'), text(order.units === 1 ? 'o.sure1+' : 'o.sure+', v));
  }
  showTab(m);

  const state = [name, m.offline, m.said, back?.state, order?.ahead].join();
  if (shown && shown !== state && name !== 'loading')
    announce($('#state').textContent + '. ' + $('#text').textContent, true);
  shown = state;
  showClock(m);
}

/** Draws the tab's title and icon. Alerts the buyer if a waitlist entry became this order while the
   page was open. */
export function showTab(m) {
  const { order } = m,
    name = stateOf(m),
    title = text('o.title') + (order ? ' – ' + $('#slip-title').textContent : ''),
    isLive = name === 'reserved' || name === 'ending',
    rest_ms = m.came && isLive ? Math.max(0, Date.parse(order.pay_by) - now()) : 0;
  /* The reminder buttons become invisible, but keep their space, so that nothing jumps. */
  waited ||= name === 'waiting';
  $('#remind').hidden = !waited;
  $('#remind').classList.toggle('is-off', name !== 'waiting');
  remind({
    id: order?.sale ?? m.id,
    title,
    scene: name,
    tab: { head: m.came && isLive ? 'remind.came' : null, rest_ms, lit: !!rest_ms },
    news: m.came && isLive ? 'came' : null,
  });
}

/** The page calls this four times a second. */
export function showClock(m) {
  const { order } = m,
    view = order && views[stateOf(m)];
  if (!view?.clock) return;
  const end = Date.parse(order[view.clock]),
    rest = Math.max(0, end - now());
  put($('#clock'), left(rest));
  if (view.clock !== 'pay_by') return;
  const whole = end - Date.parse(order.reserved_at) || 1;
  attr($('#bar'), 'width', Math.min(1000, Math.round((1000 * rest) / whole)));
  attr($('#bar'), 'class', rest < endingMs(order) ? 'fill-bad' : 'fill-held');
  countAloud(text('o.payin'), Math.ceil(rest / 1000));
}
