/* The sale page: reads the sale once, polls its status slowly, and turns a press into one request.
   The page is the same file for every visitor, and its address names the sale. */
import {
  $, announce, bindLanguages, ready, signInUrl, site, tell, text, translate,
} from '/assets/texts.js';
import { jitter, now, pauser, setClock, untilSeen } from '/assets/clock.js';
import { getSale, getStatus, idInAddress, random, writtenSale } from '/assets/api.js';
import { buyerOf, endOf, failedSession, forget, identify, knownToken } from '/assets/who.js';
import { listen } from '/assets/events.js';
import { frontDoor } from '/assets/front-door.js';
import { ownOrders } from '/assets/own-orders.js';
import { itemWaitlist } from '/assets/waitlist.js';
import { newPress, pursue, unfinishedPress } from '/assets/press.js';
import {
  CALM_MS, canWaitlist, countOrder, buyerStateOf, learn, model as m, most, recountOrder, row,
  sceneOf, starts,
} from '/assets/sale-state.js';
import { bindReminders, remind } from '/assets/remind.js';
import { reloadWhenBack, saleChanges } from '/assets/sale-changes.js';
import { show, showItem, showItems, translateItem } from '/assets/sale-view.js';
import { tab } from '/assets/store.js';

/* The page opens the event stream at a random moment in the last ten minutes before the start. */
const STREAM_EARLY_MS = 600_000;
const QUIET_MS = 60_000; /* no polling in the last minute before the start */
/* After a gap in the stream, the page sends its requests at a random moment within this time. */
const GAP_MS = 3_000;
const CACHED_MS = 2_000; /* a shared answer from a cache may be this old */
/* If a status's time differs from the clock by more than this, the page sets the clock again. */
const CLOCK_OFF_MS = 5_000;
/* When the time to pay has passed, the page reads an order this often until its state changes. */
const REREAD_MS = 5_000;
const LEEWAY_MS = 30_000; /* the server accepts a token for this long after its end */

const poll = pauser(), press = pauser();
let version = '', turn = '', fresh = false, lost_polls = 0, stream = null, streaming = 0;
let heard = null, told = false, reread_ms = 0, opened = false;
const draw = () => {
  if (m.sale && m.status && !m.removed) {
    m.identifying = !!failedSession();
    door.settle(show(m));
    waitlist.settle();
  }
};
const scene = () => sceneOf(m);
/* The front door and the waitlist are null until the end of this script creates them. */
let door = null,
  waitlist = null;
const mine = ownOrders(m, draw, signedOut);
const changes = saleChanges(m, draw);

/* ----- the sale's status ----- */

/* All pages send the version that the server named, so that one cached answer serves all. A random
   version avoids caches: shortly before the start, after an absence, and to set the clock. */
async function refresh() {
  const own = fresh || !m.status,
    v = own ? random() : version + turn;
  const answer = await getStatus(m.id, v);
  if (answer.status === 404) return removed();
  if (answer.status === 200) {
    lost_polls = 0;
    fresh = false;
    m.offline = false;
    version = String(answer.data.version ?? version);
    if (answer.data.started) turn = '';
    if (own) setClock(answer.data.server_time, answer.sent, answer.got);
    /* After a device has slept, the page's clock can be wrong. */
    else fresh = Math.abs(Date.parse(answer.data.server_time) - now()) > CLOCK_OFF_MS;
    take(answer.data);
  } else if (answer.status === 0) {
    lost_polls += 1;
    if (lost_polls > 1 || navigator.onLine === false) m.offline = true;
  }
  draw();
  return answer.retry_secs;
}
function take(status) {
  if (status.sale !== m.id || Date.parse(status.server_time) < Date.parse(m.status?.server_time))
    return;
  m.status = status;
  m.seen_ms = Date.parse(status.server_time);
  changes.plan();
  follow();
  door.plan();
}
/** Applies a change of the buyer, but not before the claims in the cookie's token are known. */
function be(token) {
  if (token === m.token || (token && failedSession())) return;
  Object.assign(m, { token, barred: null, room: null });
  door.recall();
  waitlist.recall();
  if (m.status) door.plan();
}

