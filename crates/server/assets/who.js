/* Who the buyer is: a token of the shop, kept in this tab; in a demonstration a guest, kept in
   this browser. */
import { site } from '/assets/words.js';
import { newGuest } from '/assets/api.js';
import { browser } from '/assets/store.js';

function ofTheShop() {
  if (window.doorbusterToken) return window.doorbusterToken;
  try {
    return sessionStorage.getItem('doorbuster.token');
  } catch {
    return null;
  }
}
/** The current token, or null. Sends no request. */
export const token = () => ofTheShop() ?? (site.guest ? browser.get('guest') : null);

/** The token; a demonstration creates a guest's token. null if there is none. */
export async function identify() {
  if (!token() && site.guest) {
    const answer = await newGuest();
    if (answer.status >= 200 && answer.status < 300 && answer.data.token)
      browser.set('guest', answer.data.token);
  }
  return token();
}
/** Drops the token `bad`, which the server did not accept. */
export function forget(bad) {
  if (bad === ofTheShop()) {
    window.doorbusterToken = null;
    try {
      sessionStorage.removeItem('doorbuster.token');
    } catch {
      /* was not kept there */
    }
  }
  if (bad === browser.get('guest')) browser.drop('guest');
}
/** The claims of a token, unchecked: only the server verifies tokens. */
export function claimsOf(jwt) {
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
    /* it has no claims */
  }
  return read.claims;
}
const read = { jwt: null, claims: {} };
/** The buyer that a token names. It only labels values in the browser's storage. */
export const buyerOf = jwt => claimsOf(jwt).sub ?? null;
