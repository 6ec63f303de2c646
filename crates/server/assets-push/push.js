/* Shows the messages of web push, also while no page is open. Each message contains the time until
   which it is valid. After that time, the notification says that the time has ended. */
const zh = new URL(self.location.href).searchParams.get('lang') === 'zh';
const words = zh
  ? {
      turn: t => `轮到你了，请在 ${t} 前购买`,
      turned: t => `你的抢购时间已于 ${t} 结束`,
      reserved: t => `已为你保留，请在 ${t} 前付款`,
      lapsed: t => `付款时间已于 ${t} 结束`,
    }
  : {
      turn: t => `It’s your turn: buy before ${t}`,
      turned: t => `Your turn ended at ${t}`,
      reserved: t => `Reserved for you: pay by ${t}`,
      lapsed: t => `The time to pay ended at ${t}`,
    };
const late = { turn: 'turned', reserved: 'lapsed' };

self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', event => event.waitUntil(self.clients.claim()));
self.addEventListener('push', event => event.waitUntil(show(event.data?.json() ?? {})));
async function show({ kind, title, until, url }) {
  if (!late[kind]) return;
  /* a visible page shows the news itself */
  const pages = await self.clients.matchAll({ type: 'window', includeUncontrolled: true });
  if (pages.some(page => page.visibilityState === 'visible')) return;
  const time = new Date(until).toLocaleTimeString(zh ? 'zh-CN' : 'en-GB', {
    hour: '2-digit',
    minute: '2-digit',
  });
  const key = Date.now() > until ? late[kind] : kind;
  await self.registration.showNotification(words[key](time), {
    body: title,
    tag: 'doorbuster.' + url,
    data: { url },
  });
}
self.addEventListener('notificationclick', event => {
  event.notification.close();
  event.waitUntil(open(event.notification.data.url));
});
async function open(url) {
  const pages = await self.clients.matchAll({ type: 'window', includeUncontrolled: true });
  const path = new URL(url, self.location.href).pathname;
  const page = pages.find(page => new URL(page.url).pathname === path);
  return page ? page.focus() : self.clients.openWindow(url);
}