/** A random pause, so that thousands of pages never send requests at the same moment. */
function pollPause_ms() {
  if (m.offline || lost_polls) return jitter(500, 1_000) * 2 ** Math.min(lost_polls, 4);
  const opens = starts(m);
  switch (scene()) {
    case 'before': {
      const wait = opens ? opens - now() : Infinity;
      if (wait > QUIET_MS + 30_000) {
        const rest = Math.min(jitter(30_000, 60_000), wait - QUIET_MS);
        /* The last request before the start sets the clock exactly. */
        fresh ||= wait - rest <= QUIET_MS + 30_000;
        return rest;
      }
      /* A cached answer from before the start is useless now, so all pages use a new version. */
      turn = '-open';
      return wait === Infinity ? jitter(10_000, 20_000) : Math.max(wait, 0) + jitter(200, 2_000);
    }
    case 'due':
      return jitter(1_000, 3_000);
    case 'ended':
      return m.status.phase !== 'closed'
        ? jitter(1_000, 4_000)
        : row(m).held
          ? jitter(30_000, 60_000)
          : Infinity;
    case 'sold':
      return jitter(20_000, 40_000);
    default:
      return m.status.started === false
        ? jitter(1_000, 2_000)
        : stream?.isOpen()
          ? jitter(12_000, 18_000)
          : streaming /* the stream opens soon, and brings the status */
            ? jitter(6_000, 9_000)
            : jitter(2_000, 5_000);
  }
}
async function watch() {
  for (;;) {
    told = false;
    const woken = await poll.rest(pollPause_ms());
    /* If the stream has brought a status, the page skips one request. */
    if (told && !woken && scene() !== 'before') await poll.rest(pollPause_ms());
    if (!m.press) await untilSeen();
    const retry_secs = await refresh();
    /* If the session could not be read, begin() applies the session later, and continues an
       unfinished press. */
    if (!m.token && site.guest && !failedSession()) be(await identify());
    /* The server asked for this pause, so no event ends it early. */
    if (retry_secs) await new Promise(done => setTimeout(done, retry_secs * 1000));
  }
}

/* Before the start, the pages of signed-in buyers open their streams at random moments over some
   minutes. */
function follow() {
  if (!m.token || stream || streaming || scene() === 'ended') return;
  const wait = scene() === 'before' ? (starts(m) ?? Infinity) - now() : 0;
  if (wait === Infinity) return;
  const delay = m.press
    ? 0
    : wait > QUIET_MS
      ? jitter(Math.max(0, wait - STREAM_EARLY_MS), wait - QUIET_MS / 2)
      : jitter(0, Math.max(4_000, wait / 2));
  if (delay > 3_600_000) return; /* the page plans this again after a later status */
  streaming = setTimeout(openStream, delay);
}
function openStream() {
  clearTimeout(streaming);
  streaming = 0;
  if (stream || !m.token) return;
  stream = listen({
    token: m.token,
    sale: m.id,
    on: {
      status(status) {
        told = true;
        take(status);
        draw();
      },
      room(place) {
        if (!place.sale || place.sale === m.id) door.hear(place);
      },
      gap(is_open) {
        if (scene() !== 'before') setTimeout(() => catchUp(is_open), jitter(0, GAP_MS));
      },
      order(order) {
        if (m.press) {
          heard = order?.id;
          press.wake();
        }
        waitlist.hear(order);
        if (m.order && order?.id === m.order.id) mine.readOne(m.order.id);
        else if (!m.press && order?.sale === m.id) mine.read();
        if (order) recountOrder(m, order);
      },
    },
  });
}
/* Without an order, the page does not read the buyer's orders, because after a gap a whole crowd
   reconnects at once. */
function catchUp(is_open) {
  if (!is_open) poll.wake();
  else if (m.order && opened) mine.readOne(m.order.id);
  opened = true;
  door.wake();
  waitlist.wake();
}
function closeStream() {
  clearTimeout(streaming);
  streaming = 0;
  stream?.close();
  stream = null;
}

/* ----- the press ----- */

/* An event about this press can arrive before the answer that names the order's id. Then the wait
   is skipped once. */
