/* The parts that every view of the console uses: the API client, polling, and controls. */
import { Field, Input, Tabs } from '/assets/console-fields.js';
import { clock, localized, t, word } from '/assets/console-format.js';
import { plainText } from '/assets/console-texts.js';
import { html, render, useEffect, useLayoutEffect, useRef, useState } from
  '/assets/preact-htm.js';

export { html, render, useEffect, useRef, useState };
export * from '/assets/console-fields.js';
export * from '/assets/console-format.js';

export class ApiError extends Error {
  constructor(status, body, headers) {
    const retryAfter = Number(headers?.get('Retry-After'));
    // The server's text for status 429 refers to the header `Retry-After`, which operators do not
    // see. The console's own text says the number of seconds.
    super(status === 429 && retryAfter > 0 ? t('too_many', { n: retryAfter })
      : localized(body.detail ?? body.title ?? `HTTP ${status}`));
    this.status = status;
    this.code = body.code ?? '';
    this.faults = (body.errors ?? []).map(fault => ({ ...fault, detail: localized(fault.detail) }));
    this.reasons = body.reasons;
    this.warnings = body.warnings;
    this.requestId = headers?.get('X-Request-Id');
  }
}

/* The server's clock minus this device's clock, from the newest answer. */
let ahead = 0;
/** In milliseconds since 1970. */
export const serverNow = () => Date.now() + ahead;

let signedOut = () => {};
export const onSignedOut = act => (signedOut = act);

/* While the operator must sign in again, an open dialog would make the sign-in form unusable. So
   the dialog is closed, and it opens again after the sign-in, with everything that was typed. */
let suspend = null;
/** Closes the open dialog, or opens it again. */
export const suspendDialog = isEnded => suspend?.(isEnded);

