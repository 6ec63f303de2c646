/* The texts of one language. They enter the page only by textContent, and screen readers hear
   changes only by one live region. */
export const $ = (sel, root = document) => root.querySelector(sel);
export const zh = document.documentElement.lang.startsWith('zh');
const { default: copy } = await (zh ? import('/assets/copy-zh.js') : import('/assets/copy-en.js'));

/** The server's settings for pages. first.js sets the default of this object. */
export const site = window.doorbuster ?? {};

export const has = key => key in copy;
const locale = zh ? 'zh-CN' : 'en';
const plural = new Intl.PluralRules(locale),
  figures = new Intl.NumberFormat(locale);
/** Returns a sentence of the copy. `{name}` becomes the value, and a number is formatted.
   `{name:person|people}` becomes the first word for the number one, and otherwise the second. */
export const text = (key, values = {}) =>
  (copy[key] ?? key).replace(/\{(\w+)(?::([^|}]*)\|([^}]*))?\}/g, (all, name, one, other) => {
    const value = values[name];
    if (other !== undefined) return plural.select(value) === 'one' ? one : other;
    return typeof value === 'number' ? figures.format(value) : (value ?? all);
  });

/** Returns a text of the shop in the page's language. The shop gives one text, or one for each
   language. */
export const localized = words =>
  typeof words === 'string' ? words : (words?.[zh ? 'zh' : 'en'] ?? Object.values(words ?? {})[0] ?? '');

/** Returns the shop's sign-in page with the address to come back to, or null. */
export const signInUrl = () =>
  site.sign_in_url &&
  site.sign_in_url +
    (site.sign_in_url.includes('?') ? '&' : '?') +
    'return_to=' +
    encodeURIComponent(location.origin + location.pathname);

/** Writes a text only if it changed, so that a screen reader or a selection is not disturbed. */
export function put(el, words) {
  if (el.textContent !== words) el.textContent = words;
}
export function attr(el, name, value) {
  const words = String(value);
  if (el.getAttribute(name) !== words) el.setAttribute(name, words);
}

/** Fills the texts that are the same in every state, and marks the current language. */
export function translate(root = document) {
  for (const el of root.querySelectorAll('[data-t]')) put(el, text(el.dataset.t));
  for (const el of root.querySelectorAll('[data-t-label]'))
    attr(el, 'aria-label', text(el.dataset.tLabel));
  for (const el of root.querySelectorAll('[data-t-alt]')) attr(el, 'alt', text(el.dataset.tAlt));
  for (const el of root.querySelectorAll('[data-shop]')) put(el, site.shop || 'Doorbuster');
  for (const a of root.querySelectorAll('.tongue a')) {
    if (a.lang.startsWith(zh ? 'zh' : 'en')) a.setAttribute('aria-current', 'true');
    else a.removeAttribute('aria-current');
  }
}
/** Shows the page. It is hidden until its first texts exist, so that nothing flashes. */
export const ready = () => document.documentElement.classList.add('ready');

/* Announces a text in the polite live region. There is at most one announcement in 5 s, and the
   newest one wins. A verdict is announced at once. */
let last = -Infinity,
  waiting = 0;
export function announce(words, verdict = false) {
  clearTimeout(waiting);
  const speak = () => {
    last = performance.now();
    put($('#announce'), words);
  };
  const due = last + 5000 - performance.now();
  if (verdict || due <= 0) speak();
  else waiting = setTimeout(speak, due);
}

/* A countdown is announced only at these seconds, once each. */
const SPOKEN_AT = [600, 300, 60, 30, 10];
let spoken = 0;
export function countAloud(words, seconds) {
  if (!SPOKEN_AT.includes(seconds) || spoken === seconds) return;
  spoken = seconds;
  const rest =
    seconds < 60
      ? text('say.sec', { n: seconds })
      : text(seconds === 60 ? 'say.min1' : 'say.min', { n: seconds / 60 });
  announce(words + ' ' + rest);
}
