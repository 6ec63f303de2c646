/* The views for keys, blocks, access codes, and the erasure of a buyer. */
import { api, Ask, count, faultAt, Field, html, Input, moment, Problem, SaleField, seg, t, Table,
  usePoll, useState, word } from '/assets/console-kit.js';

const ROLES = ['viewer', 'operator', 'admin'];

function Keys({ can, ask }) {
  const { data, error, reload } = usePoll('/v1/admin/keys', 0);
  const [made, setMade] = useState(null);
  const create = () =>
    ask({
      title: t('key.create'),
      points: [t('key.create.points')],
      yes: t('key.create'),
      fields: error => html`
        <${Input} label=${t('name')} fault=${faultAt(error, '/name')} name="name" required />
        <${Field} label=${t('role')} hint=${t('role_hint')}>
          ${props => html`<select ...${props} name="role">${ROLES.map(role => html`
            <option value=${role}>${word('role', role)}</option>`)}</select>`}<//>`,
      act: async form => {
        setMade(await api.send('POST', '/v1/admin/keys', Object.fromEntries(form)));
        reload();
      },
    });
  const remove = key =>
    ask({
      title: t('key.delete.title', { name: key.name }),
      points: [t('key.delete.points')],
      yes: t('delete'),
      danger: true,
      typed: 'delete',
      act: async () => {
        await api.send('DELETE', `/v1/admin/keys/${seg(key.id)}`);
        reload();
      },
    });
  return html`<section class="panel card"><div class="panel__head"><h2>${t('keys')}</h2>
      ${can('admin') && html`<button class="button" type="button" onClick=${create}>
        ${t('key.create')}</button>`}</div>
    <${Problem} error=${error} />
    ${made && html`<p class="once" role="status"><b>${t('secret_once')}</b>
      <span class="code wrap">${made.key}</span></p>`}
    <${Table} caption=${t('keys')} columns=${[
      [t('name'), row => html`<b>${row.name}</b>`],
      [t('id'), row => html`<a class="code" href=${`#/actions?by=${seg(row.id)}`}>${row.id}</a>`],
      [t('role'), row => word('role', row.role)],
      [t('created_at'), row => moment(row.created_at)],
      ...(can('admin') ? [[t('do'), row => html`<button class="button" type="button"
        onClick=${() => remove(row)}>${t('delete')}</button>`]] : []),
    ]} rows=${data?.keys} empty=${t('no_keys')} /></section>`;
}

function Blocks({ can, ask }) {
  const { data, error, reload } = usePoll('/v1/admin/blocks', 0);
  const create = () =>
    ask({
      title: t('block.create'),
      points: [t('block.create.points')],
      yes: t('block.create'),
      fields: error => html`
        <${Field} label=${t('kind')}>
          ${props => html`<select ...${props} name="kind">
            <option value="buyer">${word('block', 'buyer')}</option>
            <option value="ip">${word('block', 'ip')}</option></select>`}<//>
        <${Input} label=${t('block.value')} hint=${t('block.value_hint')}
          fault=${faultAt(error, '/value')} name="value" required spellcheck=${false}
          autocapitalize="none" />
        <${Input} label=${t('reason')} fault=${faultAt(error, '/reason')} name="reason"
          maxlength="200" required />
        <${Input} label=${t('until')} hint=${t('until_hint')} fault=${faultAt(error, '/expires_at')}
          name="until" type="datetime-local" />`,
      act: async form => {
        const { until, ...body } = Object.fromEntries(form);
        if (until) body.expires_at = new Date(until).toISOString();
        await api.send('POST', '/v1/admin/blocks', body);
        reload();
      },
    });
  const remove = block =>
    ask({
      title: t('block.delete'),
      points: [`${word('block', block.kind)}: ${block.value}`],
      yes: t('block.delete'),
      act: async () => {
        await api.send('DELETE', `/v1/admin/blocks/${seg(block.id)}`);
        reload();
      },
    });
  return html`<section class="panel card"><div class="panel__head"><h2>${t('blocks')}</h2>
      ${can('operator') && html`<button class="button" type="button" onClick=${create}>
        ${t('block.create')}</button>`}</div>
    <${Problem} error=${error} />
    <${Table} caption=${t('blocks')} columns=${[
      [t('kind'), row => word('block', row.kind)],
      [t('block.value'), row => row.value],
      [t('reason'), row => row.reason || '–'],
      [t('until'), row => (row.expires_at ? moment(row.expires_at) : t('for_ever'))],
      ...(can('operator') ? [[t('do'), row => html`<button class="button" type="button"
        onClick=${() => remove(row)}>${t('block.delete')}</button>`]] : []),
    ]} rows=${data?.blocks} empty=${t('no_blocks')} /></section>`;
}

