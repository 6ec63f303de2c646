/* Shows the messages of web push, even while no page is open. A late message may no longer be true,
   so the worker asks the server before it shows a message. */
const zh = new URL(self.location.href).searchParams.get('lang') === 'zh';
/* The texts of each kind of message, by its state:
   - `holds`: the message is true
   - `gone`: it is not true any more
   - `late`: the time in it has passed
   - `unknown`: the server gave no answer
   - `other`: the order belongs to another buyer */
const words = zh
  ? {
      turn: {
        holds: t => `轮到你了，请在 ${t} 前购买`,
        gone: () => '你的抢购时间已结束',
        late: t => `你的抢购时间已于 ${t} 结束`,
        unknown: t => `如果仍轮到你，请在 ${t} 前购买`,
      },
      reserved: {
        holds: t => `已为你保留，请在 ${t} 前付款`,
        gone: () => '该订单无需付款',
        late: t => `付款时间已于 ${t} 结束`,
        unknown: t => `如果订单待付款，请在 ${t} 前付款`,
        other: () => '此消息属于其他账号',
      },
    }
  : {
      turn: {
        holds: t => `It’s your turn: buy before ${t}`,
        gone: () => 'Your turn has ended',
        late: t => `Your turn ended at ${t}`,
        unknown: t => `If it is still your turn, buy before ${t}`,
      },
      reserved: {
        holds: t => `Reserved for you: pay by ${t}`,
        gone: () => 'This order needs no payment',
        late: t => `The time to pay ended at ${t}`,
        unknown: t => `If your order is unpaid, pay by ${t}`,
        other: () => 'This message was for another account',
      },
    };
const PATIENCE_MS = 4000;

self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', event => event.waitUntil(self.clients.claim()));
self.addEventListener('push', event => event.waitUntil(show(event.data?.json() ?? {})));
async function show({ kind, title, until, url }) {
  if (!words[kind]) return;
  /* A visible page that already shows this sale or order needs no notification. */
  const pages = await self.clients.matchAll({ type: 'window', includeUncontrolled: true });
  const visible = pages.filter(page => page.visibilityState === 'visible');
  if (visible.some(page => pathOf(page.url) === pathOf(url))) return;
  const lost = { state: 'unknown', isOwn: true };
  const { state: found, ends = until, isOwn } = await stateOf(kind, url).catch(() => lost);
  const state = found === 'unknown' && Date.now() > until ? 'late' : found;
  /* If the buyer has signed out, or another buyer has signed in, the message does not name the
     product. */
  const body = !isOwn ? '' : typeof title === 'string' ? title : title[zh ? 'zh' : 'en'];
  await self.registration.showNotification(words[kind][state](time(ends)), {
    body,
    lang: zh ? 'zh-Hans' : 'en',
    tag: 'doorbuster.' + url,
    data: { url },
  });
}
function pathOf(url) {
  return new URL(url, self.location.href).pathname;
}
/* Asks the server about a message. Returns its state, the time until which it is true, and whether
   the signed-in buyer owns the order or the turn. */
async function stateOf(kind, url) {
  const at = new URL(url, self.location.href),
    id = at.pathname.split('/')[2],
    item = new URLSearchParams(at.hash.slice(1)).get('item');
  const path =
    kind === 'reserved'
      ? `/v1/orders/${id}`
      : `/v1/sales/${id}/waiting-room` + (item ? `?item=${item}` : '');
  /* The cookie names the buyer. The header shows that the request comes from this origin. */
  const answer = await fetch(path, {
    headers: { 'X-Doorbuster-Page': '1' },
    cache: 'no-store',
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  /* Status 404 means that the buyer has left the waiting room, or that the order belongs to another
     buyer. */
  if (answer.status === 404) return { state: kind === 'turn' ? 'gone' : 'other' };
  if (answer.status === 401) return { state: 'unknown' };
  if (answer.status !== 200) throw answer.status;
  const { state, pay_by, admitted_until } = await answer.json();
  if (state === (kind === 'turn' ? 'admitted' : 'reserved'))
    return { isOwn: true, state: 'holds', ends: Date.parse(pay_by ?? admitted_until) || undefined };
  return { isOwn: true, state: state === 'expired' ? 'late' : 'gone' };
}
/* `20:15 GMT+8` in the visitor's zone, with the date if it is not today. */
function time(ms) {
  const locale = zh ? 'zh-CN' : 'en-GB',
    at = new Date(ms);
  const clock = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' };
  const zone = new Intl.DateTimeFormat('en-GB', { timeZoneName: 'shortOffset' })
    .formatToParts(at)
    .find(part => part.type === 'timeZoneName').value;
  const hour = `${at.toLocaleTimeString(locale, clock)} ${zone}`;
  if (at.toDateString() === new Date().toDateString()) return hour;
  const day = { day: 'numeric', month: zh ? 'long' : 'short' };
  return at.toLocaleDateString(locale, day) + (zh ? ' ' : ', ') + hour;
}
self.addEventListener('notificationclick', event => {
  event.notification.close();
  event.waitUntil(open(event.notification.data.url));
});
async function open(url) {
  const pages = await self.clients.matchAll({ type: 'window', includeUncontrolled: true });
  const page = pages.find(page => pathOf(page.url) === pathOf(url));
  return page ? page.focus() : self.clients.openWindow(url);
}