function rest(ms) {
  const known = heard && heard === m.press.id;
  heard = null;
  return known ? Promise.resolve() : press.rest(ms);
}
async function send() {
  try {
    if (!m.token) be(await identify());
    if (!m.token) {
      m.press = null;
      return draw();
    }
    openStream();
    const { token } = m;
    const end = await pursue(m.press, {
      token,
      rest,
      pass: which => door.passFor(m.press.item, which),
      hinted: () => !!stream?.isOpen(),
      tell(stage, { wait_ms = 0 } = {}) {
        m.stage = stage;
        m.retry_ms = now() + wait_ms;
        draw();
      },
    });
    if (!end.signin) finish(end);
    else if (token === m.token) signedOut(token);
    else setTimeout(resume); /* the press continues with the token that replaced this one */
  } finally {
    m.press = null;
    m.stage = null;
    draw();
  }
}
/* Drops the token `refused`, unless the page already has another token or no token. */
function signedOut(refused = m.token) {
  if (!refused || refused !== m.token) return;
  forget(refused);
  m.order = null; /* begin() reads the order again if the cookie has a newer token */
  closeStream();
  be(null);
  identify().then(knownToken).then(begin);
}
function finish({ order, code, problem, busy_secs, scope }) {
  if (order) {
    m.order = order;
    m.why = null;
    countOrder(m, order);
    mine.remember(order);
  } else if (busy_secs) {
    m.calm_ms = 0;
    door.busy(busy_secs, scope);
  } else if (door.about(code, problem, true)) {
    m.calm_ms = 0; /* the purchase did not reach the stock */
    tab.drop('calm.' + m.id);
  } else {
    learn(m, code, problem, m.press);
    fresh = true;
    poll.wake();
  }
}
function onPress(event) {
  event.preventDefault();
  if ($('#buy').getAttribute('aria-disabled') === 'true' || m.press) return;
  if (canWaitlist(m, buyerStateOf(m, scene()))) {
    openStream();
    return void waitlist.join();
  }
  if (door.press(buyerStateOf(m, scene()))) return openStream();
  chooseUnits(Number($('#units').value));
  m.calm_ms = now() + CALM_MS;
  m.why = null;
  m.order = null;
  tab.set('calm.' + m.id, m.calm_ms);
  m.press = newPress({ buyer: buyerOf(m.token), sale: m.id, item: m.item.id, units: m.units });
  m.stage = 'asking';
  send();
}

/** Shows the order that a waitlist entry became, like an order from a press. */
function served(order) {
  countOrder(m, order);
  if (order.item !== m.item?.id) return mine.keep(order);
  m.order = order;
  m.came = order.id;
  m.why = null;
  mine.remember(order);
  fresh = true;
  poll.wake();
  draw();
}
/** After a reload, repeats the press that has no final answer, with the same key. If there is no
   such press, shows the last order. */
function resume() {
  const buyer = m.token && buyerOf(m.token),
    open = m.token && !m.press && unfinishedPress(m.id, buyer);
  m.calm_ms = Math.min(tab.get('calm.' + m.id) ?? 0, now() + CALM_MS);
  if (open && m.sale.items.some(i => i.id === open.item)) {
    choose(open.item);
    m.units = open.units;
    m.press = open;
    open.unsure = true;
    m.stage = open.id ? 'queued' : 'asking';
    send();
  } else if (tab.get('order.' + m.id) && m.token) mine.readOne(tab.get('order.' + m.id));
}

/* ----- the buyer's choices ----- */

function choose(id) {
  /* Without a choice, the page shows the first item that can be bought. */
  const buyable = m.status.items?.find(r => r.state === 'on_sale')?.item;
  m.item =
    m.sale.items.find(i => i.id === id) ??
    m.sale.items.find(i => i.id === buyable) ??
    m.sale.items[0];
  m.units = 1;
  m.why = null;
  mine.show();
  showItem(m);
  door.plan();
  draw();
}
function chooseUnits(n) {
  m.units = Math.min(most(m), Math.max(1, Math.trunc(n) || 1));
  $('#units').value = m.units;
  draw();
}
function bind() {
  const free = el => el.getAttribute('aria-disabled') !== 'true';
  $('#deal').onsubmit = onPress;
  $('#fewer').onclick = e => free(e.currentTarget) && chooseUnits(m.units - 1);
  $('#more').onclick = e => free(e.currentTarget) && chooseUnits(m.units + 1);
  $('#units').onchange = () => chooseUnits(Number($('#units').value));
  $('#units').onkeydown = e => {
    if (e.key === 'Enter') {
      e.preventDefault();
      chooseUnits(Number($('#units').value));
    }
  };
  $('#act').onclick = () => {
    if (!free($('#act'))) return;
    if ($('#act').dataset.does === 'leave') return void waitlist.leave();
    if ($('#act').dataset.does === 'quit') return void door.leave();
    if ($('#act').dataset.does === 'again') {
      mine.putAside();
    }
    if ($('#act').dataset.does === 'anew') m.barred = null;
    wake();
    draw();
  };
  addEventListener('online', wake);
  addEventListener('offline', () => {
    m.offline = true;
    lost_polls = 1;
    draw();
  });
  addEventListener('pageshow', event => event.persisted && location.reload());
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) wake();
  });
}
/* After an absence or a lost connection, a fresh status also sets the clock again. */
function wake() {
  fresh = true;
  poll.wake();
  press.wake();
  catchUp(true);
}

