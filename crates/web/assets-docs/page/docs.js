/* The documentation of the API: shows /openapi.json as sections, with a list and a search. */
import { el, paragraphs, prose } from '/assets/docs-kit.js';
import { deref, exampleOf, shape, typeOf } from '/assets/docs-shape.js';
import { tryForm } from '/assets/docs-try.js';

const $ = selector => document.querySelector(selector);
const METHODS = ['get', 'post', 'put', 'patch', 'delete'];

chooseLanguage('curl');
for (const button of document.querySelectorAll('[data-shows]'))
  button.addEventListener('click', () => chooseLanguage(button.dataset.shows));

const doc = await (await fetch('/openapi.json')).json();
const endpoints = Object.entries(doc.paths).flatMap(([path, item]) =>
  METHODS.filter(method => item[method]).map(method => entry(method, path, item[method])),
);
$('#endpoints').replaceChildren(...doc.tags.map(group));
$('#endpoints').removeAttribute('aria-busy');
list();
$('#search').addEventListener('input', search);
addEventListener('hashchange', open);
open();

function chooseLanguage(language) {
  for (const button of document.querySelectorAll('[data-shows]'))
    button.setAttribute('aria-pressed', String(button.dataset.shows === language));
  for (const example of document.querySelectorAll('[data-example]'))
    example.hidden = example.dataset.example !== language;
}

function entry(method, path, operation) {
  const words = `${method} ${path} ${operation.summary} ${operation.description ?? ''}`;
  return { method: method.toUpperCase(), path, operation, words: words.toLowerCase() };
}

function group(tag) {
  const mine = endpoints.filter(one => one.operation.tags.includes(tag.name));
  const title = tag.name[0].toUpperCase() + tag.name.slice(1);
  return el(
    'section',
    { class: 'docs__group', 'aria-labelledby': `group-${tag.name}` },
    el('h2', { id: `group-${tag.name}` }, title),
    el('p', {}, tag.description),
    mine.map(section),
  );
}

/** The content of an endpoint's section is created when the reader opens the section. */
function section(one) {
  const { method, path, operation } = one;
  const head = el(
    'summary',
    {},
    el('span', { class: `method method--${method.toLowerCase()}` }, method),
    el('code', {}, path),
    el('span', { class: 'soft' }, operation.summary),
  );
  one.section = el('details', { class: 'endpoint', id: operation.operationId }, head);
  one.section.addEventListener('toggle', () => one.section.append(content(one)), { once: true });
  return one.section;
}

function content(one) {
  const { operation } = one;
  return el(
    'div',
    { class: 'endpoint__body' },
    el('div', { class: 'docs__group' }, paragraphs(operation.description)),
    el('p', { class: 'soft' }, credentials(operation)),
    parameters(operation),
    requestBody(operation),
    responses(operation),
    tryForm(doc, one),
  );
}

function credentials({ security }) {
  const names = (security ?? []).flatMap(Object.keys);
  if (!names.length) return 'Needs no token.';
  const words = { buyer: "a buyer's token", operator: "an operator's key" };
  const tokens = names.filter(name => name in words).map(name => words[name]);
  const pass = names.includes('pass') ? ', or a pass (Purchase-Pass: …)' : '';
  return `Needs ${tokens.join(' or ')} (Authorization: Bearer …)${pass}.`;
}

function parameters({ parameters: all = [] }) {
  if (!all.length) return null;
  const rows = all.map(each => {
    const one = deref(doc, each);
    const kind = `${one.in}, ${typeOf(doc, one.schema)}${one.required ? '' : ', optional'}`;
    return el(
      'li',
      {},
      el('code', {}, one.name),
      ' ',
      el('span', { class: 'soft' }, kind),
      el('br'),
      prose(one.description ?? ''),
    );
  });
  return el('div', {}, el('h3', {}, 'Parameters'), el('ul', { class: 'shape' }, rows));
}

function requestBody({ requestBody: body }) {
  const media = deref(doc, body)?.content?.['application/json'];
  if (!media) return null;
  return el('div', {}, el('h3', {}, 'Body'), shape(doc, media.schema), json(exampleOf(doc, media)));
}

function responses(operation) {
  const good = [],
    bad = [];
  for (const [status, response] of Object.entries(operation.responses)) {
    const own = deref(doc, response),
      media = own.content?.['application/json'];
    if (own.content?.['application/problem+json']) bad.push(...problems(status, own));
    else good.push(success(status, own, media));
  }
  const listed = bad.length
    ? el('p', {}, el('strong', {}, 'Problems: '), bad.flatMap((link, k) => (k ? [', ', link] : [link])))
    : null;
  return el('div', { class: 'docs__group' }, el('h3', {}, 'Responses'), good, listed);
}

function success(status, own, media) {
  const line = el('p', {}, el('strong', {}, status), ' ', prose(own.description ?? ''));
  if (!media) return line;
  const members = shape(doc, media.schema);
  const box = members && el('details', {}, el('summary', {}, `Members of ${status}`), members);
  return el('div', {}, line, box, json(exampleOf(doc, media)));
}

/** Links a response's codes to the table of problems. */
function problems(status, own) {
  const schema = own.content['application/problem+json'].schema;
  const refs = schema.oneOf ?? [schema];
  return refs
    .map(one => one.$ref?.split('Problem.')[1])
    .filter(Boolean)
    .map(code => el('a', { href: `#${code}` }, el('code', {}, `${status} ${code}`)));
}

function json(value) {
  if (value === undefined) return null;
  return el('pre', { tabindex: '0' }, el('code', {}, JSON.stringify(value, null, 2)));
}

/** The contents beside the page: every endpoint, by group. */
function list() {
  const groups = doc.tags.map(tag => {
    const mine = endpoints.filter(one => one.operation.tags.includes(tag.name));
    for (const one of mine) one.link = el('li', {}, link(one));
    const links = el('ul', {}, mine.map(one => one.link));
    return el('li', {}, el('details', {}, el('summary', {}, tag.name), links));
  });
  $('#contents li').after(...groups);
}

function link({ method, operation }) {
  return el(
    'a',
    { href: `#${operation.operationId}` },
    el('span', { class: `method method--${method.toLowerCase()}` }, method),
    el('span', {}, operation.summary),
  );
}

function search() {
  const words = $('#search').value.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const one of endpoints) {
    const fits = words.every(word => one.words.includes(word));
    one.section.hidden = one.link.hidden = !fits;
    found += fits;
  }
  for (const box of document.querySelectorAll('#contents details')) {
    box.open = words.length > 0;
    box.hidden = !box.querySelector('li:not([hidden])');
  }
  for (const part of document.querySelectorAll('.docs__group[aria-labelledby]'))
    part.hidden = !part.querySelector('.endpoint:not([hidden])');
  const count = found === 1 ? '1 endpoint' : `${found} endpoints`;
  $('#found').textContent = words.length ? (found ? count : 'No endpoint has these words.') : '';
}

function open() {
  const id = decodeURIComponent(location.hash.slice(1));
  for (const one of endpoints) {
    const here = one.operation.operationId === id;
    if (here) {
      one.section.open = true;
      one.section.scrollIntoView();
      one.section.querySelector('summary').focus({ preventScroll: true });
      one.link.closest('details').open = true;
    }
    const anchor = one.link.firstElementChild;
    if (here) anchor.setAttribute('aria-current', 'true');
    else anchor.removeAttribute('aria-current');
  }
}
