/* The views for actions, nodes, the audit, dead letters, and webhook endpoints. */
import {
  api,
  Ask,
  count,
  faultAt,
  Field,
  html,
  moment,
  More,
  Pill,
  Problem,
  query,
  seg,
  t,
  Table,
  usePages,
  usePoll,
  useState,
  word,
} from '/assets/console-kit.js';

const shown = value =>
  value === null ? '–' : typeof value === 'string' ? value : JSON.stringify(value);

function Actions({ search }) {
  const list = usePages('/v1/admin/actions' + query({ ...search, limit: 50 }), 'actions');
  const find = event => {
    event.preventDefault();
    location.hash = '#/actions' + query(Object.fromEntries(new FormData(event.target)));
  };
  return html`<h1>${t('actions')}</h1>
    <form class="card search" role="search" onSubmit=${find}>
      ${['by', 'action', 'subject'].map(name => html`<${Field} label=${t('find.' + name)}
        hint=${t(`find.${name}.hint`)}>
        ${props => html`<input ...${props} name=${name} defaultValue=${search[name] ?? ''}
          spellcheck=${false} />`}<//>`)}
      <p><button class="button button--main">${t('find')}</button></p>
    </form>
    <${Problem} error=${list.error} />
    <${Table} caption=${t('actions')} rows=${list.rows} columns=${[
      [t('time'), row => moment(row.at)],
      [t('by'), row => row.by],
      [t('action'), row => html`<b>${word('action', row.action)}</b><br />
        <span class="code soft">${row.action}</span>`],
      [t('subject'), row => html`<span class="code">${row.subject}</span>`],
      [t('changes'), row => row.changes.length === 0 ? '–' : html`<details>
        <summary>${t('changes_n', { n: row.changes.length })}</summary>
        <ul class="diff">${row.changes.map(({ path, from, to }) => html`<li>
          <span class="code">${path}</span> <del>${shown(from)}</del> → <ins>${shown(to)}</ins>
        </li>`)}</ul></details>`],
      [t('from_where'), row => row.address ?? '–'],
    ]} />
    <${More} list=${list} />`;
}

function Nodes() {
  const { data, error } = usePoll('/v1/admin/nodes', 2);
  return html`<h1>${t('nodes')}</h1><${Problem} error=${error} />
    <${Table} caption=${t('nodes')} rows=${data?.nodes.map(node => ({ id: node.node, ...node }))}
      columns=${[
        [t('node'), row => row.node],
        [t('roles'), row => row.roles.join(', ')],
        [t('leader'), row => (row.leader ? html`<${Pill} kind="good">${t('leader')}<//>` : '–')],
        [t('version'), row => row.version ?? '–'],
        [t('started_at'), row => moment(row.started_at)],
        [t('lease_until'), row => moment(row.lease_until)],
        [t('connections'), row => count(row.connections), 'end'],
      ]} />
    ${data && html`<div class="panels">
      <section class="panel card"><h2>${t('store')}</h2><dl class="facts">
        <div><dt>${t('kind')}</dt><dd>${data.store.kind} ${data.store.server_version}</dd></div>
        <div><dt>${t('standbys')}</dt><dd>${data.store.synchronous_standbys ?? '–'}</dd></div>
        <div><dt>${t('timeline')}</dt><dd>${data.store.timeline ?? '–'}</dd></div></dl></section>
      <section class="panel card"><h2>${t('slot_servers')}</h2>
        <${Table} caption=${t('slot_servers')} columns=${[
          [t('server'), row => row.server],
          [t('state'), row => html`<${Pill} kind=${row.up ? 'good' : 'bad'}>
            ${t(row.up ? 'up' : 'down')}<//>`],
          [t('roles'), row => row.role],
        ]} rows=${data.slots.map(slot => ({ id: slot.server, ...slot }))} /></section></div>`}`;
}