async function call(method, path, body, headers = {}) {
  if (method !== 'GET') headers['X-Doorbuster-Console'] = '1';
  if (body !== undefined) headers['Content-Type'] ??= 'application/json';
  let [answer, text] = [null, ''];
  try {
    answer = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: 'same-origin',
      cache: 'no-store',
      signal: AbortSignal.timeout(15_000),
    });
    text = await answer.text();
  } catch {
    throw new ApiError(0, { detail: t('offline') });
  }
  const date = Date.parse(answer.headers.get('Date') ?? '');
  // The header `Date` has only whole seconds, so differences up to 1.5 seconds are ignored.
  if (Math.abs(date - serverNow()) > 1500) ahead = date - Date.now();
  let data = null;
  try {
    data = text ? JSON.parse(text) : null;
  } catch {
    data = { detail: text };
  }
  // A proxy that compresses a response adds `W/` to its `ETag`. `If-Match` needs the `ETag` without
  // it.
  if (answer.ok) return { data, etag: answer.headers.get('ETag')?.replace(/^W\//, '') };
  if (answer.status === 401 && path !== '/v1/admin/session') signedOut();
  throw new ApiError(answer.status, data ?? {}, answer.headers);
}

export const api = {
  get: async path => (await call('GET', path)).data,
  send: async (...request) => (await call(...request)).data,
  /** Also returns the answer's `ETag`. */
  tagged: call,
};
export const seg = encodeURIComponent;
/** Leaves out empty values. */
export const query = values => {
  const pairs = Object.entries(values).filter(([, value]) => value !== '' && value != null);
  return pairs.length ? '?' + new URLSearchParams(pairs) : '';
};

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

/** Reads `path` now and every `secs` seconds, but not in a hidden tab. `stale` says whether the
   newest answer is old. */
export function usePoll(path, secs) {
  const [state, set] = useState({ path, data: null, at: 0, stale: false, error: null });
  const again = useRef(() => {});
  useEffect(() => {
    let ended = false;
    let [timer, ageing] = [0, 0];
    const read = async () => {
      clearTimeout(timer);
      if (path && !document.hidden) {
        try {
          const data = await api.get(path);
          if (ended) return;
          set({ path, data, at: Date.now(), stale: false, error: null });
          clearTimeout(ageing);
          const grow = () => set(old => ({ ...old, stale: true }));
          if (secs) ageing = setTimeout(grow, oldAfter(secs));
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
      clearTimeout(ageing);
      document.removeEventListener('visibilitychange', seen);
    };
  }, [path, secs]);
  return { ...state, reload: () => again.current() };
}
/** The age in milliseconds at which an answer counts as old, if it is read every `secs` seconds. */
const oldAfter = secs => Math.max(3, 2.5 * secs) * 1000;

/** While its numbers are old, this part is grey and shows the numbers' time. */
export const Fresh = ({ poll, children }) => html`
  ${poll.stale && html`<p class="alarm alarm--warn" role="status">
    ${t('stale', { at: clock(poll.at) })}</p>`}
  <div class=${'fresh' + (poll.stale ? ' stale' : '')}>${children}</div>`;

export const faultAt = (error, pointer) =>
  error?.faults?.find(fault => fault.pointer === pointer || fault.parameter === pointer)?.detail;

/** Returns the label for a pointer such as `/starts_at`. Without a label, returns the pointer. */
function labelOf(pointer = '') {
  const name = pointer.split('/').at(-1);
  return t(name) === name ? pointer : t(name);
}

/** Shows an error, with the request's id for the shop's support. With `atFields`, the faults are
   not listed here, because the fields show them. */
export function Problem({ error, atFields = false }) {
  if (!error) return null;
  if (error.faults?.length) {
    return html`<div class="alarm alarm--bad" role="alert"><b>${t('see_fields')}</b>
      ${!atFields && html`<ul>${error.faults.map(({ pointer, parameter, detail }) =>
        html`<li><b>${labelOf(pointer || parameter)}</b> ${detail}</li>`)}</ul>`}</div>`;
  }
  return html`<p class="alarm alarm--bad" role="alert"><b>${error.message}</b>
    ${error.requestId && html`<span class="soft">${error.requestId}</span>`}</p>`;
}

/* On a phone, a table with more columns than this becomes a list of blocks. */
const COLUMNS_ON_PHONE = 3;
/** `columns` are [title, cell, class]. With `card`, the table is drawn as a card. */
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

export const SaleTabs = ({ sale, now }) =>
  html`<${Tabs} label=${t('views_of_sale')} now=${now} views=${[
    ['live', `#/sales/${seg(sale)}`],
    ['edit', `#/sales/${seg(sale)}/edit`],
    ['report', `#/sales/${seg(sale)}/report`],
    ['orders', `#/orders?sale=${seg(sale)}`],
    ['support', `#/support?sale=${seg(sale)}`],
  ].map(([name, to]) => [name, to, t(name)])} />`;

/** Renders again every second, for clocks and countdowns. */
export function useTick() {
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick(n => n + 1), 1000);
    return () => clearInterval(timer);
  }, []);
}

/** Replaces the first page of a list by `first`. The rows of the later pages stay. */
export function mergePages(rows, first) {
  const last = first.at(-1)?.id;
  const later = rows.slice(rows.findIndex(row => row.id === last) + 1 || rows.length);
  const ids = new Set(first.map(row => row.id));
  return [...first, ...later.filter(row => !ids.has(row.id))];
}

/** Reads the list `member` page by page. With `secs`, reads the first page again every `secs`
   seconds, but not in a hidden tab. */
export function usePages(path, member, secs = 0) {
  const none = { path, rows: null, next: null, error: null };
  const [state, set] = useState(none);
  // If `path` changes, the rows of the previous path are hidden at once, and its late responses are
  // ignored. Otherwise an operator could change a row that the new search does not contain.
  const of = old => (old.path === path ? old : none);
  const current = useRef({});
  const put = change => set(old => (current.current.path === path ? change(of(old)) : old));
  const load = async cursor => {
    const join = path.includes('?') ? '&' : '?';
    try {
      const page = await api.get(path + (cursor ? `${join}cursor=${seg(cursor)}` : ''));
      const next = page.next_cursor ?? null;
      put(old => {
        if (!cursor) return { path, rows: page[member], next, error: null };
        if (cursor !== old.next) return old;
        return { path, rows: [...old.rows, ...page[member]], next, error: null };
      });
    } catch (error) {
      put(old => ({ ...old, error, rows: old.rows ?? [] }));
    }
  };
  current.current = { path, load };
  const first = usePoll(secs ? path : null, secs);
  useEffect(() => {
    if (!secs) load(null);
  }, [path]);
  useEffect(() => {
    if (!first.data || first.path !== path) return;
    const [page, next] = [first.data[member], first.data.next_cursor ?? null];
    put(old => {
      /* If there is no further page, the new page is the whole list. */
      const rows = next ? mergePages(old.rows ?? [], page) : page;
      return { path, rows, next: rows.length > page.length ? old.next : next, error: null };
    });
  }, [first.data]);
  const [shown, { at, stale }] = [of(state), first];
  const error = shown.error ?? first.error;
  const reload = () => current.current.load(null);
  return { ...shown, error, at, stale, more: () => load(shown.next), reload };
}
/** Without a next page, the button is hidden but keeps its space. */
export const More = ({ list }) =>
  html`<p hidden=${!list.next}><button class="button" type="button" onClick=${list.more}>
    ${t('more')}</button></p>`;

/** Returns at most `most` rows. After each page, calls `heard` with the number of rows so far, and
   stops if `heard` returns false. */
export async function readAll(path, member, most, heard = () => true) {
  const rows = [];
  let cursor = null;
  do {
    const page = await api.get(path + (cursor ? `&cursor=${seg(cursor)}` : ''));
    rows.push(...page[member]);
    cursor = page.next_cursor;
  } while (heard(rows.length) && cursor && rows.length < most);
  return rows.slice(0, most);
}

/* A `<select>` lists at most this many sales. A link to a sale that is not listed still works. */
const SALES_LISTED_MAX = 4000;
/** A control to choose a sale. If there is no `id`, the control chooses the newest sale. */
export function SaleField({ id, onChange }) {
  const [{ rows, error }, set] = useState({ rows: [], error: null });
  useEffect(() => {
    readAll('/v1/admin/sales?limit=200', 'sales', SALES_LISTED_MAX).then(
      rows => set({ rows, error: null }),
      error => set({ rows: [], error }),
    );
  }, []);
  useEffect(() => {
    if (!id && rows.length) onChange?.(rows[0].id);
  }, [rows]);
  const listed = !id || rows.some(row => row.id === id) ? rows : [{ id }, ...rows];
  return html`<${Field} label=${t('sale')} fault=${error?.message}>
    ${props => html`<select ...${props} name="sale"
      onChange=${event => onChange?.(event.target.value)}>
      ${listed.map(sale => html`<option key=${sale.id} value=${sale.id}
        selected=${sale.id === id}>${sale.title ? `${plainText(sale.title)} · ` : ''}${
        sale.id}</option>`)}</select>`}
  <//>`;
}

