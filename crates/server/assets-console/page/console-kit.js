/* The parts that every view of the console uses: the API client, formats, polling, and controls. */
import {
  html,
  render,
  useEffect,
  useRef,
  useState,
} from '/assets/preact-htm.js';

export { html, render, useEffect, useRef, useState };

const asked = new URLSearchParams(location.search).get('lang');
if (asked) localStorage.setItem('doorbuster.lang', asked);
const lang = asked ?? localStorage.getItem('doorbuster.lang') ?? navigator.language;
export const zh = /^zh/i.test(lang);
document.documentElement.lang = zh ? 'zh-Hans' : 'en';
const locale = zh ? 'zh-CN' : 'en-GB';

const copy = (await import(zh ? '/assets/console-copy-zh.js' : '/assets/console-copy-en.js'))
  .default;
const plural = new Intl.PluralRules(zh ? 'zh' : 'en');

/** Returns the sentence of this key. Replaces `{name}`. `{n|one|other}` chooses by the number `n`.
   */
export function t(key, values = {}) {
  const sentence = copy[key] ?? key;
  return sentence
    .replace(/\{(\w+)\|([^|}]*)\|([^}]*)\}/g, (_, name, one, other) =>
      plural.select(Number(values[name])) === 'one' ? one : other,
    )
    .replace(/\{(\w+)\}/g, (_, name) => values[name] ?? '');
}
/** Returns the text for a word of the API, such as a problem code; without a text, the word itself.
   */
export const word = (group, value) => copy[`${group}.${value}`] ?? value;

/** Returns a detail of the API in the operator's language, if the language has it. */
export function localized(detail) {
  for (const [pattern, sentence] of copy.apiDetails) {
    if (pattern.test(detail)) return detail.replace(pattern, sentence);
  }
  return detail;
}

/** An answer of the API that is not a success. */
export class ApiError extends Error {
  constructor(status, body, requestId) {
    super(localized(body.detail ?? body.title ?? `HTTP ${status}`));
    this.status = status;
    this.code = body.code ?? '';
    this.faults = (body.errors ?? []).map(fault => ({ ...fault, detail: localized(fault.detail) }));
    this.reasons = body.reasons;
    this.warnings = body.warnings;
    this.requestId = requestId;
  }
}

/* The server's clock minus this device's clock, from the newest answer. */
let ahead = 0;
/** Returns the server's time in milliseconds since 1970. */
export const serverNow = () => Date.now() + ahead;

let signedOut = () => {};
export const onSignedOut = act => (signedOut = act);

async function call(method, path, body, headers = {}) {
  if (method !== 'GET') headers['X-Doorbuster-Console'] = '1';
  if (body !== undefined) headers['Content-Type'] ??= 'application/json';
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: 'same-origin',
      cache: 'no-store',
      signal: AbortSignal.timeout(15_000),
    });
  } catch {
    throw new ApiError(0, { detail: t('offline') });
  }
  const date = Date.parse(answer.headers.get('Date') ?? '');
  // The header has whole seconds, so smaller differences mean nothing.
  if (Math.abs(date - serverNow()) > 1500) ahead = date - Date.now();
  const text = await answer.text();
  let data = null;
  try {
    data = text ? JSON.parse(text) : null;
  } catch {
    data = { detail: text };
  }
  if (answer.ok) return data;
  if (answer.status === 401 && path !== '/v1/admin/session') signedOut();
  throw new ApiError(answer.status, data ?? {}, answer.headers.get('X-Request-Id'));
}

export const api = {
  get: path => call('GET', path),
  send: (method, path, body, headers) => call(method, path, body, headers),
};
export const seg = encodeURIComponent;
/** Returns a query string of the values that are not empty. */
export const query = values => {
  const pairs = Object.entries(values).filter(([, value]) => value !== '' && value != null);
  return pairs.length ? '?' + new URLSearchParams(pairs) : '';
};

