/* Identifies the buyer. This tab keeps the shop's token. For the other tabs, a cookie also keeps
   the token, and scripts cannot read this cookie. In a demonstration, this browser keeps a guest's
   token. */
import { site } from '/assets/texts.js';
import { COOKIE, getSession, keepToken, newGuest, origin } from '/assets/api.js';
import { jitter } from '/assets/clock.js';
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
   browser's storage remembers that there is a cookie. */
const hasCookie = () => !origin && browser.get('session') === true;
/** Returns the current token, `COOKIE` if only the cookie has the token, or null. Sends no
   request. */
export const token = () =>
  ofTheShop() ?? (hasCookie() ? COOKIE : site.guest ? browser.get('guest') : null);

const hasFailed = ({ status }) => [0, 429].includes(status) || status >= 500;
/* Waits before a failed request is sent again. */
const pauseAfter = ({ retry_secs }, tries) =>
  new Promise(done =>
    setTimeout(
      done,
      Math.max((retry_secs ?? 0) * 1000, jitter(500, 1_000) * 2 ** Math.min(tries, 4)),
    ),
  );
let keeping = false;
/* Puts the token into the cookie, once for each token, so that the other tabs also know the buyer.
   Repeats the request if it failed. */
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
/* The claims about the buyer from the token in the cookie. If the server could not say whether the
   cookie is valid, `failed` is the answer to the last request for these claims. */
let session = null,
  failed = null;
/** If the page does not know the claims in the cookie's token yet, returns the failed answer to the
   last request for them. Otherwise returns null. */
export const failedSession = () => (token() === COOKIE && !session ? failed : null);
/** Repeats the failed request for the claims in the cookie's token until the server says whether
   the cookie is valid. Then returns the token, or null. */
export async function knownToken() {
  for (let tries = 0; failedSession(); tries += 1) {
    await pauseAfter(failed, tries);
    await identify();
  }
  return token();
}
/** Drops the token `bad`, which the server did not accept. */
export function forget(bad) {
  if (bad === COOKIE) {
    browser.drop('session');
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
/** Returns the claims in a token without a check of its signature. Only the server verifies
   tokens. */
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
/** Returns the buyer in a token without a check of its signature. The pages use the result only to
   label stored values. */
export const buyerOf = jwt => claimsOf(jwt).sub ?? null;
