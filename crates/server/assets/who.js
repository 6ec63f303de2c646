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
/** The token known right now, or null. Asks nobody. */
export const token = () => ofTheShop() ?? (site.guest ? browser.get('guest') : null);

/** The token, in a demonstration after asking for a guest's; null if there is none to be had. */
export async function identify() {
  if (!token() && site.guest) {
    const answer = await newGuest();
    if (answer.status >= 200 && answer.status < 300 && answer.data.token)
      browser.set('guest', answer.data.token);
  }
  return token();
}
/** The server did not accept `bad`: it is of no more use. */
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
/** What a token says, without asking whether it holds: the server alone decides what a token is
   worth. */
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
    /* it says nothing */
  }
  return read.claims;
}
const read = { jwt: null, claims: {} };
/** The buyer that a token names. Only to know one's own notes again. */
export const buyerOf = jwt => claimsOf(jwt).sub ?? null;
