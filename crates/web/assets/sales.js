/* The list of sales and, for a known buyer, the list of the buyer's orders. */
import {
  $, announce, bindLanguages, ready, signInUrl, site, tell, text, translate,
} from '/assets/texts.js';
import { inOrder, make, pictureOf, saleTicket, stateOf, ticket } from '/assets/cards.js';
import { jitter, now, pauser, setClock, untilSeen } from '/assets/clock.js';
import { moment, money } from '/assets/format.js';
import { getOrders, getSales } from '/assets/api.js';
import { forget, identify, token } from '/assets/who.js';
import { listen } from '/assets/events.js';

const ORDERS_MAX = 50;
/* The page shows the search only if there are at least this many sales. */
const SEARCH_FROM = 12;
/* After a gap in the stream, the page reads the orders at a random moment within this time. */
const GAP_MS = 3_000;
const CACHED_MS = 1_000; /* a shared answer from a cache may be this old */
/* After this wait for the buyer's orders, the page is shown without them. */
const WAIT_MS = 1_000;
/* While the page is visible, it reads the sales again after a random time in this range. */
const REREAD_MS = [30_000, 60_000];
/* After a sale's start, the page reads the sales at a random moment in this range. By then, no
   cached answer is from before the start. If the sale opens late, the page repeats the read for
   LATE_MS. */
const STARTED_MS = [1_200, 4_000],
  LATE_MS = 15_000;

const orderTones = { reserved: 'live', paid: 'good', refunded: 'good' };
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
  const item = itemOf(order),
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
/* The items of the orders that were read, by sale and item. */
const items = new Map();
const itemOf = ({ sale, item }) => items.get(sale + ' ' + item);
function learnItems(data) {
  for (const item of data.items ?? []) items.set(item.sale + ' ' + item.item, item);
}
/* The newest orders are read again after an event. The older orders are read only on request. */
let newest = [],
  older = [],
  next = null;
/* The token with which the page reads the orders, or null. */
let buyer = null;
/* Drops the refused token. Another tab may have put a newer token into the cookie, so reads the
   orders with that token. */
async function signedOut(refused) {
  forget(refused);
  buyer = token() && (await identify());
  if (buyer === refused) buyer = null;
  if (!buyer) {
    askToSignIn();
    return { orders: [] };
  }
  /* The newer token may be another buyer's. */
  [newest, older, next] = [[], [], null];
  drawOrders();
  return showOrders();
}
/* `first` is the answer to the first request. If the orders could not be read, returns no orders,
   but the pause that the server asked for. */