function Audit() {
  const { data, error, reload } = usePoll('/v1/admin/audit', 0);
  const sums = usePoll('/v1/admin/exports/reconciliation', 0);
  return html`<div class="lead"><h1>${t('audit')}</h1><div class="lead__do">
      <button class="button" type="button" onClick=${reload}>${t('audit_again')}</button></div></div>
    <${Problem} error=${error} />
    ${data && html`<p><${Pill} kind=${data.ok ? 'good' : 'bad'}>
        ${t(data.ok ? 'audit.good' : 'audit.bad')}<//>
        <span class="soft"> ${t('checked', { at: moment(data.checked_at) })}</span></p>
      <section class="panel card"><h2>${t('findings')}</h2>
        <${Table} caption=${t('findings')} empty=${t('no_findings')} columns=${[
          [t('rule'), row => row.rule],
          [t('sale'), row => [row.sale, row.item].filter(Boolean).join(' / ') || '–'],
          [t('detail'), row => row.detail],
        ]} rows=${data.findings.map((row, n) => ({ id: n, ...row }))} /></section>
      <section class="panel card"><h2>${t('notices')}</h2>
        <${Table} caption=${t('notices')} columns=${[
          [t('kind'), row => row.kind ?? row.code ?? '–'],
          [t('detail'), row => row.detail],
        ]} rows=${data.notices.map((row, n) => ({ id: n, ...row }))} /></section>`}
    <section class="panel card"><h2>${t('differences')}</h2>
      <${Problem} error=${sums.error} />
      <${Table} caption=${t('differences')} empty=${t('no_differences')} columns=${[
        [t('kind'), row => row.kind],
        [t('order'), row => row.order ?? '–'],
        [t('detail'), row => row.detail],
      ]} rows=${sums.data?.differences.map((row, n) => ({ id: n, ...row }))} /></section>
    <section class="panel card"><h2>${t('exports')}</h2><ul class="links">
      ${['orders', 'payments', 'refunds', 'ledger'].map(name => html`<li>
        <a href=${`/v1/admin/exports/${name}.csv`} download>${t('export.' + name)}</a></li>`)}
    </ul></section>`;
}

function Letters({ can }) {
  const list = usePages('/v1/admin/dead-letters?limit=50', 'dead_letters');
  const [ask, setAsk] = useState(null);
  const retry = letter => ({
    title: t('letter.retry.title'),
    points: [t('letter.retry.points'), letter.error ?? ''],
    yes: t('letter.retry'),
    act: async () => {
      await api.send('POST', `/v1/admin/dead-letters/${seg(letter.id)}/retry`);
      list.reload();
    },
  });
  const discard = letter => ({
    title: t('letter.discard.title'),
    points: [t('letter.discard.points')],
    yes: t('letter.discard'),
    danger: true,
    fields: error => html`<${Field} label=${t('reason')} fault=${faultAt(error, '/reason')}>
      ${props => html`<input ...${props} name="reason" required />`}<//>`,
    act: async form => {
      const reason = form.get('reason');
      await api.send('POST', `/v1/admin/dead-letters/${seg(letter.id)}/discard`, { reason });
      list.reload();
    },
  });
  return html`<h1>${t('letters')}</h1><p class="soft">${t('letters.about')}</p>
    <${Problem} error=${list.error} />
    <${Table} caption=${t('letters')} rows=${list.rows} empty=${t('no_letters')} columns=${[
      [t('time'), row => moment(row.at)],
      [t('kind'), row => word('letter', row.kind)],
      [t('about'), row => html`<span class="code wrap">${row.about}</span>`],
      [t('error'), row => row.error ?? '–'],
      [t('do'), row => can('operator') && html`<button class="button" type="button"
          onClick=${() => setAsk(retry(row))}>${t('letter.retry')}</button>
        <button class="button" type="button" onClick=${() => setAsk(discard(row))}>
          ${t('letter.discard')}</button>`],
    ]} />
    <${More} list=${list} />
    <${Ask} ask=${ask} close=${() => setAsk(null)} />`;
}

