/* The list of sales and, for a known buyer, the list of the buyer's orders. */
import {
  $, announce, bindLanguages, chosen, ready, site, speak, tell, text, translate,
} from '/assets/words.js';
import { jitter, now, pauser, setClock } from '/assets/clock.js';
import { fullTime, moment, money, shortWhen, when } from '/assets/format.js';
import { getOrders, getSale, getSales } from '/assets/api.js';
import { identify, token } from '/assets/who.js';
import { listen } from '/assets/events.js';
import { LOOKS, sceneOfStatus } from '/assets/scene.js';

const ORDERS_MAX = 50;
/* If there are at least this many sales, the page shows the search and its button. */
const SEARCH_FROM = 12;
/* After a gap in the stream, the page reads the orders again at a random moment within this time.
   */
const GAP_MS = 3_000;
const CACHED_MS = 1_000; /* a shared answer from a cache may be this old */
const orderTones = { reserved: 'live', paid: 'good', refunded: 'good' };

function make(tag, className, words = '') {
  const el = document.createElement(tag);
  if (className) el.className = className;
  el.textContent = words;
  return el;
}
/* Draws a small door from elements. Its light shows the phase, as on the sale page. */
function door(light) {
  const svg = (name, attributes) => {
    const el = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(attributes)) el.setAttribute(key, value);
    return el;
  };
  const el = svg('svg', {
    class: 'door',
    viewBox: '0 0 72 84',
    'aria-hidden': 'true',
    'data-light': light,
  });
  el.append(
    svg('path', { d: 'M18 84V40a18 18 0 0 1 36 0v44', fill: '#3a2f20' }),
    svg('path', { class: 'door__light', d: 'M18 84V40a18 18 0 0 1 36 0v44z' }),
    svg('path', {
      d: 'M18 84V40a18 18 0 0 1 36 0v44',
      fill: 'none',
      stroke: '#4d402c',
      'stroke-width': 4,
    }),
  );
  return el;
}
function ticket({ href, title, units, pill, tone, price, words, picture, level }) {
  const li = make('li'),
    card = make('article', 'card ticket'),
    body = make('div'),
    head = make(level),
    [shown, language] = chosen(title),
    a = make('a', '', shown);
  a.href = href;
  speak(a, language);
  head.append(...(units ? [`${units} × `] : []), a);
  body.append(make('span', 'pill' + (tone ? ' pill--' + tone : ''), pill), head);
  if (price) body.append(make('p', 'ticket__price', price));
  if (words) body.append(make('p', 'soft small', words));
  card.append(picture, body);
  li.append(card);
  return li;
}
function pictureOf(sale, light) {
  const image = sale?.items?.find(i => i.image)?.image;
  if (!image) return door(light);
  const img = make('img', 'slip__thumb');
  Object.assign(img, {
    src: image,
    alt: '',
    loading: 'lazy',
    onerror: () => img.replaceWith(door(light)),
  });
  return img;
}

/* The order of the groups: sales that can be bought, then sales that open next, then the others. In
   each group the newest sale comes first. */
