/* The views for actions, nodes with their settings, and the audit. */
import { clock, count, differencesText, Fresh, html, Input, moment, More, Pill, Problem, query,
  seg, t, Table, usePages, usePoll, useState, word } from '/assets/console-kit.js';
import { useGoneNodes } from '/assets/console-alarms.js';
import { useSearchForm } from '/assets/console-fields.js';
import { Lag } from '/assets/console-live.js';
import { Who } from '/assets/console-names.js';

const shown = value =>
  value === null ? '–' : typeof value === 'string' ? value : JSON.stringify(value);

/* For each kind of thing that an action changes: the address of its view. */
const VIEWS = { sale: '/sales/', order: '/orders/', endpoint: '/receivers/' };

function Subject({ subject }) {
  const [kind, ...rest] = subject.split(':');
  const id = rest.join(':');
  const short = id.length > 24 ? id.slice(0, 12) + '…' : id;
  const text = `${word('subject', kind)}${id && ' '}`;
  if (['key', 'person'].includes(kind)) return html`<span title=${subject}>${text}<${Who} id=${id} /></span>`;
  return html`<span title=${subject}>${text}${VIEWS[kind]
    ? html`<a class="code" href=${'#' + VIEWS[kind] + seg(id)}>${short}</a>`
    : html`<span class="code">${short}</span>`}</span>`;
}

function Actions({ search }) {
  const form = useSearchForm(search);
  const list = usePages('/v1/admin/actions' + query({ ...search, limit: 50 }), 'actions');
  const find = event => {
    event.preventDefault();
    location.hash = '#/actions' + query(Object.fromEntries(new FormData(event.target)));
  };
  const { by, action, subject } = search;
  const csv = '/v1/admin/exports/actions.csv' + query({ by, action, subject });
  return html`<div class="lead"><h1>${t('actions')}</h1><div class="lead__do">
      <a class="button" href=${csv} download>${t('as_csv')}</a></div></div>
    <form class="card filters" role="search" onSubmit=${find} ref=${form}>
      ${['by', 'action', 'subject'].map(name => html`<${Input} label=${t('find.' + name)}
        hint=${t(`find.${name}.hint`)} name=${name} defaultValue=${search[name] ?? ''}
        spellcheck=${false} />`)}
      <p class="filters__do"><button class="button button--main">${t('find')}</button></p>
    </form>
    <${Problem} error=${list.error} />
    <${Table} caption=${t('actions')} rows=${list.rows} card=${true} empty=${t('no_actions')} columns=${[
      [t('time'), row => moment(row.at), 'nowrap'],
      [t('by'), row => html`<a href=${'#/actions' + query({ by: row.by })}><${Who} id=${row.by} /></a>`],
      [t('action'), row => html`<span><b>${word('action', row.action)}</b><br />
        <span class="code soft">${row.action}</span></span>`],
      [t('subject'), row => html`<${Subject} subject=${row.subject} />`],
      [t('changes'), row => row.changes.length === 0 ? '–' : html`<details>
        <summary>${t('changes_n', { n: row.changes.length })}</summary>
        <ul class="diff">${row.changes.map(({ path, from, to }) => html`<li>
          <span class="code">${path}</span> <del>${shown(from)}</del> → <ins>${shown(to)}</ins>
        </li>`)}</ul></details>`],
      [t('from_where'), row => row.address ?? '–'],
    ]} />
    <${More} list=${list} />`;
}

function Settings() {
  const { data, error } = usePoll('/v1/admin/settings', 0);
  const [all, setAll] = useState(false);
  const set = data?.settings.filter(row => row.origin !== 'default') ?? [];
  const rows = all ? data?.settings : data && set;
  return html`<section class="panel card"><div class="panel__head"><h2>${t('settings')}</h2>
      ${data && html`<button class="button" type="button" aria-pressed=${String(all)}
        onClick=${() => setAll(!all)}>${t(all ? 'settings.set' : 'settings.all', {
          n: all ? set.length : data.settings.length,
        })}</button>`}</div>
    <p class="soft">${t('settings.about', { node: data?.node ?? '' })}</p>
    <${Problem} error=${error} />
    <${Table} caption=${t('settings')} rows=${rows?.map(row => ({ id: row.path, ...row }))}
      columns=${[
        [t('setting'), row => html`<span class="code">${row.path}</span>`],
        [t('value'), row => html`<span class="code wrap">${row.value ?? '–'}</span>`],
        [t('origin'), row => html`<span class="wrap">${word('origin', row.origin)}</span>`],
      ]} /></section>`;
}

