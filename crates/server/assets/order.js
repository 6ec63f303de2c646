/* The order page: one order, read from GET /v1/orders/{order}. Events only say that it is worth reading again. */
import { $, ready, site, translate } from '/assets/words.js';
import { jitter, now, pauser, setClock } from '/assets/clock.js';
import { cancelOrder, getOrder, getSale, getStatus, idInAddress, random } from '/assets/api.js';
import { forget, identify } from '/assets/who.js';
import { listen } from '/assets/events.js';
import { showClock, showOrder, stateOf } from '/assets/order-view.js';

const m = { id: idInAddress('order'), order: null, sale: null, trouble: null, offline: false, cancelling: false, failed: false,
  sign_in_url: site.sign_in_url ?? null, token: null };
const GAP_MS = 3_000; /* after a gap in the stream, the order is read again at a random moment of this time */
const poll = pauser();
let stream = null, lost = 0, drawn = '';

function draw() { showOrder(m); drawn = stateOf(m); }

/** Reads the order; GET is the truth. Returns the seconds that the server asked to wait, if any. */
async function read() {
  m.token = await identify();
  if (!m.token) { m.trouble = site.guest ? 'far' : 'signin'; m.order = null; return null; }
  const answer = await getOrder(m.token, m.id);
  if (answer.status === 200) {
    lost = 0; m.offline = false; m.trouble = null;
    const first = !m.order;
    if (first) await learnMore(answer);
    m.order = answer.data;
    if (m.order.state !== 'reserved') m.failed = false;
    listenIn();
  } else if (answer.status === 401) {
    forget(m.token); stream?.close(); stream = null;
    m.trouble = site.guest ? 'missing' : 'signin'; m.order = null; /* a new guest has no old orders */
  } else if (answer.status === 404 || answer.status === 403) {
    m.trouble = 'missing'; m.order = null;
  } else {
    lost += 1;
    m.offline = answer.status === 0; m.trouble = 'far';
  }
  return answer.retry_secs;
}
/* The sale's words and the server's time. Without them the order is still shown, by the answer's own date. */
async function learnMore(answer) {
  if (answer.date) setClock(new Date(answer.date).toISOString(), answer.sent, answer.got);
  const [sale, status] = await Promise.all([getSale(answer.data.sale), getStatus(answer.data.sale, random())]);
  if (sale.status === 200) m.sale = sale.data;
  if (status.status === 200) setClock(status.data.server_time, status.sent, status.got);
}
function listenIn() {
  if (stream || !['queued', 'reserved', 'paid', 'expired'].includes(m.order.state)) return;
  stream = listen({ token: m.token, on: {
    order(order) { if (order?.id === m.id) poll.wake(); },
    gap() { setTimeout(poll.wake, jitter(0, GAP_MS)); }
  } });
}

function pace_ms() {
  if (m.trouble === 'missing' || m.trouble === 'signin') return Infinity;
  if (lost || !m.order) return jitter(500, 1_000) * 2 ** Math.min(lost, 4);
  const heard = stream?.isOpen();
  switch (m.order.state) {
    case 'queued': return heard ? jitter(3_000, 5_000) : jitter(1_000, 2_000);
    case 'reserved': {
      const rest = Date.parse(m.order.pay_by) - now();
      return Math.min(heard ? jitter(50_000, 70_000) : jitter(15_000, 25_000), Math.max(rest, 0) + jitter(1_500, 3_000));
    }
    case 'paid': case 'expired': return heard ? Infinity : jitter(50_000, 70_000);
    default: return Infinity;
  }
}
async function watch() {
  for (;;) {
    const retry_secs = await read();
    draw();
    ready();
    if (retry_secs) await new Promise(done => setTimeout(done, retry_secs * 1000)); /* no hint cuts this short */
    await poll.rest(pace_ms());
    if (document.hidden) await new Promise(seen => document.addEventListener('visibilitychange', seen, { once: true }));
  }
}

/** Cancelling is safe to repeat, so a lost answer is simply asked for again, once. */
async function cancel() {
  m.cancelling = true; m.failed = false; draw();
  let answer = await cancelOrder(m.token, m.id);
  if (answer.status === 0 || answer.status >= 500) {
    await new Promise(done => setTimeout(done, (answer.retry_secs ?? 1) * 1000));
    answer = await cancelOrder(m.token, m.id);
  }
  m.cancelling = false;
  if (answer.status === 200) m.order = answer.data;
  else m.failed = answer.status !== 409; /* 409: it is no longer only reserved; reading it says what it is */
  draw();
  if (answer.status === 409) poll.wake();
}

translate();
$('#side').onclick = event => {
  if (event.currentTarget.getAttribute('aria-disabled') === 'true') return;
  if (event.currentTarget.dataset.does === 'retry') poll.wake(); else $('#sure').showModal();
};
$('#sure').onclose = () => {
  const yes = $('#sure').returnValue === 'yes';
  $('#sure').returnValue = '';
  if (yes && m.order?.state === 'reserved') cancel();
};
addEventListener('online', () => poll.wake());
addEventListener('pageshow', event => { if (event.persisted) location.reload(); });
document.addEventListener('visibilitychange', () => { if (!document.hidden) poll.wake(); });
setInterval(() => { if (m.order && stateOf(m) !== drawn) draw(); else showClock(m); }, 250);
if (m.id) watch(); else { m.trouble = 'missing'; draw(); ready(); }
