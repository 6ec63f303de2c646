/* The views for dead letters, for receivers of events, and for their deliveries. */
import { api, Ask, count, faultAt, Fresh, html, Input, moment, money, More, Pill, Problem, query,
  say, seg, t, Table, Tabs, usePages, usePoll, useState, word } from '/assets/console-kit.js';
import { unlessUnknown } from '/assets/console-fields.js';

const KINDS = ['delivery', 'refund', 'ticket'];
/** The maximum number of dead letters that one request changes. */
const BATCH = 200;

function About({ about }) {
  if (about?.startsWith('ord_')) {
    return html`<a class="code short" href=${'#/orders/' + about} title=${about}>
      ${about.slice(0, 12)}…</a>`;
  }
  const sale = /^sale:([^:]+)/.exec(about ?? '')?.[1];
  return sale ? html`<a class="code wrap" href=${'#/sales/' + seg(sale)}>${about}</a>`
    : html`<span class="code wrap">${about ?? '–'}</span>`;
}

/** Shows how many dead letters were changed and how many were not. */
async function changeAll(what, body, kind) {
  let [done, skipped, cursor] = [0, 0, null];
  do {
    const path = `/v1/admin/dead-letters/${what}` + query({ kind, cursor, limit: BATCH });
    const page = await api.send('POST', path, { all: true, ...body });
    done += page.done;
    skipped += page.skipped;
    cursor = page.next_cursor;
  } while (cursor);
  say(t('letters_changed', { n: count(done), skipped: count(skipped) }));
}

const reasonField = error => html`<${Input} label=${t('reason')} fault=${faultAt(error, '/reason')}
  name="reason" maxlength="200" required />`;

function Letters({ search, can }) {
  const { kind } = search;
  const list = usePages('/v1/admin/dead-letters' + query({ limit: 50, kind }), 'dead_letters');
  const [ask, setAsk] = useState(null);
  const retry = (letter, act) => ({
    title: t(letter ? 'letter.retry.title' : 'letter.retry_all.title'),
    points: [t('letter.retry.points'), letter?.error].filter(Boolean),
    yes: t('letter.retry'),
    act: async () => {
      await act();
      list.reload();
    },
  });
  const discard = (letter, act) => ({
    title: t(letter ? 'letter.discard.title' : 'letter.discard_all.title'),
    points: t('letter.discard.points').split('|'),
    yes: t('letter.discard'),
    danger: true,
    typed: letter ? undefined : 'discard',
    fields: reasonField,
    act: async form => {
      await act({ reason: form.get('reason') });
      list.reload();
    },
  });
  const one = (letter, what) => body =>
    api.send('POST', `/v1/admin/dead-letters/${seg(letter.id)}/${what}`, body);
  const many = what => body => changeAll(what, body, kind);
  const some = can('operator') && list.rows?.length > 0;
  return html`<div class="lead"><h1>${t('letters')}</h1>
      ${some && html`<div class="lead__do">
        <button class="button" type="button"
          onClick=${() => setAsk(retry(null, many('retry')))}>${t('letter.retry_all')}</button>
        <button class="button button--danger" type="button"
          onClick=${() => setAsk(discard(null, many('discard')))}>${t('letter.discard_all')}</button>
      </div>`}</div>
    <p class="soft">${t('letters.about')}</p>
    <${Tabs} label=${t('kind')} now=${kind} views=${[undefined, ...KINDS].map(name =>
      [name, '#/letters' + query({ kind: name }), name ? word('letter', name) : t('any')])} />
    <${Problem} error=${list.error} />
    <${Table} caption=${t('letters')} rows=${list.rows} empty=${t('no_letters')} card=${true}
      columns=${[
        [t('time'), row => moment(row.at), 'nowrap'],
        [t('kind'), row => html`<span>${word('letter', row.kind)}${row.type &&
          html`<br /><span class="code soft">${row.type}</span>`}</span>`],
        [t('about'), row => html`<${About} about=${row.about} />`],
        [t('error'), row => html`<span class="wrap">${row.error ?? '–'}</span>`],
        [t('tries'), row => count(row.tries), 'end'],
        [t('do'), row => html`<span class="row-do">
          <a class="button" href=${'#/letters/' + seg(row.id)}>${t('details')}</a>
          ${can('operator') && html`<button class="button" type="button"
            onClick=${() => setAsk(retry(row, one(row, 'retry')))}>${t('letter.retry')}</button>
          <button class="button" type="button"
            onClick=${() => setAsk(discard(row, one(row, 'discard')))}>
            ${t('letter.discard')}</button>`}</span>`],
      ]} />
    <${More} list=${list} />
    <${Ask} ask=${ask} close=${() => setAsk(null)} />`;
}

