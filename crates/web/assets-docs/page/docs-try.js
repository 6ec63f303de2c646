/* The form for one endpoint. It sends a request only when the reader presses its button. */
import { el, prose } from '/assets/docs-kit.js';
import { deref, exampleOf } from '/assets/docs-shape.js';

/** Values from earlier requests, which the forms offer: tokens, a sale, an item, an order. */
const kept = {};
/** Only a demonstration creates guests. */
const hasGuests = 'guests' in document.body.dataset;
/** The longest time that a request waits for the start of the sale. */
const WAIT_MAX_MS = 60_000;
const fills = [];
const fillAll = () => fills.forEach(fill => fill());
let firstSale;

/** Finds a sale that exists, so that the reader's first request succeeds. */
async function known() {
  firstSale ??= fetch('/v1/sales?limit=48')
    .then(answer => answer.json())
    .then(list => {
      const sales = list.sales ?? [];
      const sale = sales.find(one => one.status?.phase === 'open') ?? sales[0];
      kept.sale ??= sale?.id;
      kept.item ??= sale?.items[0]?.id;
      if (sale?.status?.phase === 'scheduled')
        kept.opens = { sale: sale.id, atMs: Date.parse(sale.starts_at) };
    })
    .catch(() => null);
  await firstSale;
}

/** Sets the value of a field, unless the reader has typed in the field. */
function offer(control, value) {
  if (control.value !== (control.dataset.offered ?? '')) return;
  control.value = value;
  /* A field with several lines can change a text's line ends, so the value is read back. */
  control.dataset.offered = control.value;
}

const newKey = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), b => b.toString(16).padStart(2, '0')).join(
    '',
  );

async function guest() {
  const answer = await fetch('/demo/guest', { method: 'POST' });
  return answer.ok ? (await answer.json()).token : '';
}

export function tryForm(doc, { method, path, operation }) {
  const fields = [],
    id = name => `try-${operation.operationId}-${name}`;
  const parameters = (operation.parameters ?? []).map(one => deref(doc, one));
  for (const one of parameters) fields.push(parameterField(one, id(one.name)));
  const media = deref(doc, operation.requestBody)?.content?.['application/json'];
  const body = media && bodyField(exampleOf(doc, media), id('body'));
  const needs = (operation.security ?? []).flatMap(Object.keys);
  const token = needs.length ? tokenField(needs, id('token')) : null;
  const out = el('div', { class: 'docs__group', role: 'status' });
  const form = el(
    'form',
    { class: 'try', 'aria-label': `Try ${method} ${path}`, novalidate: true },
    el('h3', {}, 'Try it'),
    el('div', { class: 'try__fields' }, token?.box, ...fields.map(field => field.box)),
    body?.box,
    el('div', {}, el('button', { class: 'button button--main', type: 'submit' }, 'Send request')),
    out,
  );
  form.addEventListener('submit', event => {
    event.preventDefault();
    send({ method, path, operation, fields, body, token, needs, out });
  });
  fills.push(...fields.map(field => field.fill), body?.fill ?? (() => {}));
  if (token) fills.push(token.fill);
  fillAll();
  known().then(fillAll);
  return form;
}

function input(label, id, members) {
  const control = el(members.rows ? 'textarea' : 'input', { id, spellcheck: 'false', ...members });
  const box = el('div', { class: 'field' }, el('label', { for: id }, label), control);
  return { box, control };
}

function parameterField(one, id) {
  const required = one.required ? '' : ' (optional)';
  const field = input(`${one.name}${required}`, id, { autocomplete: 'off' });
  const examples = { sale: 'sale', item: 'item', order: 'order' };
  const fill = () => {
    const mine = kept[examples[one.name]];
    if (mine) offer(field.control, mine);
    else if (one.required && !field.control.value)
      offer(field.control, one.name === 'Idempotency-Key' ? newKey() : (one.example ?? ''));
  };
  return { ...field, name: one.name, where: one.in, required: one.required, fill };
}

function bodyField(example, id) {
  const field = input('Body', id, { rows: '8', autocomplete: 'off' });
  const fill = () => {
    if (example === undefined) return;
    const value = structuredClone(example);
    for (const name of ['sale', 'item'])
      if (typeof value?.[name] === 'string' && kept[name]) value[name] = kept[name];
    if (value?.item && kept.item && 'units' in value) value.units = 1;
    offer(field.control, JSON.stringify(value, null, 2));
  };
  return { ...field, fill };
}