async function showOrders(first = null) {
  const answer = await (first ?? getOrders(buyer, ORDERS_MAX)),
    failed = { orders: null, retry_secs: answer.retry_secs };
  if (answer.status === 401) return signedOut(buyer);
  if (answer.status !== 200 && $('#orders-list').children.length) return failed;
  const orders = answer.data.orders ?? [];
  if (!older.length) next = answer.data.next_cursor ?? null;
  learnItems(answer.data);
  $('#orders').hidden = false;
  $('#orders-signin').hidden = true;
  $('#orders-none').hidden = orders.length > 0;
  tell($('#orders-none'), answer.status === 200 ? 'l.noorders' : 'l.refused');
  if (older.length) {
    /* Newer orders can push an order off the first page. The list keeps this order. */
    const ids = new Set(orders.map(order => order.id));
    older.unshift(...newest.filter(order => !ids.has(order.id)));
  }
  newest = orders;
  drawOrders();
  $('#older').onclick = async () => {
    const more = await getOrders(buyer, ORDERS_MAX, next);
    if (more.status !== 200) return announce(text('l.refused'), true);
    learnItems(more.data);
    const first = $('#orders-list').children.length;
    older.push(...more.data.orders);
    next = more.data.next_cursor ?? null;
    drawOrders();
    $('#orders-list').children[first]?.querySelector('a').focus();
  };
  return answer.status === 200 ? { orders } : failed;
}
/* Tells a visitor who is not signed in how to see the orders. */
function askToSignIn() {
  if (location.hash !== '#orders' || newest.length) return;
  const url = signInUrl();
  $('#orders').hidden = $('#orders-none').hidden = false;
  $('#orders-signin').hidden = !url;
  tell($('#orders-none'), url ? 'l.signin' : site.guest ? 'l.noorders' : 'l.nosignin');
  if (url) $('#orders-signin').href = url;
  $('#orders').scrollIntoView();
}
const isUnpaid = order => order.state === 'reserved' && Date.parse(order.pay_by) > now();
/* Shows unpaid orders first, above the sales. */
function drawOrders() {
  const unpaid = newest.some(isUnpaid);
  $('#main').classList.toggle('has-unpaid', unpaid);
  if (unpaid && $('#main').firstElementChild !== $('#orders')) $('#main').prepend($('#orders'));
  const ids = new Set(newest.map(order => order.id));
  keepFocus('#orders-list', () =>
    $('#orders-list').replaceChildren(
      ...[...newest, ...older.filter(order => !ids.has(order.id))]
        .sort((a, b) => isUnpaid(b) - isUnpaid(a))
        .map(orderTicket),
    ));
  $('#older').hidden = !next;
}
/* The focused link keeps the focus. */
function keepFocus(list, drawAgain) {
  const focus = document.activeElement?.closest?.(list + ' a')?.href;
  drawAgain();
  if (focus)
    [...document.querySelectorAll(list + ' a')]
      .find(a => a.href === focus)
      ?.focus({ preventScroll: true });
}
/** Reads the orders again while some of them may change soon, after a failed read, and when the
   page becomes visible. */
async function watchOrders(shown) {
  const poll = pauser();
  let stream = null,
    streams_for = null /* the token of the stream */,
    woken = false; /* an event came during a read, so the answer may be older than the event */
  const wake = () => {
    woken = true;
    poll.wake();
  };
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) wake();
  });
  for (let tries = 0, first = true; ; first = false) {
    woken = false;
    const { orders, retry_secs } = await (first ? shown : showOrders());
    if (first && location.hash === '#orders') $('#orders').scrollIntoView();
    if (stream && streams_for !== buyer) {
      stream.close();
      stream = null;
    }
    if (!buyer) return; /* the visitor is not signed in */
    if (!orders) {
      const pause = jitter(2_000, 4_000) * 2 ** Math.min(tries, 3);
      tries += 1;
      await new Promise(done => setTimeout(done, Math.max((retry_secs ?? 0) * 1000, pause)));
      await untilSeen();
      continue;
    }
    tries = 0;
    const open = orders.filter(order => order.state === 'reserved');
    if (open.length) {
      streams_for = buyer;
      stream ??= listen({
        token: buyer,
        on: { order: wake, gap: () => setTimeout(wake, jitter(0, GAP_MS)) },
      });
    }
    const rest = Math.min(...open.map(order => Math.max(0, Date.parse(order.pay_by) - now())));
    if (!woken)
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
    await untilSeen();
  }
}
let listed = [],
  rest = null,
  searched = '';
/* The page reads only these sales again: the sales in the newest answer to a request that had
   neither a search nor a cursor. */
let newestIds = new Set();
/* A card is drawn again only if this text changes. The text depends on the time, because a card
   shows times of today without the date, and past times with other words. */
const shownOf = sale =>
  JSON.stringify([
    stateOf(sale),
    new Date(now()).toDateString(),
    ...[sale.starts_at, sale.ends_at].map(time => Date.parse(time) <= now()),
    { ...sale, status: null },
  ]);