function Codes({ can, ask }) {
  const [chosen, setSale] = useState(null);
  const [made, setMade] = useState(null);
  const path = chosen && `/v1/admin/sales/${seg(chosen)}/access-codes`;
  const { data, error, reload } = usePoll(path, 0);
  const create = () =>
    ask({
      title: t('codes.create'),
      points: [t('codes.create.points')],
      yes: t('codes.create'),
      fields: error => html`
        <${Input} label=${t('codes.count')} fault=${faultAt(error, '/count')} name="count"
          type="number" min="1" defaultValue="100" />
        <${Input} label=${t('codes.uses')} fault=${faultAt(error, '/uses')} name="uses"
          type="number" min="1" defaultValue="1" />`,
      act: async form => {
        const body = { count: Number(form.get('count')), uses: Number(form.get('uses')) };
        setMade((await api.send('POST', path, body)).codes);
        reload();
      },
    });
  const revoke = () =>
    ask({
      title: t('codes.revoke'),
      points: [t('codes.revoke.points')],
      yes: t('codes.revoke'),
      danger: true,
      fields: () => html`<${Input} label=${t('codes.prefix')} name="prefix" required
        spellcheck=${false} />`,
      act: async form => {
        await api.send('DELETE', `${path}/${seg(form.get('prefix'))}`);
        reload();
      },
    });
  return html`<section class="panel card"><div class="panel__head"><h2>${t('codes')}</h2>
      ${can('operator') && path && html`<button class="button" type="button" onClick=${create}>
        ${t('codes.create')}</button>
        <button class="button" type="button" onClick=${revoke}>${t('codes.revoke')}</button>`}</div>
    <p class="soft">${t('codes.about')}</p>
    <div class="filters"><${SaleField} id=${chosen} onChange=${sale => {
      setSale(sale);
      setMade(null);
    }} /></div>
    <${Problem} error=${error} />
    ${data && html`<p role="status">${data.codes === 0 ? t('no_codes') : t('codes.numbers', {
      codes: count(data.codes),
      spent: count(data.spent),
      uses: count(data.uses),
    })}</p>`}
    ${made && html`<${Field} label=${t('secret_once')}>
      ${props => html`<textarea ...${props} readonly rows="6" value=${made.join('\n')}></textarea>`}<//>`}
  </section>`;
}

const tracesOf = ({ held_back, blocked }) => [
  ...held_back.map(held => t('erase.held', { sale: held.sale })),
  ...(blocked ? [t('erase.blocked')] : []),
];

function Erasure({ can, ask }) {
  const [result, setResult] = useState(null);
  const [error, setError] = useState(null);
  if (!can('admin')) return null;
  const preview = async event => {
    event.preventDefault();
    const buyer = new FormData(event.target).get('buyer').trim();
    try {
      const found = await api.send('POST', '/v1/admin/erasures', { buyer, dry_run: true });
      setError(null);
      ask({
        title: t('erase.title', { buyer }),
        points: [
          t('erase.rows', { orders: count(found.orders), other: count(found.other) }),
          ...tracesOf(found),
          t('erase.points'),
        ],
        yes: t('erase'),
        danger: true,
        typed: 'erase',
        act: async () => setResult(await api.send('POST', '/v1/admin/erasures', { buyer })),
      });
    } catch (problem) {
      setError(problem);
    }
  };
  return html`<section class="panel card"><h2>${t('erase')}</h2>
    <p class="soft">${t('erase.about')}</p>
    <form class="filters" onSubmit=${preview}>
      <${Input} label=${t('find.buyer')} fault=${faultAt(error, '/buyer')} name="buyer" required
        spellcheck=${false} />
      <p class="filters__do"><button class="button">${t('preview')}</button></p>
    </form>
    <${Problem} error=${error} />
    ${result && html`<div role="status"><p>${t('erased', { as: result.erased_as })}</p>
      ${tracesOf(result).map(trace => html`<p>${trace}</p>`)}</div>`}</section>`;
}

function Access({ can }) {
  const [ask, setAsk] = useState(null);
  return html`<h1>${t('access')}</h1>
    <${Keys} can=${can} ask=${setAsk} />
    <${Blocks} can=${can} ask=${setAsk} />
    <${Codes} can=${can} ask=${setAsk} />
    <${Erasure} can=${can} ask=${setAsk} />
    <${Ask} ask=${ask} close=${() => setAsk(null)} />`;
}

export const pages = [{ path: '/access', title: () => t('access'), nav: true, view: Access }];
