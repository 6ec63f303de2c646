/* The order page: one order and its history. Events only say that the order has changed. */
import {
  $, announce, bindLanguages, localized, ready, signInUrl, site, tell, text, translate,
} from '/assets/texts.js';
import { calendarFile } from '/assets/calendar.js';
import { jitter, now, pauser, setClock } from '/assets/clock.js';
import {
  cancelOrder, getHistory, getLinkedOrder, getOrder, getOrderLink, getSale, getStatus, idInAddress,
  leaveWaitlist, openCheckout, openLinkedCheckout, random,
} from '/assets/api.js';
import { forget, identify, token } from '/assets/who.js';
import { listen } from '/assets/events.js';
import { tab } from '/assets/store.js';
import { bindReminders } from '/assets/remind.js';
import { CHECK_MS, isBack, moneyBack, stateOf } from '/assets/order-state.js';
import { showClock, showOrder, showTab } from '/assets/order-view.js';

const m = {
  id: idInAddress('order'),
  order: null,
  told: null,
  sale: null,
  trouble: null,
  offline: false,
  cancelling: false,
  opening: false,
  said: null,
  unheard: false,
  back_ms: null,
  sign_in_url: signInUrl() ?? null,
  came: false /* a waitlist entry became this order while the page was open */,
  token: null,
  key: null /* the key of the link that opened the page */,
  by_link: false /* the order was read with the link's key, not with the buyer's token */,
};
/* After a gap in the stream, the page reads the order again at a random moment within this time. */
const GAP_MS = 3_000;
/* If the difference between an answer's date and the page's clock changes by more than this, the
   page sets its clock again. */
const CLOCK_OFF_MS = 5_000;
const AGAIN_MS = 1_000,
  AGAIN_MAX_MS = 4_000; /* the longest pause before a failed request is sent again */
/* If the payment page does not open within this time, the buyer may press the button again. */
const LEAVE_MS = 15_000;
const HIDDEN_MS = 60_000;
const poll = pauser();
let stream = null, lost = 0, drawn = '', hinted = false, woken = false, reminds = false;
/* How far an answer's date was ahead of the page's clock. The date comes from the node's clock, and
   the page's clock shows the store's time. */
let date_off = 0;
/* A read that is already running may miss the change, so another read follows at once. */
function wake() {
  woken = true;
  poll.wake();
}

function draw() {
  showOrder(m);
  drawn = stateOf(m);
}

/* Requests the order with the buyer's token, or else with the link's key. Returns null if the page
   has neither. */
async function ask() {
  if (!m.by_link) {
    /* With a link's key, the page does not create a guest's token. */
    m.token = m.key && !token() ? null : await identify();
    const answer = m.token ? await getOrder(m.token, m.id) : null;
    if (!m.key || (answer && ![401, 403, 404].includes(answer.status))) return answer;
    m.by_link = true;
    m.token = null;
  }
  return getLinkedOrder(m.key, m.id);
}
/** Reads the order. If the server asked for a pause, returns its length in seconds. */
async function read() {
  const answer = await ask();
  if (!answer) {
    m.trouble = site.guest ? 'far' : 'signin';
    m.order = null;
    return null;
  }
  if (answer.status === 200) {
    lost = 0;
    m.offline = false;
    m.trouble = null;
    /* After a device has slept, the page's clock can be wrong. */
    const off = Date.parse(answer.date) - now();
    if (!m.order || Math.abs(off - date_off) > CLOCK_OFF_MS) {
      await learnMore(answer);
      date_off = Date.parse(answer.date) + performance.now() - answer.got - now() || 0;
    }
    await take(answer.data);
    listenIn();
  } else if (answer.status === 401) {
    const refused = m.token;
    forget(refused);
    stream?.close();
    stream = null;
    /* Another tab may have put a newer token into the cookie. */
    if (token() && token() !== refused) return read();
    m.trouble = site.guest ? 'missing' : 'signin';
    m.order = null; /* a new guest has no old orders */
  } else if (answer.status === 404 || answer.status === 403) {
    m.trouble = m.by_link ? 'unlinked' : 'missing';
    m.order = null;
  } else {
    lost += 1;
    m.offline = answer.status === 0;
    m.trouble = 'far';
  }
  return answer.retry_secs;
}
/* Reads the sale's texts and the server's time. If this fails, the page shows the order without
   these texts and takes the time from the answer's date. */
async function learnMore(answer) {
  const [sale, status] = await Promise.all([
    getSale(answer.data.sale),
    getStatus(answer.data.sale, random()),
  ]);
  if (sale.status === 200) m.sale = sale.data;
  if (status.status === 200) setClock(status.data.server_time, status.sent, status.got);
  else if (answer.date) setClock(new Date(answer.date).toISOString(), answer.sent, answer.got);
}
/* Puts the order into the model. Reads the history again if the order has changed, if an event
   came, or while a payment or a refund is expected. */