/** A dialog that asks before a change. If the change cannot be undone, `ask.typed` is a word that
   the operator must type. The dialog stays open until the change has ended. A long change shows its
   progress by `step`, and must stop if `step` returns false. */
export const Ask = ({ ask, close }) => ask && html`<${OpenAsk} ask=${ask} close=${close} />`;

/* Each question gets a new component, so it begins without typed text, note or error. */
function OpenAsk({ ask, close }) {
  const dialog = useRef(null);
  const going = useRef(true);
  const ended = useRef(false);
  const [typed, setTyped] = useState('');
  const [state, setState] = useState({ busy: false, note: null, error: null });
  // The dialog opens in a layout effect, which runs before the browser handles the next click. So
  // the operator cannot press a button of the page before the dialog is open.
  const suspended = useRef(false);
  useLayoutEffect(() => {
    dialog.current.showModal();
    suspend = isEnded => {
      if (suspended.current === isEnded) return;
      suspended.current = isEnded;
      if (isEnded) dialog.current.close();
      else dialog.current.showModal();
    };
    // If the operator leaves the view, a long change stops, as it does with its button.
    return () => ([suspend, going.current] = [null, false]);
  }, []);
  // The browser returns the focus to the page only if the dialog is closed before it is removed
  // from the page. So `end` closes the dialog, and the handler of its event `close` removes it.
  const end = () => {
    ended.current = true;
    if (dialog.current?.open) dialog.current.close();
    else close();
  };
  const right = !ask.typed || typed.trim() === ask.typed;
  const act = async event => {
    event.preventDefault();
    if (!right || state.busy) return;
    going.current = true;
    setState({ busy: true, note: null, error: null });
    const step = note => {
      setState({ busy: true, note, error: null });
      return going.current;
    };
    try {
      await ask.act(new FormData(event.target), step);
      end();
    } catch (error) {
      if (!dialog.current) say(error.message);
      setState({ busy: false, note: null, error });
    }
  };
  const stop = () => {
    going.current = false;
    if (!state.busy) end();
  };
  // If the browser closes the dialog while a request runs, the dialog opens again.
  const closed = () => {
    if (suspended.current) return;
    if (state.busy && !ended.current) dialog.current.showModal();
    else close();
  };
  return html`<dialog ref=${dialog} aria-labelledby="ask-title" onClose=${closed}
    onCancel=${event => state.busy && event.preventDefault()}>
    <form onSubmit=${act}>
      <h2 id="ask-title">${ask.title}</h2>
      <ul>${(ask.points ?? []).map(point => html`<li>${point}</li>`)}</ul>
      ${ask.fields?.(state.error)}
      ${ask.typed &&
      html`<${Input} label=${t('type_word', { word: ask.typed })} autocomplete="off"
        autocapitalize="none" spellcheck=${false} value=${typed}
        onInput=${event => setTyped(event.target.value)} />`}
      <${Problem} error=${state.error} atFields=${!!ask.fields} />
      ${state.note && html`<p class="soft" role="status">${state.note}</p>`}
      <div class="dialog__feet">
        <button class="button" type="button" onClick=${stop}
          aria-disabled=${state.busy && !state.note ? 'true' : 'false'}>
          ${t(state.note ? 'stop_now' : 'keep')}</button>
        <button class=${'button ' + (ask.danger ? 'button--danger' : 'button--main')}
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
