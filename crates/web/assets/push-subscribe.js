/* Web push: messages that reach the buyer even if the page is closed. The server keeps a
   subscription for 24 hours, and each later visit renews it. */
import { origin, subscribePush, unsubscribePush } from '/assets/api.js';
import { site, zh } from '/assets/texts.js';
import { browser } from '/assets/store.js';

const KEPT = 'push';
/* The service worker belongs to this server's origin, so pages of another origin cannot use it. */
const canPush = () =>
  !!site.push_key && !origin && 'serviceWorker' in navigator && 'PushManager' in window;
const bytes = text =>
  Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/')), c => c.charCodeAt(0));

/** Returns whether messages will come. */
export async function startPush(token) {
  if (!canPush() || !token) return false;
  try {
    const worker = await navigator.serviceWorker.register('/push.js' + (zh() ? '?lang=zh' : ''));
    await navigator.serviceWorker.ready;
    const made = await worker.pushManager.subscribe({
      userVisibleOnly: true,
      applicationServerKey: bytes(site.push_key),
    });
    const { endpoint, keys } = made.toJSON();
    const answer = await subscribePush(token, { endpoint, p256dh: keys.p256dh, auth: keys.auth });
    const done = answer.status === 204;
    if (done) browser.set(KEPT, true);
    return done;
  } catch {
    return false; /* the browser has no push service, or refuses */
  }
}
/** Returns whether the buyer switched messages on in this browser. */
export const hasPush = () => !!browser.get(KEPT);
export async function stopPush(token) {
  if (!browser.get(KEPT)) return;
  browser.drop(KEPT);
  await unsubscribePush(token);
  const worker = await navigator.serviceWorker.getRegistration('/');
  const made = await worker?.pushManager.getSubscription();
  await made?.unsubscribe();
}
/** If the buyer subscribed on an earlier visit, subscribes again. Returns whether messages will
   come. */
export const renewPush = async token =>
  browser.get(KEPT) === true && Notification.permission === 'granted' && (await startPush(token));
