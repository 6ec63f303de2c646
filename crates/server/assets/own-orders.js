/* Reads this buyer's orders in the sale, so that a new tab shows the reserved order and the
   remaining part of the limit. A page reads these orders only if the buyer has bought in this
   browser, because a plain view of a sale must not read the store. */
import { getOrder, getOrders } from '/assets/api.js';
import { buyerOf } from '/assets/who.js';
import { learnOrders } from '/assets/sale-state.js';
import { browser, tab } from '/assets/store.js';

/* A page waits this long for the orders. After this time, the page is shown without the orders. */
const WAIT_MS = 1_500;
const ORDERS_MAX = 50;

/** Keeps the orders of the buyer in `m`. `draw()` shows the model. */
export function ownOrders(m, draw) {
  const slot = name => name + '.' + m.id;

  /** Reads the orders now, after an event about an order from another tab or device. */
  async function read() {
    const buyer = m.token,
      answer = await getOrders(buyer, ORDERS_MAX);
    if (answer.status !== 200 || m.token !== buyer || m.press) return;
    const order = learnOrders(m, answer.data.orders ?? []);
    const isAside = order && order.id === tab.get(slot('again'));
    if ((!m.order || m.order.item !== m.item.id) && !isAside) m.order = order;
    draw();
  }
  return {
    read,
    /** Reads the orders before the page is shown. */
    async readFirst() {
      if (!m.token || browser.get(slot('bought')) !== buyerOf(m.token)) return;
      await Promise.race([read(), new Promise(done => setTimeout(done, WAIT_MS))]);
    },
    /** Reads one order again. A later state replaces "reserved". */
    async readOne(id) {
      const answer = await getOrder(m.token, id);
      if (answer.status === 200) {
        if (['cancelled', 'refunded', 'refused'].includes(answer.data.state)) {
          m.order = null;
          tab.drop(slot('order'));
        } else m.order = answer.data;
      }
      draw();
    },
    /** Remembers the order, so that this tab shows it after a reload. Also remembers that the buyer
       has an order, so that other tabs read the buyer's orders. */
    remember(order) {
      tab.set(slot('order'), order.id);
      browser.set(slot('bought'), buyerOf(m.token));
    },
    /** Hides the order, because the buyer wants to buy more. The order itself does not change. */
    putAside() {
      if (m.order) tab.set(slot('again'), m.order.id);
      m.order = null;
      tab.drop(slot('order'));
    },
  };
}
