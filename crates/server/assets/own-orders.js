/* The orders that this buyer has in the sale, so that a new tab shows what is reserved and what is
   left of the limit. A page reads them only for a buyer who has bought in this browser: a view of a
   sale must not read the store. */
import { getOrder, getOrders } from '/assets/api.js';
import { buyerOf } from '/assets/who.js';
import { learnOrders } from '/assets/sale-state.js';
import { browser, tab } from '/assets/store.js';

/* a page waits this long for the orders before it is shown without them */
const WAIT_MS = 1_500;
const ORDERS_MAX = 50;

/** The orders of the buyer of `m`; `draw()` shows the model. */
export function ownOrders(m, draw) {
  const slot = name => name + '.' + m.id;

  /** Reads them now: after an event about an order of another tab or device. */
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
    /** Reads them before the page is shown. */
    async readFirst() {
      if (!m.token || browser.get(slot('bought')) !== buyerOf(m.token)) return;
      await Promise.race([read(), new Promise(done => setTimeout(done, WAIT_MS))]);
    },
    /** Reads one order again; a later state replaces "reserved". */
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
    /** This tab shows the order again after a reload; other tabs know that there is one. */
    remember(order) {
      tab.set(slot('order'), order.id);
      browser.set(slot('bought'), buyerOf(m.token));
    },
    /** The buyer wants more: the order stays, and this tab no longer shows it. */
    putAside() {
      if (m.order) tab.set(slot('again'), m.order.id);
      m.order = null;
      tab.drop(slot('order'));
    },
  };
}
