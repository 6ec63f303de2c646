/* The texts of one language. The pages insert texts only by textContent, and announce changes to
   screen readers in one live region. */
import { texts as english } from '/assets/texts-en.js';
import { texts as chinese } from '/assets/texts-zh.js';

export const $ = (sel, root = document) => root.querySelector(sel);
const root = document.documentElement;
export const zh = () => root.lang.startsWith('zh');
let texts = zh() ? chinese : english;

/** The settings for pages. The server writes them in front of the code of first.js. */
export const site = window.doorbuster ?? {};

export const has = key => key in texts;
/** Makes a value at most once for each language of the page. */
export function perLanguage(make) {
  const made = {};
  return () => (made[zh()] ??= make(zh() ? 'zh-CN' : 'en'));
}
const plural = perLanguage(locale => new Intl.PluralRules(locale)),
  figures = perLanguage(locale => new Intl.NumberFormat(locale));
/** Returns the sentence of a key. `{name}` becomes the value, and numbers are formatted. If the
   value is one, `{name:person|people}` becomes the words before the bar, and otherwise the words
   after the bar. The words after the bar may contain `{name}`. */
export const text = (key, values = {}) => filled(texts[key] ?? key, values);
const PLACE = /\{(\w+)(?::([^|{}]*)\|((?:[^{}]|\{\w+\})*))?\}/g;
const filled = (words, values) =>
  words.replace(PLACE, (all, name, one, other) => {
    const value = values[name];
    if (other !== undefined)
      return plural().select(value) === 'one' ? one : filled(other, values);
    return typeof value === 'number' ? figures().format(value) : (value ?? all);
  });

const RIGHT_TO_LEFT = /^(ar|ckb|dv|fa|he|ps|sd|ug|ur)\b/;
/** Returns a text of the shop as [words, language]. Chooses the page's language, or else English,
   or else the first language in the order of the alphabet. The language of a plain string is
   null. */
export function chosen(words) {
  if (typeof words === 'string' || !words) return [words ?? '', null];
  const languages = Object.keys(words).sort(),
    own = zh() ? 'zh' : 'en';
  const language =
    languages.find(tag => tag === own) ??
    languages.find(tag => tag.startsWith(own + '-')) ??
    languages.find(tag => tag === 'en') ??
    languages[0];
  return [words[language] ?? '', language ?? null];
}
/** Returns the words alone, for an element that cannot name a language. */
export const localized = words => chosen(words)[0];
/** Shows a text of the shop, with its language and its direction. */
export function putText(el, words) {
  const [shown, language] = chosen(words);
  put(el, shown);
  speak(el, language);
}
export function speak(el, language) {
  if (language) attr(el, 'lang', language);
  else el.removeAttribute('lang');
  attr(el, 'dir', language ? (RIGHT_TO_LEFT.test(language) ? 'rtl' : 'ltr') : 'auto');
}

/** Returns the address of the shop's sign-in. It contains this page's address, so that the shop can
   send the buyer back. */
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

const told = new Map();
/** Shows a sentence, which follows a change of the language. An empty `key` clears the text. */
export function tell(el, key, values = {}) {
  told.set(el, [key, values]);
  put(el, key && text(key, values));
}

/** Fills the texts that are the same in every state, and marks the current language. */
export function translate() {
  for (const el of document.querySelectorAll('[data-t]')) put(el, text(el.dataset.t));
  for (const el of document.querySelectorAll('[data-t-label]'))
    attr(el, 'aria-label', text(el.dataset.tLabel));
  for (const el of document.querySelectorAll('[data-t-alt]'))
    attr(el, 'alt', text(el.dataset.tAlt));
  for (const [el, [key, values]] of told) put(el, key && text(key, values));
  for (const el of document.querySelectorAll('[data-shop]')) put(el, site.shop || 'Doorbuster');
  for (const a of document.querySelectorAll('.tongue a')) {
    if (a.lang.startsWith(zh() ? 'zh' : 'en')) a.setAttribute('aria-current', 'true');
    else a.removeAttribute('aria-current');
  }
}
/** Changes the language without a reload, so that no press, position or form is lost. `redraw`
   draws the page's other texts. */
export function bindLanguages(redraw) {
  for (const a of document.querySelectorAll('.tongue a'))
    a.onclick = event => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return; /* opens in another window */
      event.preventDefault();
      root.lang = a.lang;
      texts = zh() ? chinese : english;
      const lang = zh() ? 'zh' : 'en',
        url = new URL(location.href);
      url.searchParams.set('lang', lang);
      history.replaceState(null, '', url);
      try {
        localStorage.setItem('doorbuster.lang', lang);
      } catch {
        /* The browser refuses storage, but the address also names the language. */
      }
      put($('#announce'), '');
      translate();
      redraw();
    };
}
/** The page is hidden until its first texts exist, so that nothing flashes. */
export const ready = () => document.documentElement.classList.add('ready');

/* Announces at most one text in 5 s, the newest. A final answer is announced at once. */
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

/* A countdown is announced only when this many seconds remain, and only once for each number. */
const SPOKEN_AT = [600, 300, 60, 30, 10];
let spoken = 0;
export function countAloud(words, seconds) {
  if (!SPOKEN_AT.includes(seconds) || spoken === seconds) return;
  spoken = seconds;
  const rest =
    seconds < 60
      ? text('say.sec', { n: seconds })
      : text('say.min', { n: seconds / 60 });
  announce(words + ' ' + rest);
}
