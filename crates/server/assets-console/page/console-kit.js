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

/** An answer of the API that is not a success. */
export class ApiError extends Error {
  constructor(status, body, requestId) {
    super(body.detail ?? body.title ?? `HTTP ${status}`);
    this.status = status;
    this.code = body.code ?? '';
    this.faults = body.errors ?? [];
    this.reasons = body.reasons;
    this.requestId = requestId;
  }
}

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
export const moment = text =>
  text
    ? new Intl.DateTimeFormat(locale, {
        dateStyle: 'medium',
        timeStyle: 'medium',
        hourCycle: 'h23',
      }).format(new Date(text))
    : '–';
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
export const money = amount =>
  `${decimal(amount.amount_minor, amount.currency)} ${amount.currency}`;

export const announce = text => {
  document.getElementById('announce').textContent = text;
};

/** Reads `path` now and every `secs` seconds, but not in a hidden tab. Returns the newest answer,
   its time, and the last error. */
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
  return { ...state, reload: () => again.current() };
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

/** A message about an error. It shows the id with which the shop's support can find the request. */
export const Problem = ({ error }) =>
  error &&
  html`<p class="alarm alarm--bad" role="alert">
    <b>${error.status === 0 ? t('offline') : error.message}</b>
    ${error.requestId && html`<span class="soft">${error.requestId}</span>`}
  </p>`;

/** A table with a caption. `columns` are [title, cell, class]. */
export function Table({ caption, columns, rows, empty }) {
  if (!rows) return html`<p class="soft">${t('loading')}</p>`;
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${caption}>
    <table class="grid">
      <caption class="unseen">${caption}</caption>
      <thead><tr>
        ${columns.map(([title, , kind]) => html`<th scope="col" class=${kind ?? ''}>${title}</th>`)}
      </tr></thead>
      <tbody>
        ${rows.map(
          row => html`<tr key=${row.id}>
            ${columns.map(([, cell, kind]) => html`<td class=${kind ?? ''}>${cell(row)}</td>`)}
          </tr>`,
        )}
        ${rows.length === 0 &&
        html`<tr><td colspan=${columns.length} class="soft">${empty ?? t('none')}</td></tr>`}
      </tbody>
    </table>
  </div>`;
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
export const More = ({ list }) =>
  list.next &&
  html`<p><button class="button" type="button" onClick=${list.more}>${t('more')}</button></p>`;

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
      <${Problem} error=${state.error} />
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