function Letter({ params }) {
  const { data, error } = usePoll(`/v1/admin/dead-letters/${seg(params.letter)}`, 0);
  if (!data) return error ? html`<${Problem} error=${error} />` : html`<p>${t('loading')}</p>`;
  const content = data.message ?? data.refund ?? data.request;
  const amount = data.refund?.amount;
  return html`<div class="lead"><h1>${t('letter')}</h1><${Pill} kind="bad">
      ${word('letter', data.kind)}<//></div>
    <dl class="pairs card">
      <div><dt>${t('time')}</dt><dd>${moment(data.at)}</dd></div>
      <div><dt>${t('about')}</dt><dd><${About} about=${data.about} /></dd></div>
      <div><dt>${t('tries')}</dt><dd>${count(data.tries)}</dd></div>
      <div><dt>${t('error')}</dt><dd>${data.error ?? '–'}</dd></div>
      ${amount && html`<div><dt>${t('amount')}</dt><dd>${money(amount)}</dd></div>`}
      ${data.endpoint && html`<div><dt>${t('receiver')}</dt><dd>
        <a class="code" href=${'#/receivers/' + seg(data.endpoint)}>${data.endpoint}</a></dd></div>`}
    </dl>
    <section class="panel card"><h2>${t('letter.content')}</h2>
      ${content ? html`<div class="scroll" tabindex="0" role="region"
          aria-label=${t('letter.content')}><pre class="code">${JSON.stringify(content, null, 2)}</pre></div>`
        : html`<p class="soft">${t('letter.no_content')}</p>`}</section>
    <p><a href="#/letters">${t('letters')}</a></p>`;
}

/** Adds a receiver, or changes its address and types. */
function receiverDialog(row, path, changed) {
  return {
    title: t(row ? 'receiver.edit' : 'receiver.add'),
    points: [t(row ? 'receiver.edit.points' : 'receiver.add.points')],
    yes: t(row ? 'save' : 'receiver.add'),
    fields: error => html`
      <${Input} label=${t('address')} hint=${t('address_hint')} fault=${faultAt(error, '/url')}
        name="url" type="url" required defaultValue=${row?.url ?? ''} />
      <${Input} label=${t('types')} hint=${t('types_hint')} name="types" required
        fault=${error?.faults?.find(fault => fault.pointer?.startsWith('/types'))?.detail}
        spellcheck=${false} defaultValue=${row ? row.types.join(' ') : '*'} />`,
    act: async form => {
      const types = form.get('types').split(/[\s,]+/).filter(Boolean);
      const url = form.get('url');
      // The server shows a broker's address with `***` in place of the password, and refuses this
      // text in a change. So an unchanged address is not sent.
      const body = url === row?.url ? { types } : { url, types };
      changed(await (row ? api.send('PATCH', path(row.id), body)
        // A repetition would add a second receiver with the same address.
        : api.send('POST', '/v1/admin/webhook-endpoints', body)
          .catch(unlessUnknown('receiver.unknown'))));
    },
  };
}

