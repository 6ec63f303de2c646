/* Before a sale opens, an operator can change its titles, prices and limits. The status does not
   contain them, so after a change the page reads the sale again. An operator can also remove the
   sale, and an open page then waits for its return. */
import { getSale, getStatus, random } from '/assets/api.js';
import { jitter, untilSeen } from '/assets/clock.js';
import { sceneOf } from '/assets/sale-state.js';
import { translateItem } from '/assets/sale-view.js';

/* All pages learn of a change at the same time, so each page waits for a random time. In the first
   seconds, some nodes may not know the change yet. */
const REREAD_MS = [2_000, 10_000];
/* The pause between two requests for the status of a removed sale. */
const REMOVED_MS = [25_000, 35_000];

/** Waits until buyers can see the removed sale `id` again. Then loads the page again, because the
   sale's texts, items and times may be new. `poll` is the pauser between the requests. */
export async function reloadWhenBack(id, poll) {
  for (;;) {
    await poll.rest(jitter(...REMOVED_MS));
    await untilSeen();
    const { status, retry_secs } = await getStatus(id, random());
    if (status === 200) {
      location.reload();
      return new Promise(() => {}); /* the page does nothing more */
    }
    /* The server asked for this pause, so no event ends it early. */
    if (retry_secs) await new Promise(done => setTimeout(done, retry_secs * 1000));
  }
}

/** Keeps `m.sale` and `m.item` up to date. `draw()` shows the model. */
export function saleChanges(m, draw) {
  let known = null /* the version of the status that belongs to m.sale */,
    timer = 0;

  async function reread() {
    const version = m.status.version,
      answer = await getSale(m.id, version);
    timer = 0;
    /* After a failure, a later status makes the page try again. */
    if (answer.status !== 200 || !answer.data.items?.length) return;
    known = version;
    m.sale = answer.data;
    m.item = m.sale.items.find(item => item.id === m.item.id) ?? m.sale.items[0];
    translateItem(m);
    draw();
  }
  return {
    /** Says that `m.sale` belongs to this version of the status. */
    loaded(version) {
      known = version;
    },
    /** Plans a read if the status has a new version. After the opening, changes of the phase and
       the stock also change the version, so the page no longer reads the sale. */
    plan() {
      if (!timer && m.status.version !== known && sceneOf(m) === 'before')
        timer = setTimeout(reread, jitter(...REREAD_MS));
    },
  };
}