async function take(order) {
  const isSame = JSON.stringify(order) === JSON.stringify(m.order);
  const wanted = !m.by_link && !['queued', 'refused', 'waiting'].includes(order.state);
  if (wanted && (!isSame || hinted || !m.told || isBack(m) || moneyBack(m)?.state === 'pending')) {
    hinted = false;
    const answer = await getHistory(m.token, m.id);
    if (answer.status === 200) m.told = answer.data;
    else if (!isSame) m.told = null;
  }
  if (order.state !== m.order?.state) m.said = null;
  m.came = order.state === 'reserved' && (m.came || m.order?.state === 'waiting');
  if (order.state === 'waiting' && !reminds) {
    reminds = true;
    bindReminders(m);
  }
  m.order = order;
  if (order.state === 'reserved') return;
  m.unheard = false;
  if (!['expired', 'cancelled'].includes(order.state)) cameBack(null);
}
function listenIn() {
  if (stream || m.by_link || ['refused', 'refunded'].includes(m.order.state)) return;
  stream = listen({
    token: m.token,
    on: {
      order(order) {
        if (order?.id === m.id) {
          hinted = true;
          wake();
        }
      },
      gap() {
        hinted = true;
        setTimeout(wake, jitter(0, GAP_MS));
      },
    },
  });
}

/* Anyone can write an address with `?back=paid` or `?back=left`, so only the provider's
   confirmation counts. */
function cameBack(ms) {
  m.back_ms = ms;
  if (ms === null) tab.drop('back.' + m.id);
  else tab.set('back.' + m.id, true);
}
function readAddress() {
  const url = new URL(location.href),
    back = url.searchParams.get('back'),
    parts = new URLSearchParams(url.hash.slice(1)),
    key = parts.get('key');
  if (back !== null || key !== null) {
    url.searchParams.delete('back');
    parts.delete('key');
    const rest = String(parts) && '#' + parts;
    history.replaceState(null, '', url.pathname + url.search + rest);
  }
  /* The address that leads back from the payment page lacks the key, so the tab stores it. */
  if (key !== null) tab.set('key.' + m.id, key);
  m.key = key ?? tab.get('key.' + m.id);
  if (back === 'paid' || (back === null && tab.get('back.' + m.id))) cameBack(performance.now());
  else if (back !== null) cameBack(null);
}

function pollPause_ms() {
  if (['missing', 'signin', 'unlinked'].includes(m.trouble)) return Infinity;
  if (lost || !m.order) return jitter(500, 1_000) * 2 ** Math.min(lost, 4);
  const heard = stream?.isOpen();
  if (moneyBack(m)?.state === 'pending') return jitter(4_000, 8_000);
  if (isBack(m)) return heard ? jitter(4_000, 6_000) : jitter(2_000, 3_000);
  switch (m.order.state) {
    case 'waiting':
      return heard ? jitter(15_000, 25_000) : jitter(4_000, 8_000);
    case 'queued':
      return heard ? jitter(3_000, 5_000) : jitter(1_000, 2_000);
    case 'reserved': {
      const rest = Date.parse(m.order.pay_by) - now();
      return Math.min(
        heard ? jitter(50_000, 70_000) : jitter(15_000, 25_000),
        rest > 0 ? rest + jitter(1_500, 3_000) : jitter(3_000, 6_000),
      );
    }
    /* A payment for the order may still arrive. */
    case 'paid':
    case 'expired':
    case 'cancelled':
      return heard ? jitter(100_000, 140_000) : jitter(50_000, 70_000);
    default:
      return Infinity;
  }
}
async function watch() {
  for (;;) {
    woken = false;
    const retry_secs = await read();
    draw();
    ready();
    if (retry_secs)
      /* The server asked for this pause, so no event ends it early. */
      await new Promise(done => setTimeout(done, retry_secs * 1000));
    /* The page alerts a buyer on the waitlist even in a hidden tab. So a hidden page reads the
       entry again after an event, or once a minute. */
    const waits = m.order?.state === 'waiting';
    const shortest = document.hidden && waits ? HIDDEN_MS : 0;
    if (!woken) await poll.rest(Math.max(pollPause_ms(), shortest));
    if (document.hidden && !waits)
      await new Promise(seen =>
        document.addEventListener('visibilitychange', seen, { once: true }),
      );
  }
}

/* Returns the page's address, with the key of the link that opened the page. */
const ownAddress = () =>
  location.origin + location.pathname + (m.key ? '#key=' + encodeURIComponent(m.key) : '');