/* ----- the page itself ----- */

function lost(why) {
  $('#sale').hidden = true;
  $('#lost').hidden = false;
  tell($('#lost-title'), why + '.title');
  tell($('#lost-text'), why + '.text');
  $('#lost-retry').hidden = why !== 'far';
  if (why === 'lost') {
    remind({ title: text('lost.title'), scene: why, tab: { lit: false } });
    closeStream();
  }
  announce(text(why + '.title'), true);
  ready();
  return new Promise(() => {}); /* the page stays like this */
}
function removed() {
  m.removed = true;
  lost('lost');
  return reloadWhenBack(m.id, poll);
}
async function load() {
  for (let tries = 0; ; tries += 1) {
    const reading = getStatus(m.id, version);
    const [sale, status, who] = await Promise.all([
      writtenSale(m.id) ?? reading.then(({ data }) => getSale(m.id, data?.version)),
      reading,
      identify(),
    ]);
    if (sale.status === 404 || status.status === 404) return lost('lost');
    if (sale.status === 200 && status.status === 200 && sale.data.items?.length) {
      m.sale = sale.data;
      m.item = m.sale.items[0];
      changes.loaded(m.sale.version ?? status.data.version);
      setClock(status.data.server_time, status.sent - CACHED_MS, status.got);
      be(who);
      take(status.data);
      version = String(status.data.version ?? version);
      break;
    }
    lost('far');
    const retry_ms = (sale.retry_secs ?? status.retry_secs ?? 0) * 1000;
    await poll.rest(Math.max(retry_ms, jitter(500, 1_000) * 2 ** Math.min(tries, 4)));
  }
  /* A cached answer is exact enough for the clock, except shortly before the start. */
  if (!m.status.started && starts(m) && starts(m) - now() <= QUIET_MS + 30_000) {
    fresh = true;
    await refresh();
  }
  $('#lost').hidden = true;
  $('#sale').hidden = false;
}
/* Runs four times a second, and exactly at the start, so that the button turns on in time. */
function tick() {
  if (m.removed) return;
  /* A guest's token is valid until the demonstration ends. */
  if (m.token && !m.press && !site.guest && now() > endOf(m.token) + (1 + m.spread) * LEEWAY_MS)
    signedOut();
  draw();
  if (
    m.order?.state === 'reserved' &&
    now() > Math.max(Date.parse(m.order.pay_by), reread_ms) + jitter(1_000, REREAD_MS)
  ) {
    reread_ms = now();
    mine.readOne(m.order.id);
  }
  const wait = starts(m) - now();
  setTimeout(tick, wait > 0 && wait < 250 ? wait + 1 : 250);
}

async function begin(who) {
  be(who);
  bindReminders(m);
  resume();
  await mine.readFirst();
  draw();
}
function reread() {
  fresh = true;
  poll.wake();
}

translate();
bindLanguages(() => {
  if (!m.item) return;
  translateItem(m);
  draw();
});
Object.assign(m, { id: idInAddress('sale'), wanted: new URLSearchParams(location.hash.slice(1)) });
m.sign_in_url = signInUrl() ?? null;
const isStreaming = () => !!stream?.isOpen();
door = frontDoor(m, { draw, choose, signedOut, reread, streaming: isStreaming });
waitlist = itemWaitlist(m, { door, draw, served, reread, signedOut, streaming: isStreaming });
$('#lost-retry').onclick = () => poll.wake();
if (!m.id) await lost('lost');
await load();
bind();
showItems(m, id => {
  choose(id);
  history.replaceState(null, '', '#item=' + encodeURIComponent(id));
  tab.set('item.' + m.id, id); /* kept for when the buyer comes back from the shop's sign-in page */
});
choose(m.wanted.get('item') ?? tab.get('item.' + m.id));
await begin(m.token);
ready();
if (failedSession()) knownToken().then(begin);
tick();
watch();