/* Formats of numbers, times and money. */
export const count = n => new Intl.NumberFormat(locale).format(n);
/** Returns a large number in few characters, for axes and keys of charts. */
export const brief = n =>
  new Intl.NumberFormat(locale, { notation: 'compact', maximumFractionDigits: 1 }).format(n);
export const percent = (part, whole) =>
  new Intl.NumberFormat(locale, { style: 'percent', maximumFractionDigits: 1 }).format(
    whole ? part / whole : 0,
  );
/** Returns the date and time of an instant, with the year only if it is not this year. */
export const moment = text => {
  if (!text) return '–';
  const at = new Date(text);
  return new Intl.DateTimeFormat(locale, {
    year: at.getFullYear() === new Date().getFullYear() ? undefined : 'numeric',
    month: 'short',
    day: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    hourCycle: 'h23',
  }).format(at);
};
/** Returns a length of time such as `55:27`, `4:05:00` or `2 d 03:00:00`. */
export const duration = ms => {
  const secs = Math.max(0, Math.round(ms / 1000));
  const two = n => String(n).padStart(2, '0');
  const [days, hours, minutes] = [86_400, 3600, 60].map(unit => Math.floor(secs / unit));
  const rest = `${two(minutes % 60)}:${two(secs % 60)}`;
  if (days) return `${t('days', { n: days })} ${two(hours % 24)}:${rest}`;
  return hours ? `${hours}:${rest}` : rest;
};
export const clock = ms =>
  new Intl.DateTimeFormat(locale, {
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    hourCycle: 'h23',
  }).format(ms);
const OTHER_DIGITS = {
  BHD: 3, BIF: 0, CLF: 4, CLP: 0, DJF: 0, GNF: 0, IQD: 3, ISK: 0, JOD: 3, JPY: 0, KMF: 0, KRW: 0,
  KWD: 3, LYD: 3, OMR: 3, PYG: 0, RWF: 0, TND: 3, UGX: 0, UYI: 0, UYW: 4, VND: 0, VUV: 0, XAF: 0,
  XOF: 0, XPF: 0,
};
export const digits = currency => OTHER_DIGITS[currency] ?? 2;
/** Returns minor units as a decimal number of the currency's own units. */
export const decimal = (minor, currency) => {
  const places = digits(currency);
  return (minor / 10 ** places).toFixed(places);
};
/** Parses a decimal number of the currency's own units. Returns minor units, or null. */
export function minorUnits(text, currency) {
  const places = digits(currency);
  const parts = /^(\d{1,12})(?:[.,](\d+))?$/.exec(text.trim());
  if (!parts || (parts[2] ?? '').length > places) return null;
  return Number(parts[1] + (parts[2] ?? '').padEnd(places, '0'));
}
/** Returns an amount as the operator's language writes it. */
export const money = ({ amount_minor, currency }) => {
  const places = digits(currency);
  try {
    return new Intl.NumberFormat(locale, {
      style: 'currency',
      currency,
      minimumFractionDigits: places,
      maximumFractionDigits: places,
    }).format(amount_minor / 10 ** places);
  } catch {
    return `${decimal(amount_minor, currency)} ${currency}`;
  }
};

/** Announces a text to screen readers. */
export const announce = text => {
  document.getElementById('announce').textContent = text;
};
const SHOWN_MS = 8000;
let hiding = 0;
/** Shows a text for some seconds, and announces it to screen readers. */
export const say = text => {
  const { classList } = document.getElementById('announce');
  announce(text);
  classList.replace('unseen', 'toast');
  clearTimeout(hiding);
  hiding = setTimeout(() => classList.replace('toast', 'unseen'), SHOWN_MS);
};

/** Reads `path` now and every `secs` seconds, but not in a hidden tab. Returns the newest answer,
   its time, whether the answer is old, and the last error. */