function Nodes() {
  const poll = usePoll('/v1/admin/nodes', 2);
  const { data, error } = poll;
  const gone = useGoneNodes(data);
  const missing = data && !data.nodes.some(node => node.leader);
  return html`<h1>${t('nodes')}</h1><${Problem} error=${error} />
    ${missing && html`<p class="alarm alarm--bad" role="alert"><b>${t('alarm.no_leader')}</b>
      ${t('alarm.no_leader.todo')}</p>`}
    ${gone.map(({ node, last }) => html`<p class="alarm alarm--bad" role="alert">
      <b>${t('alarm.gone', { node, at: clock(last) })}</b> ${t('alarm.gone.todo')}</p>`)}
    <${Fresh} poll=${poll}><${Table} caption=${t('nodes')} rows=${data?.nodes.map(node => ({ id: node.node, ...node }))}
      card=${true} columns=${[
        [t('node'), row => html`<b>${row.node}</b>`],
        [t('roles'), row => row.roles.map(role => word('node_role', role)).join(', ')],
        [t('leader'), row => (row.leader ? html`<${Pill} kind="good">${t('leader')}<//>` : '–')],
        [t('lag'), row => html`<${Lag} node=${row} />`, 'end'],
        [t('connections'), row => count(row.connections), 'end'],
        [t('settles'), row => row.settles.length === 0 ? '–' : html`<details>
          <summary>${t('slots_n', { n: row.settles.length })}</summary>
          <ul>${row.settles.map(slot => html`<li class="code">${slot}</li>`)}</ul></details>`],
        [t('version'), row => row.version ?? '–'],
        [t('started_at'), row => moment(row.started_at), 'nowrap'],
        [t('lease_until'), row => (row.lease_until ? clock(Date.parse(row.lease_until)) : '–')],
      ]} />
    <p class="soft">${t('lag.about')}</p>
    ${data && html`<div class="panels">
      <section class="panel card"><h2>${t('store')}</h2><dl class="pairs">
        <div><dt>${t('kind')}</dt><dd>${data.store.kind} ${data.store.server_version}</dd></div>
        <div><dt>${t('standbys')}</dt><dd>${data.store.synchronous_standbys ?? '–'}</dd></div>
        <div><dt>${t('timeline')}</dt><dd>${data.store.timeline ?? '–'}</dd></div></dl></section>
      <section class="panel card"><h2>${t('slot_servers')}</h2>
        <${Table} caption=${t('slot_servers')} columns=${[
          [t('server'), row => row.server],
          [t('state'), row => html`<${Pill} kind=${row.up ? 'good' : 'bad'}>
            ${t(row.up ? 'up' : 'down')}<//>`],
          [t('roles'), row => word('slot_role', row.role)],
        ]} rows=${data.slots.map(slot => ({ id: slot.server, ...slot }))} /></section></div>`}<//>
    <${Settings} />`;
}

function Audit() {
  const { data, error, reload } = usePoll('/v1/admin/audit', 0);
  const sums = usePoll('/v1/admin/exports/reconciliation', 0);
  const again = () => {
    reload();
    sums.reload();
  };
  return html`<div class="lead"><h1>${t('audit')}</h1>
      ${data && html`<${Pill} kind=${data.ok ? 'good' : 'bad'}>
        ${t(data.ok ? 'audit.good' : 'audit.bad')}<//>
        <span class="soft">${t('checked', { at: moment(data.checked_at) })} · ${t('repairs', {
          n: count(data.repairs),
        })}</span>`}
      <div class="lead__do"><button class="button" type="button" onClick=${again}>
        ${t('audit_again')}</button></div></div>
    <p class="soft">${t('audit.about')}</p>
    <${Problem} error=${error} />
    ${data && html`<section class="panel card"><h2>${t('findings')}</h2>
        <${Table} caption=${t('findings')} empty=${t('no_findings')} columns=${[
          [t('rule'), row => html`<b>${row.rule}</b>`],
          [t('sale'), row => [row.sale, row.item].filter(Boolean).join(' / ') || '–'],
          [t('detail'), row => row.detail],
        ]} rows=${data.findings.map((row, n) => ({ id: n, ...row }))} /></section>
      <section class="panel card"><h2>${t('notices')}</h2>
        <${Table} caption=${t('notices')} empty=${t('no_notices')} columns=${[
          [t('kind'), row => word('notice', row.kind)],
          [t('detail'), row => row.detail],
        ]} rows=${data.notices.map((row, n) => ({ id: n, ...row }))} /></section>`}
    <section class="panel card"><div class="panel__head"><h2>${t('differences')}</h2>
        ${sums.data && html`<${Pill} kind=${sums.data.ok ? 'good' : 'bad'}>
          ${differencesText(sums.data)}<//>`}</div>
      <${Problem} error=${sums.error} />
      <${Table} caption=${t('differences')} empty=${t('no_differences')} columns=${[
        [t('kind'), row => word('difference', row.kind)],
        [t('order'), row => row.order ? html`<a class="code" href=${'#/orders/' + row.order}>
          ${row.order.slice(0, 12)}…</a>` : '–'],
        [t('detail'), row => row.detail],
      ]} rows=${sums.data?.differences.map((row, n) => ({ id: n, ...row }))} /></section>
    ${data && html`<section class="panel card"><h2>${t('totals')}</h2>
      <${Table} caption=${t('totals')} empty=${t('no_sales')} columns=${[
        [t('sale'), row => html`<span><a href=${'#/sales/' + seg(row.sale)}>${row.sale}</a>${' / '}
          ${row.item}</span>`],
        [t('flow.total'), row => (row.total == null ? t('unlimited') : count(row.total)), 'end'],
        [t('flow.sold'), row => count(row.paid), 'end'],
        [t('flow.held'), row => count(row.held), 'end'],
        [t('flow.slots'), row => (row.in_slots == null ? '–' : count(row.in_slots)), 'end'],
        [t('flow.pool'), row => (row.pool == null ? '–' : count(row.pool)), 'end'],
      ]} rows=${data.items.map(row => ({ id: `${row.sale} ${row.item}`, ...row }))} /></section>`}
    <section class="panel card"><h2>${t('exports')}</h2><ul class="links">
      ${['orders', 'payments', 'refunds', 'ledger', 'actions'].map(name => html`<li>
        <a class="button" href=${`/v1/admin/exports/${name}.csv`} download>${t('export.' + name)}</a>
      </li>`)}
    </ul></section>`;
}

export const pages = [
  { path: '/actions', title: () => t('actions'), nav: true, view: Actions },
  { path: '/nodes', title: () => t('nodes'), nav: true, view: Nodes },
  { path: '/audit', title: () => t('audit'), nav: true, view: Audit },
];
