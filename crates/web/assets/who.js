/* Identifies the buyer. This tab keeps the shop's token, and a cookie keeps it for the other tabs.
   In a demonstration, this browser keeps a guest's token. */
import { site } from '/assets/texts.js';
import { COOKIE, getSession, keepToken, newGuest, origin } from '/assets/api.js';
import { jitter, now } from '/assets/clock.js';
import { browser, tab } from '/assets/store.js';

function ofTheShop() {
  if (window.doorbusterToken) return window.doorbusterToken;
  try {
    return sessionStorage.getItem('doorbuster.token');
  } catch {
    return null;
  }
}
/* The cookie works only for pages of the server itself. Scripts cannot read the cookie, so the
   browser's storage records that it exists. */
const hasCookie = () => !origin && browser.get('session') === true;
/** Returns the token, `COOKIE` if only the cookie has it, or null. Sends no request. */
export const token = () =>
  ofTheShop() ?? (hasCookie() ? COOKIE : site.guest ? browser.get('guest') : null);

const hasFailed = ({ status }) => [0, 429].includes(status) || status >= 500;
const pauseAfter = ({ retry_secs }, tries) =>
  new Promise(done =>
    setTimeout(
      done,
      Math.max((retry_secs ?? 0) * 1000, jitter(500, 1_000) * 2 ** Math.min(tries, 4)),
    ),
  );
let keeping = false;
/* Stores the token in the cookie, so that the other tabs know the buyer. Repeats a failed
   request. */
async function keep(mine) {
  if (origin || keeping || tab.get('kept') === mine.slice(-16)) return;
  keeping = true;
  for (let tries = 0; ofTheShop() === mine; tries += 1) {
    const answer = await keepToken(mine);
    if (hasFailed(answer)) await pauseAfter(answer, tries);
    else {
      tab.set('kept', mine.slice(-16));
      if (answer.status === 204) browser.set('session', true);
      break;
    }
  }
  keeping = false;
}
/** Returns the token, or null. In a demonstration, creates a guest's token if there is none. */
export async function identify() {
  const mine = ofTheShop();
  if (mine) keep(mine);
  else if (hasCookie() && !session) {
    const answer = await getSession();
    failed = hasFailed(answer) ? answer : null;
    if (answer.status === 200) {
      session = { ...answer.data, sub: answer.data.buyer };
    } else if (answer.status === 401) browser.drop('session');
  }
  if (!token() && site.guest) {
    const answer = await newGuest();
    if (answer.status >= 200 && answer.status < 300 && answer.data.token)
      browser.set('guest', answer.data.token);
  }
  return token();
}
/* `session` has the claims in the cookie's token. `failed` is the last answer, if this answer does
   not say whether the cookie is valid. */
let session = null,
  failed = null;
/** If the claims in the cookie's token are not known, returns the last failed answer. Otherwise
   returns null. */
export const failedSession = () => (token() === COOKIE && !session ? failed : null);
/** Repeats the failed request until the server says whether the cookie is valid. */
export async function knownToken() {
  for (let tries = 0; failedSession(); tries += 1) {
    await pauseAfter(failed, tries);
    await identify();
  }
  return token();
}
export function forget(bad) {
  if (bad === COOKIE) {
    /* If the token in the cookie has expired, another tab may have renewed it. The next call of
       `identify()` then asks the server. */
    if (!(now() > endOf(COOKIE))) browser.drop('session');
    session = null;
  }
  if (bad === ofTheShop()) {
    window.doorbusterToken = null;
    try {
      sessionStorage.removeItem('doorbuster.token');
    } catch {
      /* The browser refuses storage, so there is no value to remove. */
    }
  }
  if (bad === browser.get('guest')) browser.drop('guest');
}
/** Does not check the signature. Only the server verifies tokens. */
export function claimsOf(jwt) {
  if (jwt === COOKIE) return session ?? {};
  if (jwt === read.jwt) return read.claims;
  read.jwt = jwt;
  read.claims = {};
  try {
    const bytes = Uint8Array.from(
      atob(jwt.split('.')[1].replace(/-/g, '+').replace(/_/g, '/')),
      c => c.charCodeAt(0),
    );
    read.claims = JSON.parse(new TextDecoder().decode(bytes)) ?? {};
  } catch {
    /* The token has no claims. */
  }
  return read.claims;
}
const read = { jwt: null, claims: {} };
/** Returns when the token expires, in milliseconds since 1970, or Infinity if its claims do not
   say. */
export function endOf(jwt) {
  const { exp, expires_at } = claimsOf(jwt);
  return (jwt === COOKIE ? Date.parse(expires_at) : exp * 1000) || Infinity;
}
/** Does not check the signature, so the pages use the result only to label stored values. */
export const buyerOf = jwt => claimsOf(jwt).sub ?? null;
