/* Reads this buyer's orders in the sale: the reserved order, and how many units the buyer may still
   buy. If the buyer has bought in this browser, the page reads the orders before it is shown.
   Otherwise the buyer may have bought on another device, and the page reads the orders after the
   first minute of the sale (the rush). During the rush, page views must not read the store. */
import { getOrder, getOrders } from '/assets/api.js';
import { buyerOf } from '/assets/who.js';
import { jitter, now, untilSeen } from '/assets/clock.js';
import { learnOrders, recountOrder, starts } from '/assets/sale-state.js';
import { site } from '/assets/texts.js';
import { browser, tab } from '/assets/store.js';

/* After this time, the page is shown without the orders. */
const WAIT_MS = 1_500;
const ORDERS_MAX = 50;
/* A page that was opened in the rush (RUSH_MS) reads the orders after the rush, at a random moment
   within AFTER_RUSH_MS. */
const RUSH_MS = 60_000;
const AFTER_RUSH_MS = 240_000;
/* The range of the wait before each try after the first. If the opening time is unknown, the first
   try waits too. */
const UNKNOWN_MS = [10_000, 20_000];
const TRIES_MAX = 5;

/** `draw()` shows the model. `signedOut(token)` drops a token that the server refused. */
export function ownOrders(m, draw, signedOut) {
  const slot = name => name + '.' + m.id;
  /* Orders for items that the page does not show now: from an item's id to its order. */
  const kept = new Map();
  const keep = order => kept.set(order.item, { token: m.token, order });

  const isAside = id => id === tab.get(slot('again'));
  /* Keeps the newest reserved order of each item that the page does not show now. The server lists
     the newest order first. */
  function keepOthers(orders) {
    const others = orders.filter(
      o => o.sale === m.id && o.state === 'reserved' && o.item !== m.item.id && !isAside(o.id),
    );
    for (const order of others.reverse()) keep(order);
  }
  /** Reads the orders now, after an event about an order from another tab or device. Returns
     whether the page knows the orders. */
  async function read() {
    const buyer = m.token,
      answer = await getOrders(buyer, ORDERS_MAX);
    if (answer.status === 401) {
      signedOut(buyer);
      return true;
    }
    if (answer.status !== 200 || m.token !== buyer || m.press) return false;
    const orders = answer.data.orders ?? [],
      order = learnOrders(m, orders);
    if (order) browser.set(slot('bought'), buyerOf(buyer));
    if ((!m.order || m.order.item !== m.item.id) && !(order && isAside(order.id))) m.order = order;
    keepOthers(orders);
    draw();
    return true;
  }
  /* Reads the orders after the rush, and again if the answer was lost or a press was waiting. A
     page that was opened before the start does not call this, because its event stream reports each
     new order. */
  async function readLater() {
    const ago = now() - starts(m);
    /* The sale has no start time, or an operator opened the sale before its start time. */
    const isUnknown = starts(m) === null || ago < 0;
    let wait = isUnknown
      ? jitter(...UNKNOWN_MS)
      : ago < RUSH_MS
        ? RUSH_MS - ago + jitter(0, AFTER_RUSH_MS)
        : jitter(1_000, 5_000);
    for (let tries = 0; tries < TRIES_MAX; tries += 1, wait = jitter(...UNKNOWN_MS)) {
      await new Promise(done => setTimeout(done, wait));
      await untilSeen();
      if (!m.token || m.order || (await read())) return;
    }
  }
  return {
    read,
    /** If the buyer has bought in this browser, reads the orders before the page is shown.
       Otherwise, if the sale has started, reads them after the rush. */
    async readFirst() {
      if (!m.token) return;
      if (browser.get(slot('bought')) === buyerOf(m.token))
        await Promise.race([read(), new Promise(done => setTimeout(done, WAIT_MS))]);
      else if (!site.guest && m.status.started) readLater(); /* a guest has only one browser */
    },
    /** Shows the order's new state, or hides the order if it was cancelled, refunded or refused. */
    async readOne(id) {
      const { token } = m,
        answer = await getOrder(token, id);
      if (answer.status === 401) signedOut(token);
      else if (answer.status === 200 && token === m.token) {
        recountOrder(m, answer.data);
        const isOver = ['cancelled', 'refunded', 'refused'].includes(answer.data.state);
        if (isOver && tab.get(slot('order')) === id) tab.drop(slot('order'));
        if (isOver && answer.data.item !== m.item.id) kept.delete(answer.data.item);
        else if (answer.data.item !== m.item.id) keep(answer.data);
        /* The buyer may have put the order aside during the read. */
        else if (isOver || !isAside(id)) m.order = isOver ? null : answer.data;
      }
      draw();
    },
    /** Shows the order for the item that the page now shows. Keeps the order for another item until
       the page shows that item again. */
    show() {
      if (m.order?.item === m.item.id) return;
      if (m.order) keep(m.order);
      const { token, order } = kept.get(m.item.id) ?? {};
      kept.delete(m.item.id);
      m.order = order && token === m.token ? order : null;
      if (m.order) this.readOne(m.order.id);
    },
    /** Keeps the order of another item, until the page shows that item. */
    keep(order) {
      keep(order);
      browser.set(slot('bought'), buyerOf(m.token));
    },
    /** After a reload, this tab shows the order. Other tabs learn that the buyer has an order. */
    remember(order) {
      tab.set(slot('order'), order.id);
      browser.set(slot('bought'), buyerOf(m.token));
    },
    /** Hides the order on this page, because the buyer wants to buy more. */
    putAside() {
      if (m.order) tab.set(slot('again'), m.order.id);
      m.order = null;
      tab.drop(slot('order'));
    },
  };
}