/** Sends a request, and once more if it failed. So the request must be safe to repeat. */
async function twice(ask) {
  const answer = await ask();
  if (answer.status !== 0 && answer.status < 500) return answer;
  await new Promise(done =>
    setTimeout(done, Math.min((answer.retry_secs ?? 0) * 1000 || AGAIN_MS, AGAIN_MAX_MS)),
  );
  return ask();
}
async function cancel() {
  m.cancelling = true;
  m.said = null;
  draw();
  const answer = await twice(() => cancelOrder(m.token, m.id));
  m.cancelling = false;
  if (answer.status === 200) await take(answer.data);
  else if (answer.status !== 409)
    m.said = 'o.uncancelled'; /* 409: the order is not reserved; the next read gets its state */
  draw();
  if (answer.status === 409) wake();
}
/** Leaves the waitlist. If the entry has just become an order, the next read shows the order. */
async function leave() {
  m.cancelling = true;
  m.said = null;
  draw();
  const answer = await twice(() => leaveWaitlist(m.token, m.order.sale, m.order.item));
  m.cancelling = false;
  if (answer.status !== 204 && answer.status !== 409) m.said = 'o.unleft';
  draw();
  wake();
}
async function pay() {
  m.opening = true;
  m.said = null;
  draw();
  const { status, data } = await twice(() =>
    m.by_link ? openLinkedCheckout(m.key, m.id) : openCheckout(m.token, m.id),
  );
  const url = status === 200 && /^https?:\/\//.test(data.checkout_url) ? data.checkout_url : null;
  if (url) {
    cameBack(null);
    m.unheard = false;
    setTimeout(() => {
      m.opening = false;
      draw();
    }, LEAVE_MS);
    location.assign(url);
    return;
  }
  m.opening = false;
  if (status === 503) m.said = 'o.away';
  else if (status === 429) m.said = 'o.often';
  else if (status === 409 && data.state === 'reserved' && now() + 2_000 < Date.parse(m.order?.pay_by))
    m.said = 'o.unpayable'; /* the payment provider accepts no payment for this order */
  else if (![401, 404, 409].includes(status)) m.said = 'o.nopay';
  draw();
  if (!m.said) wake(); /* the order has changed; the next read gets its state */
}

translate();
bindLanguages(draw);
$('#pay').onclick = event => {
  if (event.currentTarget.getAttribute('aria-disabled') !== 'true') pay();
};
$('#side').onclick = event => {
  if (event.currentTarget.getAttribute('aria-disabled') === 'true') return;
  switch (event.currentTarget.dataset.does) {
    case 'retry':
      return wake();
    case 'pay':
      return pay();
    case 'leave':
      return leave();
    case 'print':
      return window.print();
    default:
      $('#sure').showModal();
  }
};
/** Returns false if the browser has no clipboard or refuses its use. */
const copied = async words =>
  (await navigator.clipboard?.writeText(words).then(() => true, () => false)) === true;
$('#copy').onclick = async () => {
  const { id } = m.order,
    done = await copied(id);
  tell($('#copy'), done ? 'o.copied' : 'o.copy');
  tell($('#copy-note'), done ? '' : 'o.idis', { id });
  $('#copy-note').hidden = done;
  announce(done ? text('o.copied') : $('#copy-note').textContent, true);
};
/* Copies a link for another device or another payer. Without a clipboard, the page shows the
   link. */
$('#copy-link').onclick = async () => {
  const answer = await getOrderLink(m.token, m.id);
  if (answer.status !== 200) return wake();
  const link = new URL(answer.data.url, location.origin).href;
  tell($('#link-note'), (await copied(link)) ? 'o.linked' : 'o.linkis', { link });
  $('#link-note').hidden = false;
  announce($('#link-note').textContent, true);
};
addEventListener('hashchange', () => {
  if (/[#&]key=/.test(location.hash)) location.reload();
});
$('#deadline').onclick = event => {
  event.currentTarget.href = calendarFile({
    id: m.order.id,
    version: (m.told?.history ?? []).filter(entry => entry.event === 'order.extended').length,
    at: Date.parse(m.order.pay_by),
    title: text('o.pay', { sum: $('#slip-title').textContent }),
    url: ownAddress(),
  });
};
$('#next-calendar').onclick = event => {
  event.currentTarget.href = calendarFile({
    id: 'next.' + m.order.id,
    at: Date.parse(site.next_steps_at),
    title: `${site.shop || 'Doorbuster'}: ${$('#slip-title').textContent}`,
    words: localized(site.next_steps),
    url: location.origin + location.pathname,
  });
};
$('#sure').onclose = () => {
  const yes = $('#sure').returnValue === 'yes';
  $('#sure').returnValue = '';
  if (yes && m.order?.state === 'reserved') cancel();
};
addEventListener('online', wake);
addEventListener('pageshow', event => {
  if (event.persisted) location.reload();
});
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) wake();
});
setInterval(() => {
  if (m.back_ms !== null && performance.now() - m.back_ms >= CHECK_MS) {
    m.unheard = m.order?.state === 'reserved';
    cameBack(null);
  }
  if (m.order && stateOf(m) !== drawn) draw();
  else {
    showClock(m);
    showTab(m);
  }
}, 250);
if (m.id) {
  readAddress();
  watch();
} else {
  m.trouble = 'missing';
  draw();
  ready();
}
