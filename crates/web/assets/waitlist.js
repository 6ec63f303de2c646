/* The waitlist of an item: joining, the position, leaving, and the order that the entry becomes.
   Only this browser remembers that there is an entry. On another device, the buyer joins again, and
   the page finds the entry. Without events, the page polls slowly. */
import { getWaitlistEntry, getOrder, joinWaitlist, leaveWaitlist, random } from '/assets/api.js';
import { jitter, pauser } from '/assets/clock.js';
import { dropPass, passOf } from '/assets/pass.js';
import { buyerOf } from '/assets/who.js';
import { learn, reopenWaitlist, row } from '/assets/sale-state.js';
import { browser } from '/assets/store.js';

/* The button "leave" replaces the button "join". For this time, the page ignores "leave", because a
   double click on "join" must not leave the waitlist. */
const CALM_MS = 1_000;
const TRIES = 4,
  AGAIN_MS = 1_000; /* the pause before a failed request is sent again with its key */
/* If the waitlist is full, the buyer may try again after a random time in this range. */
const FULL_MS = [60_000, 120_000];
const NO_PASS = ['pass_required', 'pass_invalid', 'pass_expired'];

/** `door` is the front door. `draw()` shows the model, and `reread()` requests the status.
   `served(order)` takes the order that an entry became. `signedOut(token)` drops a refused
   token. */
export function itemWaitlist(m, { door, draw, reread, served, signedOut, streaming }) {
  const slot = 'waitlist.' + m.id,
    pause = pauser();
  let watching = false,
    calm_ms = 0;

  /* Returns the ids of this buyer's entries, by item. */
  const known = () => {
    const kept = browser.get(slot);
    return kept?.buyer === buyerOf(m.token) ? kept.places : {};
  };
  function keep(item, id) {
    const places = { ...known(), [item]: id };
    if (!id) delete places[item];
    if (Object.keys(places).length) browser.set(slot, { buyer: buyerOf(m.token), places });
    else browser.drop(slot);
  }
  function take(place) {
    m.waitlist[place.item] = { id: place.id, ahead: place.ahead };
    m.waitlistError = null;
    if (known()[place.item] !== place.id) calm_ms = performance.now() + CALM_MS;
    keep(place.item, place.id);
    draw();
    watch();
  }
  function drop(item, why = null) {
    delete m.waitlist[item];
    keep(item, null);
    m.waitlistError = why && { item, name: why };
    draw();
  }
  /** An `order` in the state `refused` means that the entry ended without an order. */
  function end(item, order) {
    drop(item, order.state === 'refused' && order.code !== 'left' ? order.code : null);
    if (order.state !== 'refused') served(order);
  }

  /* ----- joining and leaving ----- */

  /** Joins after a press. If the front door has requirements, the page joins by itself after the
     buyer has met them. */
  async function join(item = m.item.id) {
    if (m.waitlistBusyItem) return;
    Object.assign(m, { waitlistBusyItem: item, wish: null, waitlistError: null });
    draw();
    const answer = await ask(item, random());
    m.waitlistBusyItem = null;
    if (answer.status === 200 || answer.status === 201) {
      if (answer.data.state === 'waiting') take(answer.data);
      else end(item, answer.data);
    } else refused(item, answer);
    draw();
  }
  async function ask(item, key) {
    for (let tries = 1, which = 'any'; ; tries += 1) {
      const pass = await door.passFor(item, which);
      if (pass && pass.status !== 201) return { ...pass, unsent: true };
      const answer = await joinWaitlist(m.token, m.id, item, key, pass?.data.pass);
      if (answer.status === 403 && which === 'any' && NO_PASS.includes(answer.data.code)) {
        dropPass(m, item);
        which = 'new';
        continue;
      }
      if ((answer.status !== 0 && answer.status < 500) || tries >= TRIES) return answer;
      await new Promise(done =>
        setTimeout(done, (answer.retry_secs ?? 0) * 1000 + jitter(AGAIN_MS / 2, AGAIN_MS * tries)),
      );
    }
  }
  function refused(item, answer) {
    const { status, data } = answer;
    if (status === 409) {
      if (['waitlist_full', 'limit_reached', 'wrong_state'].includes(data.code))
        m.waitlistError = { item, name: data.code };
      else if (data.code !== 'not_held_out') {
        learn(m, data.code, data, { item });
        m.why = null;
      }
      if (data.code === 'waitlist_full')
        setTimeout(() => reopenWaitlist(m, data.code), jitter(...FULL_MS));
      return reread(); /* units are available, or none will come back: the status tells which */
    }
    if (status === 0) {
      m.waitlistError = { item, name: 'lost' };
      return;
    }
    m.wish = item; /* a check or a code may be required now; joining continues after it */
    door.refused(answer);
    if (status === 401 || status === 429 || status >= 500 || !door.asking()) m.wish = null;
  }
  /** When the front door's dialog has closed, joins if the page has a pass, and otherwise stops
     joining. The page calls this after each drawing. */
  function settle() {
    if (row(m).state !== 'held_out') reopenWaitlist(m, 'waitlist_full');
    if (!m.wish || m.waitlistBusyItem || door.asking()) return;
    const item = m.wish;
    if (passOf(m, item)) join(item);
    else m.wish = null;
  }

  async function leave(item = m.item.id) {
    if (m.waitlistBusyItem || !m.waitlist[item] || performance.now() < calm_ms) return;
    m.waitlistBusyItem = item;
    draw();
    const answer = await leaveWaitlist(m.token, m.id, item);
    m.waitlistBusyItem = null;
    if (answer.status === 204) drop(item);
    else if (answer.status === 409) await look(item); /* a unit arrived at this moment */
    else m.waitlistError = { item, name: 'stuck' };
    draw();
  }

  /* ----- changes of the position ----- */

  /** Reads the entry. If the server asked for a pause, returns its length in seconds. */
  async function look(item) {
    const { token } = m,
      { id } = m.waitlist[item] ?? {};
    const answer = await getWaitlistEntry(token, m.id, item);
    if (answer.status === 200) {
      if (m.waitlist[item]?.ahead !== answer.data.ahead || id !== answer.data.id) take(answer.data);
      return null;
    }
    if (answer.status === 401) signedOut(token);
    if (answer.status !== 404 || !id) return answer.retry_secs;
    const became = await getOrder(m.token, id);
    if (became.status === 200 && became.data.state !== 'waiting') end(item, became.data);
    else if (became.status === 404) drop(item);
    return became.retry_secs;
  }
  async function watch() {
    if (watching) return;
    watching = true;
    while (Object.keys(m.waitlist).length) {
      await pause.rest(streaming() ? jitter(15_000, 25_000) : jitter(4_000, 8_000));
      for (const item of Object.keys(m.waitlist)) {
        const retry_secs = m.token ? await look(item) : null;
        if (retry_secs) await new Promise(done => setTimeout(done, retry_secs * 1000));
      }
    }
    watching = false;
  }
  /** An event about an order may be about a waitlist entry. */
  function hear(order) {
    const item = Object.keys(m.waitlist).find(item => m.waitlist[item].id === order?.id);
    if (item && order.state !== 'waiting') end(item, order);
  }
  function recall() {
    m.waitlist = {};
    for (const [item, id] of Object.entries(m.token ? known() : {})) {
      m.waitlist[item] = { id, ahead: null };
      setTimeout(() => look(item), jitter(0, 1_500));
    }
    watch();
  }
  return { join, leave, settle, hear, recall, wake: pause.wake };
}