function Receivers({ can }) {
  const { data, error, reload } = usePoll('/v1/admin/webhook-endpoints', 5);
  const [ask, setAsk] = useState(null);
  const [secret, setSecret] = useState(null);
  const path = id => `/v1/admin/webhook-endpoints/${seg(id)}`;
  const add = () =>
    setAsk({
      title: t('receiver.add'),
      points: [t('receiver.add.points')],
      yes: t('receiver.add'),
      fields: error => html`
        <${Field} label=${t('address')} fault=${faultAt(error, '/url')}>
          ${props => html`<input ...${props} name="url" type="url" required />`}<//>
        <${Field} label=${t('types')} hint=${t('types_hint')} fault=${faultAt(error, '/types')}>
          ${props => html`<input ...${props} name="types" value="*" required />`}<//>`,
      act: async form => {
        const types = form.get('types').split(/[\s,]+/).filter(Boolean);
        const body = { url: form.get('url'), types };
        const made = await api.send('POST', '/v1/admin/webhook-endpoints', body);
        setSecret(made.secret);
        reload();
      },
    });
  const change = (row, name, points, act, more = {}) =>
    setAsk({ title: t(`receiver.${name}`), points, yes: t(`receiver.${name}`), act, ...more });
  return html`<div class="lead"><h1>${t('receivers')}</h1><div class="lead__do">
      ${can('admin') && html`<button class="button button--main" type="button" onClick=${add}>
        ${t('receiver.add')}</button>`}</div></div>
    <${Problem} error=${error} />
    ${secret && html`<p class="alarm" role="status"><b>${t('secret_once')}</b>
      <span class="code wrap">${secret}</span></p>`}
    <${Table} caption=${t('receivers')} rows=${data?.endpoints}
      columns=${[
        [t('address'), row => html`<a href=${'#/receivers/' + row.id}>${row.url}</a>`],
        [t('types'), row => row.types.join(', ')],
        [t('state'), row => html`<${Pill} kind=${row.enabled ? 'good' : 'warn'}>
          ${t(row.enabled ? 'enabled' : 'disabled')}<//>`],
        [t('waiting'), row => count(row.waiting), 'end'],
        [t('dead'), row => count(row.dead), 'end'],
        [t('do'), row => can('admin') && html`
          <button class="button" type="button" onClick=${() =>
            change(row, row.enabled ? 'disable' : 'enable', [t('receiver.toggle.points')],
              async () => {
                await api.send('PATCH', path(row.id), { enabled: !row.enabled });
                reload();
              })}>${t(row.enabled ? 'receiver.disable' : 'receiver.enable')}</button>
          ${row.kind === 'webhook' && html`<button class="button" type="button" onClick=${() =>
            change(row, 'rotate', [t('receiver.rotate.points')], async () => {
              const made = await api.send('POST', path(row.id) + '/rotate-secret', {});
              setSecret(made.secret);
              reload();
            })}>${t('receiver.rotate')}</button>`}
          <button class="button button--danger" type="button" onClick=${() =>
            change(row, 'delete', [t('receiver.delete.points')], async () => {
              await api.send('DELETE', path(row.id));
              reload();
            }, { danger: true, typed: 'delete' })}>${t('receiver.delete')}</button>`],
      ]} />
    <${Ask} ask=${ask} close=${() => setAsk(null)} />`;
}

function Deliveries({ params, can }) {
  const path = `/v1/admin/webhook-endpoints/${seg(params.endpoint)}/deliveries`;
  const list = usePages(path + '?limit=50', 'deliveries');
  const [error, setError] = useState(null);
  const again = async event => {
    try {
      await api.send('POST', path, { event });
      setError(null);
      list.reload();
    } catch (problem) {
      setError(problem);
    }
  };
  return html`<h1>${t('deliveries')}</h1><p class="code">${params.endpoint}</p>
    <p class="soft">${t('deliveries.about')}</p>
    <${Problem} error=${error ?? list.error} />
    <${Table} caption=${t('deliveries')} columns=${[
      [t('event'), row => html`<span class="code wrap">${row.event}</span>`],
      [t('kind'), row => row.type ?? '–'],
      [t('state'), row => word('delivery', row.state)],
      [t('tries'), row => count(row.tries), 'end'],
      [t('error'), row => row.error ?? '–'],
      [t('do'), row => can('operator') && html`<button class="button" type="button"
        onClick=${() => again(row.event)}>${t('send_again')}</button>`],
    ]} rows=${list.rows?.map(row => ({ id: row.event, ...row }))} />
    <${More} list=${list} />`;
}

export const pages = [
  { path: '/actions', title: () => t('actions'), nav: true, view: Actions },
  { path: '/nodes', title: () => t('nodes'), nav: true, view: Nodes },
  { path: '/audit', title: () => t('audit'), nav: true, view: Audit },
  { path: '/letters', title: () => t('letters'), nav: true, view: Letters },
  { path: '/receivers', title: () => t('receivers'), nav: true, view: Receivers },
  { path: '/receivers/:endpoint', title: () => t('deliveries'), view: Deliveries },
];
