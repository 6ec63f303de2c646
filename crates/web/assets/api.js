/* The requests that a buyer's page sends. No call throws an error: if no answer comes, the call
   returns the status 0. */

/** Stands for a token that only the cookie contains. The browser sends the cookie by itself. */
export const COOKIE = 'cookie';

/** The origin of the API. Empty if the pages come from the server itself. */
export const origin = window.doorbuster?.api ?? '';

/* If first.js has already sent this request, returns its answer, but only to the first caller. */
function takeEarly(method, path) {
  const early = window.doorbusterEarly;
  if (!early || method !== 'GET' || early.path !== path) return null;
  window.doorbusterEarly = null;
  return early;
}

/** If no answer comes within `patience_ms`, the connection counts as lost. */
async function call(
  method,
  path,
  { token, headers = {}, body, patience_ms = 10_000, cache = 'default' } = {},
) {
  if (token === COOKIE) headers['X-Doorbuster-Page'] = '1';
  else if (token) headers.Authorization = 'Bearer ' + token;
  if (body) headers['Content-Type'] = 'application/json';
  const early = takeEarly(method, path),
    sent = early?.sent ?? performance.now(),
    stop = new AbortController(),
    timer = setTimeout(() => stop.abort(), patience_ms);
  try {
    const answer = await (early?.answer ??
      fetch(origin + path, {
        method,
        headers,
        body: body && JSON.stringify(body),
        cache,
        signal: stop.signal,
      }));
    const got = performance.now();
    const data = await answer.json().catch(() => null);
    const wait = Number(answer.headers.get('Retry-After'));
    return {
      status: answer.status,
      data: data ?? {},
      sent,
      got,
      date: answer.headers.get('Date'),
      retry_secs: wait > 0 ? Math.min(wait, 300) : null,
    };
  } catch {
    return { status: 0, data: {}, sent, got: performance.now(), date: null, retry_secs: null };
  } finally {
    clearTimeout(timer);
  }
}

const seg = encodeURIComponent;
/** Caches keep an answer only if the request has neither a search nor a cursor. */
export const getSales = (search = '', cursor = null) =>
  call(
    'GET',
    '/v1/sales?limit=48' +
      (search ? `&q=${seg(search)}` : '') +
      (cursor ? `&cursor=${seg(cursor)}` : ''),
  );
/** With a `version`, caches keep no answer, so the answer always comes from the server. */
export const getSale = (sale, version = '') =>
  call('GET', `/v1/sales/${seg(sale)}` + (version && `?v=${seg(version)}`));
/** Returns the sale that the server wrote into the page, or null. */
export function writtenSale(sale) {
  try {
    const data = JSON.parse(document.querySelector('#sale-data')?.textContent ?? 'null');
    return data?.id === sale ? { status: 200, data } : null;
  } catch {
    return null;
  }
}
/** A new `version` avoids an older copy in a cache. */
export const getStatus = (sale, version) =>
  call('GET', `/v1/sales/${seg(sale)}/status?v=${seg(version)}`);
export const getOrders = (token, limit, cursor = null) =>
  call('GET', `/v1/orders?limit=${limit}` + (cursor ? `&cursor=${seg(cursor)}` : ''), {
    token,
    cache: 'no-store',
  });
export const getOrder = (token, id) =>
  call('GET', `/v1/orders/${seg(id)}`, { token, cache: 'no-store' });
export const cancelOrder = (token, id) => call('POST', `/v1/orders/${seg(id)}/cancel`, { token });
export const getHistory = (token, id) =>
  call('GET', `/v1/orders/${seg(id)}/history`, { token, cache: 'no-store' });
/** The provider may need some seconds. */
export const openCheckout = (token, id) =>
  call('POST', `/v1/orders/${seg(id)}/checkout`, { token, patience_ms: 20_000 });
/** The link contains a key. With this key, a page can read the order and open its checkout without
   the buyer's token. */
export const getOrderLink = (token, id) => call('GET', `/v1/orders/${seg(id)}/link`, { token });
export const getLinkedOrder = (key, id) =>
  call('GET', `/v1/linked-orders/${seg(id)}`, {
    headers: { 'Order-Key': key },
    cache: 'no-store',
  });
export const openLinkedCheckout = (key, id) =>
  call('POST', `/v1/linked-orders/${seg(id)}/checkout`, {
    headers: { 'Order-Key': key },
    patience_ms: 20_000,
  });
/** The server may take two seconds and then answer "queued". */
export const placeOrder = (token, { key, sale, item, units }, pass = null) =>
  call('POST', '/v1/orders', {
    token,
    headers: { 'Idempotency-Key': key, Prefer: 'wait=2', ...(pass && { 'Purchase-Pass': pass }) },
    body: { sale, item, units },
    patience_ms: 15_000,
  });
/** `wish` is `{ item, challenge?, answer?, access_code? }`. */
export const askForPass = (token, sale, wish) =>
  call('POST', `/v1/sales/${seg(sale)}/passes`, { token, body: wish });
/** Without `kind`, the sale decides the kind. */
export const askForChallenge = (token, sale, kind) =>
  call('POST', `/v1/sales/${seg(sale)}/challenges`, { token, body: kind ? { kind } : {} });
const roomPath = (sale, item) =>
  `/v1/sales/${seg(sale)}/waiting-room` + (item ? '?item=' + seg(item) : '');
export const enterRoom = (token, sale, item) =>
  call('POST', roomPath(sale), { token, ...(item && { body: { item } }) });
export const leaveRoom = (token, sale, item) => call('DELETE', roomPath(sale, item), { token });
export const getPlace = (token, sale, item) =>
  call('GET', roomPath(sale, item), { token, cache: 'no-store' });
const waitlistPath = (sale, item) => `/v1/sales/${seg(sale)}/items/${seg(item)}/waitlist`;
export const joinWaitlist = (token, sale, item, key, pass = null) =>
  call('POST', waitlistPath(sale, item), {
    token,
    headers: { 'Idempotency-Key': key, ...(pass && { 'Purchase-Pass': pass }) },
    patience_ms: 15_000,
  });
export const getWaitlistEntry = (token, sale, item) =>
  call('GET', waitlistPath(sale, item), { token, cache: 'no-store' });
export const leaveWaitlist = (token, sale, item) =>
  call('DELETE', waitlistPath(sale, item), { token });
/** Stores the shop's token in a cookie. `getSession` reads which buyer the cookie belongs to. */
export const keepToken = token => call('POST', '/v1/session', { token });
export const getSession = () => call('GET', '/v1/session', { cache: 'no-store' });
export const subscribePush = (token, body) =>
  call('POST', '/v1/push-subscriptions', { token, body });
export const unsubscribePush = token => call('DELETE', '/v1/push-subscriptions', { token });
/** Only a demonstration server has guests. */
export const newGuest = () => call('POST', '/demo/guest');

/** Returns a random text for an Idempotency-Key or a status's version. Unlike randomUUID, this
   works without HTTPS. */
export const random = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), b => b.toString(16).padStart(2, '0')).join(
    '',
  );
export function idInAddress(kind) {
  const parts = location.pathname.split('/');
  try {
    const id = decodeURIComponent(parts[parts.indexOf(kind) + 1] ?? '');
    return /^[\w.:-]{1,200}$/.test(id) ? id : null;
  } catch {
    return null;
  }
}