const ranks = ['live', 'out', 'paused', 'before', 'sold', 'ended'];
function inOrder(sales) {
  const opens = sale => Date.parse(sale.starts_at) || Infinity;
  const stateOf = ({ status }) =>
    sceneOfStatus(
      status,
      status.items.map(item => item.state),
    );
  const rows = sales.map(sale => ({ sale, state: stateOf(sale) }));
  return rows.sort(
    (a, b) =>
      ranks.indexOf(a.state) - ranks.indexOf(b.state) ||
      (a.state === 'before' && opens(a.sale) !== opens(b.sale)
        ? opens(a.sale) - opens(b.sale)
        : 0),
  );
}
/* Returns the price of the only item, or the lowest price. */
function priceOf({ items }) {
  const cheapest = items.reduce((a, b) => (b.price.amount_minor < a.price.amount_minor ? b : a));
  const price = money(cheapest.price);
  return items.every(item => item.price.amount_minor === cheapest.price.amount_minor)
    ? price
    : text('l.from', { price });
}
function saleTicket({ sale, state }) {
  const opens = Date.parse(sale.starts_at),
    closes = Date.parse(sale.ends_at);
  const v = {
    opens: opens ? (state === 'before' ? shortWhen(opens) : when(opens)) : '',
    closes: closes ? when(closes) : '',
  };
  const isAhead = opens > now();
  const pill = text(state === 'before' && !isAhead ? 'l.soon' : 'l.' + state, v);
  const words =
    state === 'ended'
      ? closes && closes <= now()
        ? text('l.closed', v)
        : ''
      : state === 'before'
        ? isAhead
          ? fullTime(opens)
          : ''
        : closes > now()
          ? text('l.until', v)
          : state === 'live' && opens <= now()
            ? text('l.started', v)
            : '';
  return ticket({
    href: '/sale/' + encodeURIComponent(sale.id),
    title: sale.title,
    pill,
    tone: LOOKS[state].tone,
    price: priceOf(sale),
    words,
    level: 'h2',
    picture: pictureOf(sale, LOOKS[state].light),
  });
}
/* Creates one row of the list: an order, its state and its action. */
function orderWords({ state, pay_by, paid_at, ended_at, amount }) {
  const at = iso => (iso ? moment(Date.parse(iso), false) : '');
  const v = { sum: money(amount), by: at(pay_by), at: at(state === 'paid' ? paid_at : ended_at) };
  if (state === 'reserved')
    return text(Date.parse(pay_by) > now() ? 'l.payby' : 'l.over', {
      ...v,
      by: moment(Date.parse(pay_by)),
    });
  return text('l.' + state, v);
}
function orderTicket(order) {
  const item = sold.get(order.sale)?.items?.find(i => i.id === order.item),
    href = '/order/' + encodeURIComponent(order.id);
  const li = ticket({
    href,
    title: item?.title ?? order.item,
    units: order.units,
    level: 'h3',
    pill: text('p.' + order.state),
    tone: orderTones[order.state],
    words: orderWords(order),
    picture: pictureOf(
      item && { items: [item] },
      order.state === 'reserved' || order.state === 'paid' ? 'on' : 'off',
    ),
  });
  if (order.state === 'reserved' && Date.parse(order.pay_by) > now()) {
    const pay = make('a', 'button button--main', text('l.pay', { sum: money(order.amount) }));
    pay.href = href;
    $('div', li).append(pay);
  }
  return li;
}
const sold = new Map(); /* the sales that were read, by id */
async function learnSales(orders) {
  const ids = [...new Set(orders.map(order => order.sale))].filter(id => !sold.has(id));
  for (const [id, sale] of await Promise.all(ids.map(async id => [id, (await getSale(id)).data])))
    sold.set(id, sale);
}
/* The newest orders are read again after each event about one of them. The page reads older orders
   only on request. */
let newest = [],
  older = [],
  next = null;