const cardOf = sale => Object.assign(saleTicket(sale), { shown: shownOf(sale) });
function drawSales() {
  listed = inOrder(listed);
  $('#sales').replaceChildren(...listed.map(cardOf));
  showEnds();
}
function showEnds() {
  $('#more').hidden = !rest;
  $('#search').hidden = listed.length < SEARCH_FROM && !rest && !searched;
  $('#none').hidden = listed.length > 0;
  tell($('#none-title'), searched ? 'l.nothing' : 'l.none');
  tell($('#none-text'), searched ? '' : 'l.none+');
}
/* The newest status in the answer has the most exact time. */
function takeTime(answer) {
  const made = Math.max(...answer.data.sales.map(sale => Date.parse(sale.status.server_time)));
  if (Number.isFinite(made))
    setClock(new Date(made).toISOString(), answer.sent - CACHED_MS, answer.got);
  else if (answer.date) setClock(new Date(answer.date).toISOString(), answer.sent, answer.got);
}
async function showSales() {
  for (let tries = 0; ; tries += 1) {
    const answer = await getSales();
    if (answer.data.sales) {
      listed = answer.data.sales;
      rest = answer.data.next_cursor ?? null;
      newestIds = new Set(listed.map(sale => sale.id));
      takeTime(answer);
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
/* Each card stays in its place, and new cards come last, so that nothing jumps. A sale that is
   missing from a complete answer was withdrawn. */
function takeSales({ sales, next_cursor }) {
  const isWhole = !searched && !rest && !next_cursor,
    read = new Map(sales.map(sale => [sale.id, sale])),
    cards = [...$('#sales').children];
  newestIds = new Set(read.keys());
  keepFocus('#sales', () => {
    listed = listed.flatMap((sale, i) => {
      const fresh = read.get(sale.id);
      read.delete(sale.id);
      if (!fresh && isWhole) {
        cards[i].remove();
        return [];
      }
      const kept = fresh ?? sale;
      if (cards[i].shown !== shownOf(kept)) cards[i].replaceWith(cardOf(kept));
      return [kept];
    });
    if (!searched) {
      listed.push(...read.values());
      $('#sales').append(...[...read.values()].map(cardOf));
    }
  });
  showEnds();
}
function rereadMs() {
  const starts = listed
    .filter(sale => newestIds.has(sale.id) && stateOf(sale) === 'before')
    .map(sale => Date.parse(sale.starts_at) - now())
    .filter(left => left > -LATE_MS);
  const next = Math.max(0, Math.min(...starts));
  return Math.min(jitter(...REREAD_MS), next + jitter(...STARTED_MS));
}
async function watchSales() {
  for (;;) {
    await new Promise(done => setTimeout(done, rereadMs()));
    await untilSeen();
    const answer = await getSales();
    if (answer.data.sales) {
      takeTime(answer);
      takeSales(answer.data);
    } else if (answer.retry_secs)
      await new Promise(done => setTimeout(done, answer.retry_secs * 1000));
  }
}
/* The number of the newest search. An answer to an earlier search is dropped. */
let search = 0,
  searching = false;
$('#search').onsubmit = async event => {
  event.preventDefault();
  const mine = (search += 1),
    wanted = $('#searched').value.trim();
  searching = true;
  const answer = await getSales(wanted);
  if (mine !== search) return;
  searching = false;
  if (!answer.data.sales) return announce(text('l.far'), true);
  searched = wanted;
  listed = answer.data.sales;
  rest = answer.data.next_cursor ?? null;
  drawSales();
};
$('#more').onclick = async () => {
  if (searching) return; /* the list is about to be replaced */
  const mine = search,
    answer = await getSales(searched, rest);
  if (mine !== search) return;
  if (!answer.data.sales) return announce(text('l.far'), true);
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
/* A new guest has no orders, so only the page of a sale creates a guest's identity. This page waits
   a short time for the buyer's orders, because it shows unpaid orders above the sales. */
async function firstOrders() {
  const known = token();
  if (!known) return null;
  const [mine, answer] = await Promise.all([identify(), getOrders(known, ORDERS_MAX)]);
  buyer = mine;
  return !mine || mine === known ? mine && answer : getOrders(mine, ORDERS_MAX);
}
addEventListener('pageshow', event => event.persisted && location.reload());
const reading = firstOrders(),
  limit = new Promise(done => setTimeout(done, WAIT_MS));
await Promise.all([showSales(), Promise.race([reading, limit])]);
watchSales();
const shown = reading.then(answer => answer && showOrders(answer));
await Promise.race([shown, limit]);
ready();
if (await reading) await watchOrders(shown);
else askToSignIn();