function tokenField(needs, id) {
  const isBuyer = needs.includes('buyer');
  const field = input(isBuyer ? "Buyer's token" : "Operator's key", id, {
    type: 'password',
    autocomplete: 'off',
    'aria-describedby': `${id}-from`,
  });
  field.box.append(el('p', { class: 'soft small', id: `${id}-from` }, prose(origin(isBuyer))));
  return { ...field, fill: () => offer(field.control, kept[needs[0]] ?? '') };
}

function origin(isBuyer) {
  if (!isBuyer)
    return 'An administrator creates keys with `doorbuster key create`. In shape `embedded`, the ' +
      'first key is in the file `admin_key` of the data directory.';
  if (hasGuests) return 'If this field is empty, the page uses a new guest.';
  return 'Your backend signs a token for each signed-in buyer. For a trial, print one on the ' +
    'server: `doorbuster token buyer anna`.';
}

/** A demonstration starts its sale after a few seconds. If the start is near, waits for it. */
async function untilStart(out, body) {
  const { sale, atMs } = kept.opens ?? {},
    rest = atMs - Date.now();
  if (!body?.includes(`"${sale}"`) || !(rest > 0) || rest > WAIT_MAX_MS) return;
  const secs = Math.ceil(rest / 1000);
  out.replaceChildren(el('p', {}, `The sale opens in ${secs} s. Then the page sends the request.`));
  await new Promise(done => setTimeout(done, rest + 500));
}

async function send({ method, path, operation, fields, body, token, needs, out }) {
  const headers = {},
    query = new URLSearchParams();
  let address = path;
  for (const { name, where, control } of fields) {
    const value = control.value.trim();
    kept[name] = value || kept[name];
    if (where === 'path') address = address.replace(`{${name}}`, encodeURIComponent(value));
    else if (value && where === 'query') query.set(name, value);
    else if (value && where === 'header') headers[name] = value;
  }
  if (token) {
    if (!token.control.value && needs.includes('buyer') && hasGuests)
      token.control.value = token.control.dataset.offered = await guest().catch(() => '');
    if (!token.control.value) {
      const name = needs.includes('buyer') ? "a buyer's token" : "an operator's key";
      out.replaceChildren(el('p', {}, `This request needs ${name}. No request was sent.`));
      token.control.focus();
      return;
    }
    kept[needs[0]] = token.control.value;
    headers.Authorization = `Bearer ${token.control.value}`;
  }
  if (body?.control.value) headers['Content-Type'] = 'application/json';
  const target = address + (query.size ? `?${query}` : '');
  if (operation.operationId === 'purchase') await untilStart(out, body?.control.value);
  out.replaceChildren(el('p', {}, 'Sending…'));
  try {
    const answer = await fetch(target, {
      method,
      headers,
      body: body?.control.value || undefined,
      cache: 'no-store',
      signal: AbortSignal.timeout(20_000),
    });
    await show(answer, out);
  } catch (fault) {
    const late = fault.name === 'TimeoutError';
    const words = late ? 'No complete answer within 20 s.' : 'The server did not answer.';
    out.replaceChildren(el('p', {}, words));
  }
  /* The next request gets a new `Idempotency-Key`. With the same key, the server would return the
     same answer. */
  for (const { name, control } of fields)
    if (name === 'Idempotency-Key') control.value = control.dataset.offered = newKey();
  fillAll();
}

async function show(answer, out) {
  const words = await answer.text();
  let pretty = words.slice(0, 20_000);
  try {
    const data = JSON.parse(words);
    if (data.id?.startsWith?.('ord_')) kept.order = data.id;
    pretty = JSON.stringify(data, null, 2).slice(0, 20_000);
  } catch {
  }
  const names = ['content-type', 'retry-after', 'etag', 'location'];
  const lines = names
    .filter(name => answer.headers.has(name))
    .map(name => `${name}: ${answer.headers.get(name)}`);
  out.replaceChildren(
    el('p', {}, el('strong', {}, `${answer.status} ${answer.statusText}`)),
    el('pre', { tabindex: '0' }, el('code', {}, [...lines, '', pretty].join('\n'))),
  );
}