async function showOrders(mine) {
  const answer = await getOrders(mine, ORDERS_MAX);
  if (answer.status === 401) return [];
  if (answer.status !== 200 && $('#orders-list').children.length) return [];
  const orders = answer.data.orders ?? [];
  if (!older.length) next = answer.data.next_cursor ?? null;
  await learnSales(orders);
  $('#orders').hidden = false;
  $('#orders-none').hidden = orders.length > 0;
  tell($('#orders-none'), answer.status === 200 ? 'l.noorders' : 'l.refused');
  newest = orders;
  drawOrders();
  $('#older').onclick = async () => {
    const more = await getOrders(mine, ORDERS_MAX, next);
    if (more.status !== 200) return announce(text('l.refused'), true);
    await learnSales(more.data.orders);
    const first = $('#orders-list').children.length;
    older.push(...more.data.orders);
    next = more.data.next_cursor ?? null;
    drawOrders();
    $('#orders-list').children[first]?.querySelector('a').focus();
  };
  return orders;
}
const isUnpaid = order => order.state === 'reserved' && Date.parse(order.pay_by) > now();
/* Shows unpaid orders first, above the sales. */
function drawOrders() {
  const unpaid = newest.some(isUnpaid);
  $('#main').classList.toggle('has-unpaid', unpaid);
  if (unpaid && $('#main').firstElementChild !== $('#orders')) $('#main').prepend($('#orders'));
  const ids = new Set(newest.map(order => order.id)),
    focus = document.activeElement?.closest?.('#orders-list a')?.href;
  $('#orders-list').replaceChildren(
    ...[...newest, ...older.filter(order => !ids.has(order.id))]
      .sort((a, b) => isUnpaid(b) - isUnpaid(a))
      .map(orderTicket),
  );
  if (focus)
    [...document.querySelectorAll('#orders-list a')]
      .find(a => a.href === focus)
      ?.focus({ preventScroll: true });
  $('#older').hidden = !next;
}
/** Reads the orders again while some of them may change soon. */
async function watchOrders(mine) {
  const poll = pauser();
  let stream = null;
  for (let first = true; ; first = false) {
    const orders = await showOrders(mine);
    if (first && location.hash === '#orders') $('#orders').scrollIntoView();
    const open = orders.filter(order => order.state === 'reserved');
    if (open.length)
      stream ??= listen({
        token: mine,
        on: { order: () => poll.wake(), gap: () => setTimeout(poll.wake, jitter(0, GAP_MS)) },
      });
    const rest = Math.min(...open.map(order => Math.max(0, Date.parse(order.pay_by) - now())));
    await poll.rest(
      open.length
        ? Math.min(
            rest + jitter(2_000, 4_000),
            stream?.isOpen() ? jitter(100_000, 140_000) : jitter(20_000, 30_000),
          )
        : Infinity,
    );
    await new Promise(done =>
      setTimeout(done, jitter(200, 500)),
    ); /* several events cause only one read */
    if (document.hidden)
      await new Promise(seen =>
        document.addEventListener('visibilitychange', seen, { once: true }),
      );
  }
}
/* The sales on the page, and the cursor of the next page. */
let listed = [],
  rest = null;
function drawSales() {
  $('#sales').replaceChildren(...inOrder(listed).map(saleTicket));
  $('#more').hidden = !rest;
  $('#search').hidden = listed.length < SEARCH_FROM && !rest && !$('#searched').value;
  $('#none').hidden = listed.length > 0;
  const searched = $('#searched').value.trim();
  tell($('#none-title'), searched ? 'l.nothing' : 'l.none');
  tell($('#none-text'), searched ? '' : 'l.none+');
}
async function showSales() {
  for (let tries = 0; ; tries += 1) {
    const answer = await getSales();
    if (answer.status === 200) {
      listed = answer.data.sales ?? [];
      for (const sale of listed) sold.set(sale.id, sale);
      rest = answer.data.next_cursor ?? null;
      /* The newest status has the best time for the clock. */
      const made = Math.max(...listed.map(sale => Date.parse(sale.status.server_time)));
      if (listed.length)
        setClock(new Date(made).toISOString(), answer.sent - CACHED_MS, answer.got);
      else if (answer.date) setClock(new Date(answer.date).toISOString(), answer.sent, answer.got);
      return drawSales();
    }
    tell($('#none-title'), 'l.far');
    tell($('#none-text'), 'far.text');
    if (tries === 0) announce(text('l.far'), true);
    ready();
    await new Promise(done =>
      setTimeout(
        done,
        Math.max((answer.retry_secs ?? 0) * 1000, jitter(500, 1_000) * 2 ** Math.min(tries, 4)),
      ),
    );
  }
}
$('#search').onsubmit = async event => {
  event.preventDefault();
  const answer = await getSales($('#searched').value.trim());
  if (answer.status !== 200) return announce(text('l.far'), true);
  listed = answer.data.sales ?? [];
  rest = answer.data.next_cursor ?? null;
  drawSales();
};
$('#more').onclick = async () => {
  const answer = await getSales($('#searched').value.trim(), rest);
  if (answer.status !== 200) return announce(text('l.far'), true);
  const known = new Set(listed.map(sale => sale.id));
  listed.push(...answer.data.sales.filter(sale => !known.has(sale.id)));
  rest = answer.data.next_cursor ?? null;
  drawSales();
};

const nameTab = () => {
  document.title = text('l.title') + (site.shop ? ' – ' + site.shop : '');
};
translate();
nameTab();
bindLanguages(() => {
  nameTab();
  if (listed.length) drawSales();
  if (newest.length) drawOrders();
});
await showSales();
ready();
/* This page creates no identity for a guest, because a new guest has no orders. The page of a sale
   creates it. */
const mine = token() && (await identify());
if (mine) await watchOrders(mine);