export function usePoll(path, secs) {
  const [state, set] = useState({ data: null, at: 0, error: null });
  const again = useRef(() => {});
  useEffect(() => {
    let ended = false;
    let timer = 0;
    const read = async () => {
      clearTimeout(timer);
      if (path && !document.hidden) {
        try {
          const data = await api.get(path);
          if (!ended) set({ data, at: Date.now(), error: null });
        } catch (error) {
          if (!ended) set(old => ({ ...old, error }));
        }
      }
      if (!ended && secs) timer = setTimeout(read, secs * 1000);
    };
    again.current = read;
    const seen = () => document.hidden || read();
    document.addEventListener('visibilitychange', seen);
    read();
    return () => {
      ended = true;
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', seen);
    };
  }, [path, secs]);
  const stale = state.at > 0 && secs > 0 && Date.now() - state.at > Math.max(3, 2.5 * secs) * 1000;
  return { ...state, stale, reload: () => again.current() };
}

/** Returns the fault at a field, from the pointers of an error. */
export const faultAt = (error, pointer) =>
  error?.faults?.find(fault => fault.pointer === pointer || fault.parameter === pointer)?.detail;

let ids = 0;
/** A control with its label and its fault. */
export function Field({ label, hint, fault, children, id }) {
  const own = useRef(null);
  own.current ??= id ?? `field-${++ids}`;
  const about = [hint && own.current + '-hint', fault && own.current + '-fault'];
  return html`<div class=${'field' + (fault ? ' field--bad' : '')}>
    <label for=${own.current}>${label}</label>
    ${children({
      id: own.current,
      'aria-describedby': about.filter(Boolean).join(' ') || undefined,
      'aria-invalid': fault ? 'true' : undefined,
    })}
    ${hint && html`<p class="hint" id=${own.current + '-hint'}>${hint}</p>`}
    ${fault && html`<p class="fault" id=${own.current + '-fault'}>${fault}</p>`}
  </div>`;
}

/** A message about an error. It shows the id with which the shop's support can find the request.
   With `atFields`, the fields themselves show the faults. */
export function Problem({ error, atFields = false }) {
  if (!error) return null;
  if (error.faults?.length) {
    return html`<div class="alarm alarm--bad" role="alert"><b>${t('see_fields')}</b>
      ${!atFields && html`<ul>${error.faults.map(({ pointer, parameter, detail }) =>
        html`<li><span class="code">${pointer ?? parameter}</span> ${detail}</li>`)}</ul>`}</div>`;
  }
  return html`<p class="alarm alarm--bad" role="alert"><b>${error.message}</b>
    ${error.requestId && html`<span class="soft">${error.requestId}</span>`}</p>`;
}

/* A wider table becomes a list of blocks on a phone. */
const COLUMNS_ON_PHONE = 3;
/** A table with a caption. `columns` are [title, cell, class]. With `card`, the table stands alone.
   */
export function Table({ caption, columns, rows, empty, card }) {
  const stack = columns.length > COLUMNS_ON_PHONE ? ' grid--stack' : '';
  const kind = 'scroll' + (card ? ' card' : '');
  return html`<div class=${kind} tabindex="0" role="region" aria-label=${caption}>
    <table class=${'grid' + stack}>
      <caption class="unseen">${caption}</caption>
      <thead><tr>
        ${columns.map(([title, , kind]) => html`<th scope="col" class=${kind ?? ''}>${title}</th>`)}
      </tr></thead>
      <tbody>
        ${(rows ?? []).map(
          row => html`<tr key=${row.id}>
            ${columns.map(([title, cell, kind]) => html`<td class=${kind ?? ''}
              data-label=${typeof title === 'string' ? title : ''}>
              ${cell(row)}</td>`)}
          </tr>`,
        )}
        ${!rows?.length && html`<tr><td colspan=${columns.length} class="soft">
          ${rows ? (empty ?? t('none')) : t('loading')}</td></tr>`}
      </tbody>
    </table>
  </div>`;
}

