/* The form that sends a request of one endpoint. The form sends a request only when the reader
   presses its button. */
import { el } from '/assets/docs-kit.js';
import { deref, exampleOf } from '/assets/docs-shape.js';

/** Values from one form that the next form offers: tokens, a sale, an item, an order. */
const kept = {};
let firstSale;

/** Finds an existing sale, so that the reader's first request succeeds. */
async function known() {
  firstSale ??= fetch('/v1/sales?limit=48')
    .then(answer => answer.json())
    .then(list => {
      const sales = list.sales ?? [];
      const sale = sales.find(one => one.status?.phase === 'open') ?? sales[0];
      kept.sale ??= sale?.id;
      kept.item ??= sale?.items[0]?.id;
    })
    .catch(() => null);
  await firstSale;
}

const newKey = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), b => b.toString(16).padStart(2, '0')).join(
    '',
  );

/** Returns a guest's token in a demonstration, and an empty text on any other server. */
async function guest() {
  const answer = await fetch('/demo/guest', { method: 'POST' });
  return answer.ok ? (await answer.json()).token : '';
}

/** Returns the form of the endpoint `{ method, path, operation }`. */
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
    send({ method, path, fields, body, token, needs, out });
  });
  known().then(() => {
    for (const field of fields) field.fill();
    body?.fill();
  });
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
    if (field.control.value) return;
    const mine = kept[examples[one.name]];
    if (mine) field.control.value = mine;
    else if (one.required)
      field.control.value = one.name === 'Idempotency-Key' ? newKey() : (one.example ?? '');
  };
  fill();
  return { ...field, name: one.name, where: one.in, required: one.required, fill };
}

function bodyField(example, id) {
  const field = input('Body', id, { rows: '8', autocomplete: 'off' });
  const fill = () => {
    if (field.control.value || example === undefined) return;
    const value = structuredClone(example);
    for (const name of ['sale', 'item'])
      if (typeof value?.[name] === 'string' && kept[name]) value[name] = kept[name];
    if (value?.item && kept.item && 'units' in value) value.units = 1;
    field.control.value = JSON.stringify(value, null, 2);
  };
  return { ...field, fill };
}

function tokenField(needs, id) {
  const words = needs.includes('buyer') ? "Buyer's token" : "Operator's key";
  const field = input(words, id, { type: 'password', autocomplete: 'off' });
  field.control.value = kept[needs[0]] ?? '';
  return field;
}

async function send({ method, path, fields, body, token, needs, out }) {
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
    if (!token.control.value && needs.includes('buyer'))
      token.control.value = kept.buyer ?? (await guest().catch(() => ''));
    kept[needs[0]] = token.control.value;
    if (token.control.value) headers.Authorization = `Bearer ${token.control.value}`;
  }
  if (body?.control.value) headers['Content-Type'] = 'application/json';
  const target = address + (query.size ? `?${query}` : '');
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
  /* With the same key, the server would return the same answer, so the next request gets a new key.
     */
  for (const field of fields)
    if (field.name === 'Idempotency-Key') field.control.value = newKey();
}

async function show(answer, out) {
  const words = await answer.text();
  let pretty = words.slice(0, 20_000);
  try {
    const data = JSON.parse(words);
    if (data.id?.startsWith?.('ord_')) kept.order = data.id;
    pretty = JSON.stringify(data, null, 2).slice(0, 20_000);
  } catch {
    /* not JSON: shown as it is */
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