function Receivers({ can }) {
  const poll = usePoll('/v1/admin/webhook-endpoints', 5);
  const { data, error, reload } = poll;
  const [ask, setAsk] = useState(null);
  const [secret, setSecret] = useState(null);
  const path = id => `/v1/admin/webhook-endpoints/${seg(id)}`;
  const changed = made => {
    if (made?.secret) setSecret(made.secret);
    reload();
  };
  const change = (row, name, act, more = {}) => () =>
    setAsk({
      title: t(`receiver.${name}.title`),
      points: [row.url, ...t(`receiver.${name}.points`).split('|')],
      yes: t(`receiver.${name}`),
      act: async () => changed(await act()),
      ...more,
    });
  const toggle = row => change(row, row.enabled ? 'disable' : 'enable', () =>
    api.send('PATCH', path(row.id), { enabled: !row.enabled }),
  );
  return html`<div class="lead"><h1>${t('receivers')}</h1><div class="lead__do">
      ${can('admin') && html`<button class="button button--main" type="button"
        onClick=${() => setAsk(receiverDialog(null, path, changed))}>
        ${t('receiver.add')}</button>`}</div></div>
    <p class="soft">${t('receivers.about')}</p>
    <${Problem} error=${error} />
    ${secret && html`<p class="once" role="status"><b>${t('secret_once')}</b>
      <span class="code wrap">${secret}</span></p>`}
    <${Fresh} poll=${poll}><${Table} caption=${t('receivers')} rows=${data?.endpoints} empty=${t('no_receivers')}
      card=${true} columns=${[
        [t('address'), row => html`<a class="wrap" href=${'#/receivers/' + row.id}>${row.url}</a>`],
        [t('types'), row => (row.types.includes('*') ? t('all_types') : row.types.join(', '))],
        [t('state'), row => html`<${Pill} kind=${row.enabled ? 'good' : 'warn'}>
          ${t(row.enabled ? 'enabled' : 'disabled')}<//>`],
        [t('waiting'), row => count(row.waiting), 'end'],
        [t('failing'), row => count(row.failing), 'end'],
        [t('dead'), row => row.dead > 0 ? html`<a href="#/letters?kind=delivery">
          ${count(row.dead)}</a>` : '0', 'end'],
        [t('oldest_waiting'), row => moment(row.oldest_waiting_at), 'nowrap'],
        ...(can('admin') ? [[t('do'), row => html`<span class="row-do">
          <button class="button" type="button"
            onClick=${() => setAsk(receiverDialog(row, path, changed))}>${t('edit')}</button>
          <button class="button" type="button" onClick=${toggle(row)}>
            ${t(row.enabled ? 'receiver.disable' : 'receiver.enable')}</button>
          ${row.kind === 'webhook' && html`<button class="button" type="button"
            onClick=${change(row, 'rotate', () =>
              api.send('POST', path(row.id) + '/rotate-secret', {}))}>
            ${t('receiver.rotate')}</button>`}
          <button class="button button--danger" type="button"
            onClick=${change(row, 'delete', () => api.send('DELETE', path(row.id)),
              { danger: true, typed: 'delete' })}>${t('receiver.delete')}</button></span>`]] : []),
      ]} /><//>
    <${Ask} ask=${ask} close=${() => setAsk(null)} />`;
}

const STATES = ['pending', 'dead', 'discarded'];

function Deliveries({ params, search, can }) {
  const end = `/v1/admin/webhook-endpoints/${seg(params.endpoint)}`;
  const receiver = usePoll(end, 5);
  const list = usePages(end + '/deliveries' + query({ limit: 50, state: search.state }), 'deliveries');
  const [error, setError] = useState(null);
  const again = async event => {
    try {
      await api.send('POST', end + '/deliveries', { event });
      setError(null);
      say(t('sent_again'));
      list.reload();
    } catch (problem) {
      setError(problem);
    }
  };
  const to = '#/receivers/' + seg(params.endpoint);
  return html`<div class="lead"><h1>${t('deliveries')}</h1>
      <span class="soft wrap">${receiver.data?.url ?? params.endpoint}</span></div>
    <p class="soft">${t('deliveries.about')}</p>
    <${Tabs} label=${t('state')} now=${search.state} views=${[undefined, ...STATES].map(name =>
      [name, to + query({ state: name }), name ? word('delivery', name) : t('any')])} />
    <${Problem} error=${error ?? list.error} />
    <${Table} caption=${t('deliveries')} card=${true} empty=${t('no_deliveries')} columns=${[
      [t('since'), row => moment(row.since), 'nowrap'],
      [t('event'), row => html`<span><b>${row.type ? word('event', row.type) : '–'}</b><br />
        <span class="code soft wrap">${row.event}</span></span>`],
      [t('about'), row => html`<${About} about=${row.about} />`],
      [t('state'), row => html`<${Pill} kind=${row.state === 'dead' ? 'bad' : 'warn'}>
        ${word('delivery', row.state)}<//>`],
      [t('tries'), row => count(row.tries), 'end'],
      [t('next_try'), row => moment(row.next_try_at), 'nowrap'],
      [t('error'), row => html`<span class="wrap">${row.error ?? row.reason ?? '–'}</span>`],
      ...(can('operator') ? [[t('do'), row => html`<button class="button" type="button"
        onClick=${() => again(row.event)}>${t('send_again')}</button>`]] : []),
    ]} rows=${list.rows?.map(row => ({ id: row.event, ...row }))} />
    <${More} list=${list} />`;
}

export const pages = [
  { path: '/letters', title: () => t('letters'), nav: true, view: Letters },
  { path: '/letters/:letter', title: () => t('letter'), under: '/letters', view: Letter },
  {
    path: '/receivers',
    title: () => t('receivers'),
    short: () => t('receivers.short'),
    nav: true,
    view: Receivers,
  },
  {
    path: '/receivers/:endpoint',
    title: () => t('deliveries'),
    under: '/receivers',
    view: Deliveries,
  },
];