/** The views of one sale, as links. */
export const SaleTabs = ({ sale, now }) =>
  html`<nav class="tabs" aria-label=${t('views_of_sale')}>
    ${[
      ['live', `#/sales/${seg(sale)}`],
      ['edit', `#/sales/${seg(sale)}/edit`],
      ['report', `#/sales/${seg(sale)}/report`],
      ['orders', `#/orders?sale=${seg(sale)}`],
      ['support', `#/support?sale=${seg(sale)}`],
    ].map(([name, to]) => html`<a href=${to} aria-current=${name === now ? 'page' : undefined}>
      ${t(name)}</a>`)}
  </nav>`;

/** Renders again every second, for clocks and countdowns. */
export function useTick() {
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick(n => n + 1), 1000);
    return () => clearInterval(timer);
  }, []);
}

/** Reads a list page by page. `member` is the name of the list in the answer. */
export function usePages(path, member) {
  const [state, set] = useState({ rows: null, next: null, error: null });
  const load = async cursor => {
    const join = path.includes('?') ? '&' : '?';
    try {
      const page = await api.get(path + (cursor ? `${join}cursor=${seg(cursor)}` : ''));
      set(old => ({
        rows: cursor ? [...old.rows, ...page[member]] : page[member],
        next: page.next_cursor ?? null,
        error: null,
      }));
    } catch (error) {
      set(old => ({ ...old, error, rows: old.rows ?? [] }));
    }
  };
  useEffect(() => {
    load(null);
  }, [path]);
  return { ...state, more: () => load(state.next), reload: () => load(null) };
}
/** The button for the next page. Without a next page, the button is hidden but keeps its space. */
export const More = ({ list }) =>
  html`<p hidden=${!list.next}><button class="button" type="button" onClick=${list.more}>
    ${t('more')}</button></p>`;

/** Asks before a change. The question explains the change. If nobody can undo the change, the
   operator must type a word. */
export function Ask({ ask, close }) {
  const dialog = useRef(null);
  const [typed, setTyped] = useState('');
  const [state, setState] = useState({ busy: false, error: null });
  useEffect(() => {
    if (!ask) return;
    setTyped('');
    setState({ busy: false, error: null });
    dialog.current.showModal();
    return () => dialog.current?.close();
  }, [ask]);
  if (!ask) return null;
  const right = !ask.typed || typed.trim() === ask.typed;
  const act = async event => {
    event.preventDefault();
    if (!right || state.busy) return;
    setState({ busy: true, error: null });
    try {
      await ask.act(new FormData(event.target));
      close();
    } catch (error) {
      setState({ busy: false, error });
    }
  };
  return html`<dialog ref=${dialog} aria-labelledby="ask-title" onClose=${close}>
    <form onSubmit=${act}>
      <h2 id="ask-title">${ask.title}</h2>
      <ul>${(ask.points ?? []).map(point => html`<li>${point}</li>`)}</ul>
      ${ask.fields?.(state.error)}
      ${ask.typed &&
      html`<${Field} label=${t('type_word', { word: ask.typed })}>
        ${props => html`<input
          ...${props}
          autocomplete="off"
          autocapitalize="none"
          spellcheck=${false}
          value=${typed}
          onInput=${event => setTyped(event.target.value)}
        />`}
      <//>`}
      <${Problem} error=${state.error} atFields=${!!ask.fields} />
      <div class="dialog__feet">
        <button class="button" type="button" onClick=${close}>${t('keep')}</button>
        <button
          class=${'button ' + (ask.danger ? 'button--danger' : 'button--main')}
          aria-disabled=${right && !state.busy ? 'false' : 'true'}
        >${ask.yes}</button>
      </div>
    </form>
  </dialog>`;
}

export const Pill = ({ kind, children }) =>
  html`<span class=${'pill' + (kind ? ' pill--' + kind : '')}>${children}</span>`;
export const Phase = ({ phase }) =>
  html`<${Pill} kind=${{ open: 'live', scheduled: 'warn', paused: 'warn' }[phase] ?? ''}>
    ${word('phase', phase)}
  <//>`;
